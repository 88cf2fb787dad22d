# SPDX-License-Identifier: Apache-2.0
"""The two joint orders of this package, their topology, and maps from other conventions. Left and
right are the person's own."""

from __future__ import annotations

import numpy as np

KEYPOINT_NAMES = (
    "head_top",
    "neck",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
)
"""The 14 keypoints: what the network finds and what the lifter observes."""

JOINT_NAMES = (
    "pelvis",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "spine",
    "thorax",
    "nose",
    "head_top",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
)
"""The 17 joints of Human3.6M: what the lifter returns."""

KEYPOINT_COUNT = len(KEYPOINT_NAMES)
JOINT_COUNT = len(JOINT_NAMES)
ROOT = 0

JOINT_PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
"""Parent of each joint; -1 marks the root."""

LIMBS = tuple((parent, joint) for joint, parent in enumerate(JOINT_PARENTS) if parent >= 0)
"""The 16 limbs as (parent, joint)."""

KEYPOINT_TO_JOINT = (10, 8, 14, 15, 16, 11, 12, 13, 1, 2, 3, 4, 5, 6)
"""Keypoint k observes joint KEYPOINT_TO_JOINT[k]."""

KEYPOINT_LIMBS = (
    (0, 1),
    (1, 2),
    (2, 3),
    (3, 4),
    (1, 5),
    (5, 6),
    (6, 7),
    (1, 8),
    (8, 9),
    (9, 10),
    (1, 11),
    (11, 12),
    (12, 13),
)
"""Lines to draw between keypoints."""


def flip_permutation(names: tuple[str, ...]) -> tuple[int, ...]:
    """Index of each name's mirror image: `x[..., flip, :]` swaps left and right."""
    swap = {"left": "right", "right": "left"}
    mirrored = ["_".join(swap.get(word, word) for word in name.split("_")) for name in names]
    return tuple(names.index(name) for name in mirrored)


KEYPOINT_FLIP = flip_permutation(KEYPOINT_NAMES)
JOINT_FLIP = flip_permutation(JOINT_NAMES)

LSP_TO_KEYPOINT = (13, 12, 8, 7, 6, 9, 10, 11, 2, 1, 0, 3, 4, 5)
"""Leeds Sports Pose order: keypoint k is LSP joint LSP_TO_KEYPOINT[k]."""


def limb_lengths(joints: np.ndarray) -> np.ndarray:
    """Lengths of the 16 limbs, (..., 17, 3) -> (..., 16), in the unit of `joints`."""
    parents, children = np.array(LIMBS).T
    return np.linalg.norm(joints[..., children, :] - joints[..., parents, :], axis=-1)


_R_SHOULDER, _L_SHOULDER, _R_HIP, _L_HIP = (
    KEYPOINT_NAMES.index(n) for n in ("right_shoulder", "left_shoulder", "right_hip", "left_hip")
)


def torso_px(keypoints: np.ndarray) -> np.ndarray:
    """Torso of each person, (N, 14, 3) -> (N,): the longer labelled diagonal from shoulder to
    opposite hip; NaN without one."""
    diagonals = []
    for a, b in ((_L_SHOULDER, _R_HIP), (_R_SHOULDER, _L_HIP)):
        length = np.linalg.norm(keypoints[:, a, :2] - keypoints[:, b, :2], axis=-1)
        diagonals.append(np.where((keypoints[:, a, 2] > 0) & (keypoints[:, b, 2] > 0), length, 0.0))
    longest = np.maximum(*diagonals)
    return np.where(longest > 0, longest, np.nan)
