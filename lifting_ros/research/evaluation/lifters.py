# SPDX-License-Identifier: Apache-2.0
"""One table of all lifters: errors, coverage of the covariances and speed, on the same views."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lifting_ros.lifting.request import PoseLifter
from lifting_ros.research.evaluation.calibration import calibrate, calibration_row
from lifting_ros.research.evaluation.lifting import error_rows, lift_trial
from lifting_ros.research.evaluation.virtual_cameras import PROTOCOLS, Protocol, Trial, make_trial

_LEVELS = (50, 90)
"""Levels of the ellipsoids, %."""

_KINDS = {"observed joints": "obs.", "inferred joints": "inf.", "place of the root": "root"}
"""Which covariances are shown, and the first word of their columns."""

_FIGURES = ("50 %", "90 %", "NEES")


def lifter_table(
    lifters: Mapping[str, PoseLifter],
    poses_m: np.ndarray,
    protocols: Mapping[str, Protocol] = PROTOCOLS,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Rows by `protocol, lifter`: errors in mm, coverage of the 50 % and 90 % ellipsoids in %, NEES
    per degree of freedom, and poses per second."""
    rows = {}
    for name, protocol in protocols.items():
        trial = make_trial(poses_m, protocol, seed=seed)
        for who, lifter in lifters.items():
            rows[f"{name}, {who}"] = _row(lifter, trial)

    return rows


def _row(
    lifter: PoseLifter,
    trial: Trial,
) -> dict[str, float]:
    # The first call compiles and loads; it is not part of the measured time
    lifter.lift(
        trial.keypoints_px[:2],
        trial.confidence[:2],
        trial.covariance_px2[:2],
        trial.camera,
        trial.up[:2],
    )
    lifted = lift_trial(lifter, trial)
    row = error_rows(lifted, trial)["best mode"]

    calibrations = calibrate(lifted.poses, trial.joints_m)

    for kind, column in _KINDS.items():
        figures = calibration_row(calibrations[kind], _LEVELS)
        for name in _FIGURES:
            row[f"{column} {name}"] = figures[name]

    row["poses/s"] = len(lifted.valid) / lifted.seconds
    return row
