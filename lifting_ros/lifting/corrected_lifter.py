# SPDX-License-Identifier: Apache-2.0
"""The lifter ppca with a correction of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from lifting_ros.geometry.camera import Camera
from lifting_ros.lifting.depth_fusion import read_depth
from lifting_ros.lifting.encoding import views_of
from lifting_ros.lifting.lifter_config import LifterConfig
from lifting_ros.lifting.lifting import Lifter
from lifting_ros.lifting.pose_correction import PoseCorrection, can_correct
from lifting_ros.lifting.request import (
    UP,
    Depths,
    Keypoints,
    PoseLifter,
    lift_somebody,
    unit_up,
    up_of_each,
)
from lifting_ros.prior.ppca import MixturePPCA
from lifting_ros.types import LiftedPoses


class CorrectedLifter:
    """A `request.PoseLifter`: the prior's answer, corrected where the correction applies.

    It applies to persons with four keypoints or more, a known vertical and no measured depth.
    """

    def __init__(self, lifter: Lifter, correction: PoseCorrection):
        self.lifter = lifter
        self.correction = correction

    @property
    def prior(self) -> MixturePPCA:
        """The prior."""
        return self.lifter.prior

    @property
    def config(self) -> LifterConfig:
        """Parameters of the lifting."""
        return self.lifter.config

    def lift(
        self,
        keypoints_px: np.ndarray,
        confidence: np.ndarray,
        covariance_px2: np.ndarray | None = None,
        camera: Camera | None = None,
        up: Sequence[float] | np.ndarray = UP,
        depth: tuple[np.ndarray, np.ndarray] | Depths | None = None,
    ) -> LiftedPoses:
        """As `lifting.Lifter.lift`."""
        poses = self.lifter.lift(keypoints_px, confidence, covariance_px2, camera, up, depth)
        count = len(poses.root_m)
        if not count:
            return poses

        seen = Keypoints(keypoints_px, confidence, covariance_px2)
        views = views_of(seen, camera, up, self.config)
        _, up_known = unit_up(up_of_each(up, count))
        which = can_correct(views) & up_known
        if depth is not None and camera is not None:
            _, is_measured = read_depth(depth, count)
            which &= ~is_measured
        return self.correction.correct(poses, views, camera is not None, which)

    def warm_up(self, depth: bool = False) -> None:
        """As `lifting.Lifter.warm_up`; also compiles the correction."""
        self.lifter.warm_up(depth)
        lift_somebody(self)


def corrected(lifter: PoseLifter, correction: PoseCorrection) -> CorrectedLifter:
    """The lifter ppca with another correction, or with its first one."""
    bare = lifter.lifter if isinstance(lifter, CorrectedLifter) else lifter
    return CorrectedLifter(cast(Lifter, bare), correction)
