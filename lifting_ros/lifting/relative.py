# SPDX-License-Identifier: Apache-2.0
"""Joints and limbs of supervision by relative depth ("It's all Relative", BMVC 2018).

There are two sets: 17 joints, or the 14 of Leeds Sports Pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lifting_ros.skeleton import (
    JOINT_COUNT,
    JOINT_FLIP,
    KEYPOINT_COUNT,
    KEYPOINT_FLIP,
    KEYPOINT_LIMBS,
    KEYPOINT_NAMES,
    KEYPOINT_TO_JOINT,
    LIMBS,
)

_NECK = KEYPOINT_NAMES.index("neck")
_TRUNK_SIDES = (
    (_NECK, KEYPOINT_NAMES.index("right_hip")),
    (_NECK, KEYPOINT_NAMES.index("left_hip")),
)

PIXELS = 115.0
"""Root mean square distance of the keypoints from their mean, in pixels, at which the reprojection
error is measured: that of a person 1.7 m tall, 4.5 m from a camera of 1150 px focal length. The
network sees people at one size, so its pixels are these."""


@dataclass(frozen=True)
class JointSet:
    """The joints that are learnt, and what is known about them."""

    joints: tuple[int, ...]
    """Their indices among the 17."""
    flip: tuple[int, ...]
    """`x[..., flip, :]` swaps left and right."""
    root: int
    """The joint that the others are about."""
    limbs: tuple[tuple[int, int], ...]
    """As (start, end). What is not a bone is left out: of 14 joints the sides of the trunk."""
    shin: int
    """Index of the right shin among the limbs; lengths are divided by its length."""
    generic: tuple[float, ...]
    """Limb lengths of a body of standard proportions, in an arbitrary unit."""


_GENERIC_17 = (7, 19, 20, 7, 19, 20, 11.5, 12.5, 3.5, 3.5, 9, 15, 14, 9, 15, 14)
_GENERIC_14 = (7, 9, 15, 14, 9, 15, 14, 19, 20, 19, 20)
_LIMBS_14 = tuple(limb for limb in KEYPOINT_LIMBS if limb not in _TRUNK_SIDES)

JOINT_SETS = {
    JOINT_COUNT: JointSet(
        joints=tuple(range(JOINT_COUNT)),
        flip=JOINT_FLIP,
        root=0,
        limbs=LIMBS,
        shin=LIMBS.index((2, 3)),
        generic=_GENERIC_17,
    ),
    KEYPOINT_COUNT: JointSet(
        joints=KEYPOINT_TO_JOINT,
        flip=KEYPOINT_FLIP,
        root=_NECK,
        limbs=_LIMBS_14,
        shin=_LIMBS_14.index((9, 10)),
        generic=_GENERIC_14,
    ),
}
"""By the number of joints. The 14 are those of the keypoints, in their order, about the neck."""

_SUM_WEIGHT = 1e3
"""Weight of the condition that coefficients add up to one, relative to the size of the data."""


def ratios(
    joints: np.ndarray,
    which: JointSet,
) -> np.ndarray:
    """Return limb lengths divided by that of the right shin (N, L), of poses (N, 17, 3)."""
    own = joints[:, list(which.joints)]
    starts, ends = zip(*which.limbs)
    first = own[:, list(starts)]
    last = own[:, list(ends)]
    limbs = last - first
    lengths = np.linalg.norm(limbs, axis=-1)

    shin = lengths[:, which.shin, None]
    return lengths / shin


def fit_completion(
    joints: np.ndarray,
    which: JointSet,
) -> np.ndarray:
    """Return (17, J): each joint as the best linear combination of the J learnt ones.

    It is fitted to poses (N, 17, 3); the coefficients are the same along all axes. They add up to
    one, so that a translation of the learnt joints translates all joints.
    """
    chosen = list(which.joints)
    count = len(chosen)
    relative = joints - joints[:, :1]
    learnt = relative[:, chosen]
    whole = relative.swapaxes(1, 2).reshape(-1, JOINT_COUNT)  # (3N, 17)
    known = learnt.swapaxes(1, 2).reshape(-1, count)  # (3N, J)

    # One more equation for the sum of the coefficients
    mean_square = (known**2).mean()
    weight = _SUM_WEIGHT * np.sqrt(mean_square)
    known_sum = np.full((1, count), weight)
    whole_sum = np.full((1, JOINT_COUNT), weight)
    known = np.vstack([known, known_sum])
    whole = np.vstack([whole, whole_sum])

    solution, *_ = np.linalg.lstsq(known, whole, rcond=None)
    found = solution.T
    found[chosen] = np.eye(count)
    return found
