# SPDX-License-Identifier: Apache-2.0
"""Tables of the pose prior's lifter: errors, coverage of its covariances and speed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lifting_ros.lifting.lifting import Lifter
from lifting_ros.lifting.residual_mlp import SupervisedLifter
from lifting_ros.lifting.stereo import StereoLifter
from lifting_ros.research.evaluation.calibration import Calibration, calibrate, calibration_row
from lifting_ros.research.evaluation.lifting import (
    Lifted,
    error_rows,
    joint_errors,
    lift_trial,
    where_it_sits,
)
from lifting_ros.research.evaluation.stereo import stereo_rows
from lifting_ros.research.evaluation.virtual_cameras import Protocol, Trial, make_trial
from lifting_ros.research.labels.label_quality import label_rows

Rows = dict[str, dict[str, float]]

TITLES = (
    "errors, mm",
    "where the N-MPJPE sits, mm",
    "joints, mm after scale",
    "calibration, % inside",
    "speed",
)


class LiftingReport:
    """Tables by title, with rows by protocol, of the prior's lifter and of others to compare."""

    def __init__(
        self,
        lifter: Lifter,
        supervised: SupervisedLifter | None,
        stereo: Mapping[str, StereoLifter],
    ):
        self._lifter = lifter
        self._supervised = supervised
        self._stereo = stereo
        self._errors: Rows = {}
        self._places: Rows = {}
        self._joints: Rows = {}
        self._calibration: Rows = {}
        self._speed: Rows = {}
        self.curves: dict[str, dict[str, Calibration]] = {}
        """Calibration by protocol and by `calibration.NAMES`."""

    @property
    def tables(self) -> dict[str, Rows]:
        """The tables by TITLES."""
        tables = (self._errors, self._places, self._joints, self._calibration, self._speed)
        return dict(zip(TITLES, tables, strict=True))

    def add(
        self,
        name: str,
        protocol: Protocol,
        poses_m: np.ndarray,
        seed: int,
    ) -> None:
        """Lift the views of poses (N, 17, 3) in metres under a protocol, and add their rows."""
        trial = make_trial(poses_m, protocol, seed=seed)
        self._add_lifter(name, trial)
        if self._supervised is not None:
            self._add_supervised(name, trial)
        self._add_stereo(name, trial)

    def _add_lifter(
        self,
        name: str,
        trial: Trial,
    ) -> None:
        lifted = lift_trial(self._lifter, trial)
        errors = error_rows(lifted, trial)
        for row, values in errors.items():
            self._errors[f"{name}, {row}"] = values
        self._add_places(f"{name}, lifter", lifted, trial)

        curves = calibrate(lifted.poses, trial.joints_m)
        self.curves[name] = curves
        for row, result in curves.items():
            self._calibration[f"{name}, {row}"] = calibration_row(result)

        count = len(lifted.valid)
        self._speed[name] = {"poses": float(count), "poses/s": count / lifted.seconds}

    def _add_supervised(
        self,
        name: str,
        trial: Trial,
    ) -> None:
        lifted = lift_trial(self._supervised, trial)
        row = f"{name}, supervised"
        self._errors[row] = error_rows(lifted, trial)["best mode"]
        self._add_places(row, lifted, trial)

    def _add_stereo(
        self,
        name: str,
        trial: Trial,
    ) -> None:
        tables = (self._errors, self._calibration, self._speed)
        parts = stereo_rows(self._stereo, trial)
        for table, rows in zip(tables, parts, strict=True):
            for row, values in rows.items():
                table[f"{name}, {row}"] = values

        if "stereo" in self._stereo:
            limbs = self._lifter.prior.limbs_[:, 0]
            labels = label_rows(self._stereo["stereo"], self._lifter, limbs, trial)
            for row, values in labels.items():
                self._errors[f"{name}, stereo, {row}"] = values

    def _add_places(
        self,
        row: str,
        lifted: Lifted,
        trial: Trial,
    ) -> None:
        joints_m = lifted.poses.joints_m - lifted.poses.root_m[:, None]
        found_m = joints_m[lifted.valid]
        truth_m = trial.joints_m[lifted.valid]
        self._places[row] = where_it_sits(found_m, truth_m)
        self._joints[row] = joint_errors(found_m, truth_m)
