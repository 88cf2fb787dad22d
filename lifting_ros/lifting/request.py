# SPDX-License-Identifier: Apache-2.0
"""The protocol of all lifters, with the checks and defaults that they share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import NamedTuple, Protocol

import numpy as np

from lifting_ros.compiled import compiled
from lifting_ros.geometry.camera import Camera
from lifting_ros.skeleton import KEYPOINT_COUNT
from lifting_ros.types import LiftedPoses

UP = (0.0, -1.0, 0.0)
"""Up in the optical frame of a level camera."""

WARM_UP_DISTORTION = np.array([-0.1, 0.0, 0.0, 0.0, 0.0])
"""plumb_bob distortion of the camera that warms lifters up: most cameras have some, which takes
loops of its own."""


class Keypoints(NamedTuple):
    """Keypoints of N persons, as `Lifter.lift` takes them."""

    keypoints_px: np.ndarray
    """(N, 14, 2)."""
    confidence: np.ndarray
    """(N, 14)."""
    covariance_px2: np.ndarray | None
    """(N, 14, 2, 2)."""


class Depths(NamedTuple):
    """What is known of the depths of N persons' joints besides their keypoints.

    (N, 14) each, inf where nothing is known; None: nothing at all.
    """

    z: np.ndarray | None = None
    """Measured, of the keypoints' joints, in the optical frame, metres."""
    variance: np.ndarray | None = None
    """m^2."""
    relative_z: np.ndarray | None = None
    """Guessed (`depth_cue`), about their mean, along the line of sight to the person, divided by
    the person's size. Lifters that are networks ignore it."""
    relative_variance: np.ndarray | None = None
    """Divided by the square of the size."""


class PoseLifter(Protocol):
    """A lifter as the estimator, the node and the evaluation see it. Thread-safe."""

    def lift(
        self,
        keypoints_px: np.ndarray,
        confidence: np.ndarray,
        covariance_px2: np.ndarray | None = None,
        camera: Camera | None = None,
        up: Sequence[float] | np.ndarray = UP,
        depth: tuple[np.ndarray, np.ndarray] | Depths | None = None,
    ) -> LiftedPoses:
        """Return the poses of N persons; those who cannot be lifted are INVALID.

        keypoints_px: (N, 14, 2), NaN allowed where the confidence is 0.
        confidence: (N, 14) in [0, 1].
        covariance_px2: (N, 14, 2, 2), or None for the configured noise.
        up: (3,) or (N, 3) in the optical frame, NaN where unknown.
        depth: measured z of the keypoints' joints and its variance, (N, 14) each, in m and m^2; inf
        where nothing was measured. Ignored without a camera. Or `Depths`.

        With a camera the result is absolute, in its optical frame, in metres. Without one the root
        is at the origin, its covariance is NaN and the size is that of a prior. The hypotheses may
        be the answer alone. Raises ValueError in one line for arrays of a wrong shape.
        """

    def warm_up(self, depth: bool = False) -> None:
        """Compile and load in advance what the first call would wait for.

        depth: also what depths require.
        """


def lift_somebody(lifter: PoseLifter) -> None:
    """Lift one complete person with a distorted camera, which compiles what a lifter requires."""
    index = np.arange(KEYPOINT_COUNT)
    columns = index % 4 * 20.0
    rows = index * 15.0
    keypoints = np.stack([columns, rows], -1)[None]
    confidence = np.ones((1, KEYPOINT_COUNT))
    camera = Camera(np.diag([500.0, 500.0, 1.0]), WARM_UP_DISTORTION)
    lifter.lift(keypoints, confidence, camera=camera)


def check_request(
    keypoints_px: np.ndarray,
    confidence: np.ndarray,
    covariance_px2: np.ndarray | None,
) -> int:
    """Return the number of persons; ValueError in one line names an array of a wrong shape."""
    shape = np.shape(keypoints_px)
    if len(shape) != 3 or shape[1:] != (KEYPOINT_COUNT, 2):
        raise ValueError(f"keypoints_px: expected (N, {KEYPOINT_COUNT}, 2), got {shape}")

    if np.shape(confidence) != shape[:2]:
        raise ValueError(f"confidence: expected {shape[:2]}, got {np.shape(confidence)}")

    if covariance_px2 is None:
        return shape[0]

    expected = (*shape, 2)
    found = np.shape(covariance_px2)
    if found != expected:
        raise ValueError(f"keypoint_covariance_px2: expected {expected}, got {found}")

    return shape[0]


def up_of_each(
    up: Sequence[float] | np.ndarray,
    count: int,
) -> np.ndarray:
    """Return up (N, 3) of every person, given that of all (3,) or of each (N, 3)."""
    directions = np.asarray(up, np.float64)
    each = np.broadcast_to(directions, (count, 3))
    return each.copy()  # one layout for any number, for which loops are compiled


@compiled
def unit_up(up):
    """Return unit vectors (N, 3) of up (N, 3), and whether each is known (N,).

    Known means finite and not zero; for the others the vector is `UP`.
    """
    unit = np.empty((len(up), 3))
    known = np.empty(len(up), np.bool_)
    for n in range(len(up)):
        x = up[n, 0]
        y = up[n, 1]
        z = up[n, 2]
        length = np.sqrt(x**2 + y**2 + z**2)
        known[n] = 1e-9 < length < 1e300  # false for NaN
        for axis in range(3):
            unit[n, axis] = up[n, axis] / length if known[n] else UP[axis]

    return unit, known


def scatter_poses(
    count: int,
    modes: int,
    parts: Iterable[tuple[np.ndarray, LiftedPoses]],
) -> LiftedPoses:
    """Return N = `count` persons with M = `modes` hypotheses each, put together from parts.

    A part is the indices of some persons and their poses. Persons in no part are INVALID.
    """
    invalid = LiftedPoses.invalid(count, modes)
    arrays = {field.name: getattr(invalid, field.name).copy() for field in fields(invalid)}
    for rows, poses in parts:
        for name, values in arrays.items():
            values[rows] = getattr(poses, name)

    return LiftedPoses(**arrays)
