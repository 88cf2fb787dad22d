# SPDX-License-Identifier: Apache-2.0
"""The two joint orders of this package, their topology, and maps from other conventions.

Left and right are the person's own.
"""

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
"""The 14 keypoints that the network finds and the lifter observes."""

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
"""The 17 joints of Human3.6M that the lifter returns."""

KEYPOINT_COUNT = len(KEYPOINT_NAMES)
JOINT_COUNT = len(JOINT_NAMES)
ROOT = 0
"""The pelvis."""

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
    permutation = []
    for name in names:
        words = [swap.get(word, word) for word in name.split("_")]
        mirrored = "_".join(words)
        permutation.append(names.index(mirrored))

    return tuple(permutation)


KEYPOINT_FLIP = flip_permutation(KEYPOINT_NAMES)
JOINT_FLIP = flip_permutation(JOINT_NAMES)

LSP_TO_KEYPOINT = (13, 12, 8, 7, 6, 9, 10, 11, 2, 1, 0, 3, 4, 5)
"""Leeds Sports Pose order: keypoint k is LSP joint LSP_TO_KEYPOINT[k]."""


def limb_lengths(joints: np.ndarray) -> np.ndarray:
    """Lengths of the 16 limbs, (..., 17, 3) -> (..., 16), in the unit of `joints`."""
    parents, children = np.array(LIMBS).T
    along = joints[..., children, :] - joints[..., parents, :]
    return np.linalg.norm(along, axis=-1)


_TORSO_DIAGONALS = (
    (KEYPOINT_NAMES.index("left_shoulder"), KEYPOINT_NAMES.index("right_hip")),
    (KEYPOINT_NAMES.index("right_shoulder"), KEYPOINT_NAMES.index("left_hip")),
)


def torso_px(keypoints: np.ndarray) -> np.ndarray:
    """Length (N,) of each person's torso: the longer diagonal from a shoulder to the opposite hip
    among those labelled; NaN without one.

    keypoints: (N, 14, 3) of x, y and confidence.
    """
    diagonals = []
    for shoulder, hip in _TORSO_DIAGONALS:
        along = keypoints[:, shoulder, :2] - keypoints[:, hip, :2]
        length = np.linalg.norm(along, axis=-1)
        labelled = (keypoints[:, shoulder, 2] > 0) & (keypoints[:, hip, 2] > 0)
        diagonals.append(np.where(labelled, length, 0.0))

    longest = np.maximum(*diagonals)
    return np.where(longest > 0, longest, np.nan)
