# SPDX-License-Identifier: Apache-2.0
"""Values that are passed through the pipeline.

They are frozen. Field names hold units; the orders of keypoints and joints are in `skeleton`.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT, KEYPOINT_TO_JOINT, LIMBS

LIMB_COUNT = len(LIMBS)


class JointStatus(enum.IntEnum):
    """Where a joint's position comes from."""

    INVALID = 0
    """Unknown: position and covariance are NaN."""
    INFERRED = 1
    """Completed by the prior."""
    OBSERVED = 2
    """Its keypoint was seen in the image."""


@dataclass(frozen=True)
class Detection:
    """A person that the detector found, or whom the tracker expects."""

    box_px: np.ndarray
    """(4,) x0, y0, x1, y1 around the person's keypoints, image pixels."""
    score: float
    """In [0, 1]."""
    followed: bool = False
    """Whether the box is where the tracker expects the person."""


@dataclass(frozen=True)
class FoundKeypoints:
    """14 keypoints of one person, as the keypoint network finds them."""

    keypoints_px: np.ndarray
    """(14, 2) image pixels."""
    confidence: np.ndarray
    """(14,) in [0, 1]."""
    covariance_px2: np.ndarray
    """(14, 2, 2) of the position."""
    presence: np.ndarray
    """(14,) probability that the keypoint is in view."""
    ends: float = np.nan
    """Probability that a face, a hand or a foot is in the crop; NaN where the network does not
    tell."""
    deep: np.ndarray | None = None
    """(c,) the last layer of the network's trunk, averaged over the crop; None without a trunk."""
    local: np.ndarray | None = None
    """(14, c) the same layer at each keypoint."""


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
    deep: np.ndarray | None = None
    """(c,) the last layer of the network's trunk, averaged over the crop; None where no trunk found
    the keypoints."""
    local: np.ndarray | None = None
    """(14, c) the same layer at each keypoint. The depth cue reads one of the two. Lifted persons
    have no `local`: it takes 72 kB."""

    @classmethod
    def unknown(cls, score: float) -> Skeleton2D:
        """A skeleton of which nothing is known, of a person who belongs to no image."""
        return cls(
            keypoints_px=np.full((KEYPOINT_COUNT, 2), np.nan),
            confidence=np.zeros(KEYPOINT_COUNT),
            covariance_px2=np.full((KEYPOINT_COUNT, 2, 2), np.nan),
            box_px=np.full(4, np.nan),
            score=score,
        )


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
        """`count` persons of whom nothing is known: NaN, and status INVALID."""

        def nan(*shape: int) -> np.ndarray:
            return np.full((count, *shape), np.nan)

        return cls(
            joints_m=nan(JOINT_COUNT, 3),
            root_m=nan(3),
            covariance_m2=nan(JOINT_COUNT, 3, 3),
            root_covariance_m2=nan(3, 3),
            status=np.zeros((count, JOINT_COUNT), np.uint8),
            log_likelihood=nan(),
            hypotheses_m=nan(modes, JOINT_COUNT, 3),
            hypothesis_weight=nan(modes),
        )

    @classmethod
    def joined(cls, parts: Sequence[LiftedPoses]) -> LiftedPoses:
        """The persons of all parts, one after the other."""
        return cls(*(np.concatenate(values) for values in zip(*map(_values_of, parts))))

    def select(self, rows: np.ndarray) -> LiftedPoses:
        """The persons of some rows."""
        return LiftedPoses(*(values[rows] for values in _values_of(self)))

    def skeleton(self, index: int, confidence: np.ndarray, metric: bool) -> Skeleton3D:
        """Person `index`.

        confidence: (14,) of its keypoints; metric: whether a camera was known.
        """
        status = self.status[index]
        joint_confidence = np.zeros(JOINT_COUNT)
        joint_confidence[list(KEYPOINT_TO_JOINT)] = np.nan_to_num(confidence)
        joint_confidence[status != JointStatus.OBSERVED] = 0

        return Skeleton3D(
            joints_m=self.joints_m[index],
            root_m=self.root_m[index],
            covariance_m2=self.covariance_m2[index],
            root_covariance_m2=self.root_covariance_m2[index],
            confidence=joint_confidence,
            status=status,
            log_likelihood=float(self.log_likelihood[index]),
            metric=metric and bool(status.any()),
            hypotheses_m=self.hypotheses_m[index],
            hypothesis_weight=self.hypothesis_weight[index],
        )


def _values_of(poses: LiftedPoses) -> list[np.ndarray]:
    """The arrays of a batch, in the order of the fields."""
    return [getattr(poses, one.name) for one in fields(poses)]


def _unknown_velocity_covariance() -> np.ndarray:
    return np.full((JOINT_COUNT, 3, 3), np.nan)


def _unknown_lengths() -> np.ndarray:
    return np.full(LIMB_COUNT, np.nan)


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
    """(17, 3) joint velocities, relative to the root where not metric; NaN where not tracked and in
    the first frame of a track."""
    velocity_covariance_m2ps2: np.ndarray = field(default_factory=_unknown_velocity_covariance)
    """(17, 3, 3) of `velocity_mps`; NaN where that is."""
    bone_lengths_m: np.ndarray = field(default_factory=_unknown_lengths)
    """(16,) of the limbs of `skeleton.LIMBS`, estimated from all frames of the track so far; NaN
    where not tracked."""
    bone_lengths_std_m: np.ndarray = field(default_factory=_unknown_lengths)
    """(16,) standard deviations of `bone_lengths_m`."""
    coasting: bool = False
    """Whether the person was not found in this frame. Everything is then the track's prediction,
    except the box, which is the last one seen."""
