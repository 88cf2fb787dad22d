# SPDX-License-Identifier: Apache-2.0
"""Joints and limbs of relative-depth supervision ("It's all Relative", BMVC 2018): 17 joints, or
the 14 of Leeds Sports Pose."""

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

_TRUNK_SIDES = tuple(
    (KEYPOINT_NAMES.index("neck"), KEYPOINT_NAMES.index(f"{side}_hip"))
    for side in ("right", "left")
)

PIXELS = 115.0
"""Root mean square distance of the keypoints from their mean, at which the reprojection is
measured: somebody 1.7 m tall, 4.5 m before a camera of 1150 px. The network sees people at one
size, so that its pixels are these."""


@dataclass(frozen=True)
class JointSet:
    """Which joints are learnt, and what is known of them."""

    joints: tuple[int, ...]
    """Their numbers among the 17."""
    flip: tuple[int, ...]
    """`x[..., flip, :]` swaps left and right."""
    root: int
    limbs: tuple[tuple[int, int], ...]
    """As (start, end); what is not a bone is left out: of 14 joints the sides of the trunk."""
    shin: int
    """The right one, among the limbs: what lengths are divided by."""
    generic: tuple[float, ...]
    """Lengths of the limbs of a body drawn by rule, in a unit of its own."""


_GENERIC_17 = (7, 19, 20, 7, 19, 20, 11.5, 12.5, 3.5, 3.5, 9, 15, 14, 9, 15, 14)
_GENERIC_14 = (7, 9, 15, 14, 9, 15, 14, 19, 20, 19, 20)
_LIMBS_14 = tuple(limb for limb in KEYPOINT_LIMBS if limb not in _TRUNK_SIDES)

JOINT_SETS = {
    JOINT_COUNT: JointSet(
        tuple(range(JOINT_COUNT)), JOINT_FLIP, 0, LIMBS, LIMBS.index((2, 3)), _GENERIC_17
    ),
    KEYPOINT_COUNT: JointSet(
        KEYPOINT_TO_JOINT,
        KEYPOINT_FLIP,
        KEYPOINT_NAMES.index("neck"),
        _LIMBS_14,
        _LIMBS_14.index((9, 10)),
        _GENERIC_14,
    ),
}
"""By the number of joints; 14 are those of the keypoints, in their order, about the neck."""


def ratios(joints: np.ndarray, which: JointSet) -> np.ndarray:
    """Lengths of the limbs over the right shin's, (N, L), of poses (N, 17, 3)."""
    own = joints[:, list(which.joints)]
    starts, ends = (list(side) for side in zip(*which.limbs))
    lengths = np.linalg.norm(own[:, ends] - own[:, starts], axis=-1)
    return lengths / lengths[:, which.shin : which.shin + 1]


def fit_completion(joints: np.ndarray, which: JointSet) -> np.ndarray:
    """(17, J): every joint of poses (N, 17, 3) as the linear combination of the J learnt ones that
    fits best, the same along all axes."""
    own = joints[:, list(which.joints)] - joints[:, :1]
    known = own.swapaxes(1, 2).reshape(-1, len(which.joints))  # 3N, J
    whole = (joints - joints[:, :1]).swapaxes(1, 2).reshape(-1, JOINT_COUNT)
    weight = 1e3 * np.sqrt(
        (known**2).mean()
    )  # the coefficients add up to one, so that a shift of all shifts all
    known, whole = (
        np.vstack([known, np.full((1, known.shape[1]), weight)]),
        np.vstack([whole, np.full((1, JOINT_COUNT), weight)]),
    )
    found = np.linalg.lstsq(known, whole, rcond=None)[0].T
    found[list(which.joints)] = np.eye(len(which.joints))
    return found
