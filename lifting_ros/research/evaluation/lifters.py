# SPDX-License-Identifier: Apache-2.0
"""Every lifter in one table: errors, coverage of the covariances and speed, on the same views."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lifting_ros.lifting.request import PoseLifter
from lifting_ros.research.evaluation.calibration import calibrate
from lifting_ros.research.evaluation.lifting import error_rows, lift_trial
from lifting_ros.research.evaluation.virtual_cameras import PROTOCOLS, Protocol, make_trial

_LEVELS = (50, 90)
_KINDS = {"observed joints": "obs.", "inferred joints": "inf.", "place of the root": "root"}


def lifter_table(
    lifters: Mapping[str, PoseLifter],
    poses_m: np.ndarray,
    protocols: Mapping[str, Protocol] = PROTOCOLS,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Rows by `protocol, lifter`: errors in mm, truths inside the 50 % and 90 % ellipsoids in %,
    NEES a degree of freedom, poses/s."""
    rows = {}
    for name, protocol in protocols.items():
        trial = make_trial(poses_m, protocol, seed=seed)
        for who, lifter in lifters.items():
            lifter.lift(
                trial.keypoints_px[:2],
                trial.confidence[:2],
                trial.covariance_px2[:2],
                trial.camera,
                trial.up[:2],
            )
            lifted = lift_trial(lifter, trial)
            row = error_rows(lifted, trial)["best mode"]

            for kind, found in calibrate(lifted.poses, trial.joints_m).items():
                if kind in _KINDS:
                    row |= {
                        f"{_KINDS[kind]} {level} %": 100 * float(found.coverage[level // 5 - 1])
                        for level in _LEVELS
                    }
                    row |= {f"{_KINDS[kind]} NEES": found.nees}

            rows[f"{name}, {who}"] = row | {"poses/s": len(lifted.valid) / lifted.seconds}

    return rows
