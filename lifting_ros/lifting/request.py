# SPDX-License-Identifier: Apache-2.0
"""What every lifter is asked, `lift(keypoints_px, confidence, covariance_px2, camera, up, depth)`:
checks and defaults they share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from lifting_ros.compiled import compiled
from lifting_ros.geometry.camera import Camera
from lifting_ros.skeleton import KEYPOINT_COUNT
from lifting_ros.types import LiftedPoses

UP = (0.0, -1.0, 0.0)
"""Up in the optical frame of a level camera."""


class PoseLifter(Protocol):
    """What the estimator, the node and the evaluation know of a lifter. Safe to use from several
    threads."""

    def lift(
        self,
        keypoints_px: np.ndarray,
        confidence: np.ndarray,
        covariance_px2: np.ndarray | None = None,
        camera: Camera | None = None,
        up: Sequence[float] | np.ndarray = UP,
        depth: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> LiftedPoses:
        """Lift N persons.

        keypoints_px (N, 14, 2), NaN allowed where confidence (N, 14) is 0; covariance_px2 (N, 14,
        2, 2) or None; up (3,) or (N, 3) in the optical frame, NaN where unknown; depth: measured z
        of the keypoints' joints and its variance, (N, 14) each, m and m^2, inf where there is none,
        used with a camera only. With a camera the result is absolute, in its optical frame, in
        metres; without one the root is the origin, its covariance NaN and the size a prior's. Who
        cannot be lifted comes back INVALID. There may be one hypothesis, the answer itself, or
        more. Raises ValueError in one line for arrays of a wrong shape.
        """

    def warm_up(self, depth: bool = False) -> None:
        """Whatever the first call would wait for; `depth`: also what depths need."""


def lift_somebody(lifter: PoseLifter) -> None:
    """A whole person before a camera: compiles what a lifter needs for one."""
    keypoints = np.stack(
        [np.arange(KEYPOINT_COUNT) % 4 * 20.0, np.arange(KEYPOINT_COUNT) * 15.0], -1
    )[None]
    lifter.lift(
        keypoints, np.ones((1, KEYPOINT_COUNT)), camera=Camera(np.diag([500.0, 500.0, 1.0]))
    )


def check_request(
    keypoints_px: np.ndarray, confidence: np.ndarray, covariance_px2: np.ndarray | None
) -> int:
    """The number of persons; ValueError in one line that names an array of a wrong shape."""
    shape = np.shape(keypoints_px)
    if len(shape) != 3 or shape[1:] != (KEYPOINT_COUNT, 2):
        raise ValueError(f"keypoints_px: expected (N, {KEYPOINT_COUNT}, 2), got {shape}")
    if np.shape(confidence) != shape[:2]:
        raise ValueError(f"confidence: expected {shape[:2]}, got {np.shape(confidence)}")
    if covariance_px2 is not None and np.shape(covariance_px2) != (*shape, 2):
        raise ValueError(
            f"keypoint_covariance_px2: expected {(*shape, 2)}, got {np.shape(covariance_px2)}"
        )
    return shape[0]


@compiled
def unit_up(up):
    """Unit vectors (N, 3) of up (N, 3), and whether each is known: finite and of some length."""
    unit, known = np.empty((len(up), 3)), np.empty(len(up), np.bool_)
    for n in range(len(up)):
        length = np.sqrt(up[n, 0] ** 2 + up[n, 1] ** 2 + up[n, 2] ** 2)
        known[n] = 1e-9 < length < 1e300  # false for NaN
        for axis in range(3):
            unit[n, axis] = up[n, axis] / length if known[n] else UP[axis]
    return unit, known
