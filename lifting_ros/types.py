# SPDX-License-Identifier: Apache-2.0
"""Values that travel through the pipeline. Frozen; units and frames stand in the field names; see
`skeleton` for the orders."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np

from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_TO_JOINT


class JointStatus(enum.IntEnum):
    """Where a joint's position comes from."""

    INVALID = 0
    """Nothing can be said: position and covariance are NaN."""
    INFERRED = 1
    """Completed by the prior."""
    OBSERVED = 2
    """Its keypoint was seen in the image."""


@dataclass(frozen=True)
class Detection:
    """A person's box."""

    box_px: np.ndarray
    """(4,) x0, y0, x1, y1 around the person's keypoints, image pixels."""
    score: float
    """In [0, 1]."""


@dataclass(frozen=True)
class Skeleton2D:
    """14 keypoints of one person in the image."""

    keypoints_px: np.ndarray
    """(14, 2) image pixels; NaN where nothing is known."""
    confidence: np.ndarray
    """(14,) in [0, 1]; 0 means not seen."""
    covariance_px2: np.ndarray
    """(14, 2, 2) of the position; NaN where nothing is known."""
    box_px: np.ndarray
    """(4,) x0, y0, x1, y1, image pixels."""
    score: float
    """Of the person, in [0, 1]."""


@dataclass(frozen=True)
class Skeleton3D:
    """17 joints of one person. With a camera: the camera's optical frame, metres; without: root at
    the origin."""

    joints_m: np.ndarray
    """(17, 3) absolute positions; NaN where the status is INVALID."""
    root_m: np.ndarray
    """(3,) position of the pelvis."""
    covariance_m2: np.ndarray
    """(17, 3, 3) of `joints_m - root_m`."""
    root_covariance_m2: np.ndarray
    """(3, 3) of `root_m`; add it to a joint's for the absolute position."""
    confidence: np.ndarray
    """(17,) in [0, 1]: the keypoint's where observed, 0 where inferred."""
    status: np.ndarray
    """(17,) uint8 of JointStatus."""
    log_likelihood: float
    """Of the keypoints under the prior; NaN where nothing was lifted."""
    metric: bool
    """Whether `root_m` is a position in metres; False where no camera was known."""
    hypotheses_m: np.ndarray
    """(M, 17, 3) the other modes, best first, in the frame of `joints_m`."""
    hypothesis_weight: np.ndarray
    """(M,) their probabilities."""


@dataclass(frozen=True)
class LiftedPoses:
    """A batch of lifted persons; shapes as in `Skeleton3D` with N in front."""

    joints_m: np.ndarray
    root_m: np.ndarray
    covariance_m2: np.ndarray
    root_covariance_m2: np.ndarray
    status: np.ndarray
    log_likelihood: np.ndarray
    hypotheses_m: np.ndarray
    hypothesis_weight: np.ndarray

    @classmethod
    def invalid(cls, count: int, modes: int) -> LiftedPoses:
        """Persons of whom nothing is known: NaN, and status INVALID."""
        nan = lambda *shape: np.full((count, *shape), np.nan)  # noqa: E731
        j = JOINT_COUNT
        return cls(
            nan(j, 3),
            nan(3),
            nan(j, 3, 3),
            nan(3, 3),
            np.zeros((count, j), np.uint8),
            nan(),
            nan(modes, j, 3),
            nan(modes),
        )

    def skeleton(self, index: int, confidence: np.ndarray, metric: bool) -> Skeleton3D:
        """Person `index`; confidence (14,) of its keypoints."""
        joints = np.zeros(JOINT_COUNT)
        joints[list(KEYPOINT_TO_JOINT)] = np.nan_to_num(confidence)
        joints[self.status[index] != JointStatus.OBSERVED] = 0
        return Skeleton3D(
            self.joints_m[index],
            self.root_m[index],
            self.covariance_m2[index],
            self.root_covariance_m2[index],
            joints,
            self.status[index],
            float(self.log_likelihood[index]),
            metric and bool(self.status[index].any()),
            self.hypotheses_m[index],
            self.hypothesis_weight[index],
        )


@dataclass(frozen=True)
class Person:
    """One person in one frame."""

    id: int
    """Track id from 1; 0 means not tracked."""
    age_s: float
    """Seconds since the track began; 0 where not tracked."""
    skeleton_2d: Skeleton2D
    skeleton_3d: Skeleton3D
    velocity_mps: np.ndarray
    """(17, 3) joint velocities, relative to the root where not metric; NaN where not tracked, and
    in a track's first frame."""
    velocity_covariance_m2ps2: np.ndarray = field(
        default_factory=lambda: np.full((JOINT_COUNT, 3, 3), np.nan)
    )
    """(17, 3, 3) of `velocity_mps`; NaN where that is."""
    bone_lengths_m: np.ndarray = field(default_factory=lambda: np.full(JOINT_COUNT - 1, np.nan))
    """(16,) of the limbs of `skeleton.LIMBS`, as all frames of the track so far tell; NaN where not
    tracked."""
    bone_lengths_std_m: np.ndarray = field(default_factory=lambda: np.full(JOINT_COUNT - 1, np.nan))
    """(16,) standard deviations of `bone_lengths_m`."""
    coasting: bool = False
    """Not found in this frame: everything but the box, which is the last one seen, is the track's
    prediction."""
