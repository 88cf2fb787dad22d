# SPDX-License-Identifier: Apache-2.0
"""Kinds of people by their true joints: knees straight or bent, seen from the front, from the side
or from behind."""

from __future__ import annotations

import numpy as np

from lifting_ros.skeleton import JOINT_NAMES, ROOT

BENT_DEG = 120.0
"""Knees are bent where the angle of either is below this one; a straight knee has 180."""

FRONT_DEG = 45.0
"""Largest angle between where a person faces and where the camera is, seen from the front; from
behind it is 180 degrees less this one or more."""

GROUPS = ("straight knees", "bent knees", "from the front", "from the side", "from behind")

_LEGS = {
    side: [JOINT_NAMES.index(f"{side}_{joint}") for joint in ("hip", "knee", "ankle")]
    for side in ("right", "left")
}
_THORAX = JOINT_NAMES.index("thorax")


def groups_of(joints_m: np.ndarray) -> dict[str, np.ndarray]:
    """Who of N people (N, 17, 3), optical frame, metres, is of which of GROUPS: (N,) bool each."""
    angles = [knee_deg(joints_m, side) for side in _LEGS]
    is_bent = np.minimum(*angles) < BENT_DEG

    facing = facing_deg(joints_m)
    is_front = facing <= FRONT_DEG
    is_behind = facing >= 180 - FRONT_DEG
    masks = (~is_bent, is_bent, is_front, ~is_front & ~is_behind, is_behind)
    return dict(zip(GROUPS, masks, strict=True))


def knee_deg(joints_m: np.ndarray, side: str) -> np.ndarray:
    """Angle (N,) at the knee of a side, degrees; 180: straight."""
    hip, knee, ankle = (joints_m[:, joint] for joint in _LEGS[side])
    return _angle_deg(hip - knee, ankle - knee)


def facing_deg(joints_m: np.ndarray) -> np.ndarray:
    """Angle (N,) between where the hips face and the direction to the camera, degrees."""
    across = joints_m[:, _LEGS["right"][0]] - joints_m[:, _LEGS["left"][0]]
    trunk = joints_m[:, _THORAX] - joints_m[:, ROOT]
    return _angle_deg(np.cross(trunk, across), -joints_m[:, ROOT])


def _angle_deg(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    cosine = (first * second).sum(-1) / np.maximum(length, 1e-12)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))
