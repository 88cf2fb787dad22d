# SPDX-License-Identifier: Apache-2.0
"""Does a pose bend where people bend? Angles of the large joints against what motion capture shows
of them."""

from __future__ import annotations

import numpy as np

from lifting_ros.skeleton import JOINT_NAMES

LIMITS_DEG = {
    "spine fold": 60.0,
    "head fold": 65.0,
    "twist": 65.0,
    "knee fold": 160.0,
    "elbow fold": 150.0,
    "knee back": 5.0,
    "hip back": 35.0,
}
"""The largest angles of the training subjects of the motion capture whose proportions are their
own, in steps of five."""


def angles_deg(joints: np.ndarray) -> dict[str, np.ndarray]:
    """Angles (N,) in degrees of poses (N, 17, 3) in any right-handed frame and unit; NaN where a
    limb has no length.

    fold: between the two limbs that meet, 0 when straight. knee back: how far a shank is bent
    forwards of its thigh, in the plane across the hips. hip back: of the thigh behind the trunk.
    twist: between the lines through hips and shoulders, about the trunk.
    """
    at = {name: joints[:, index] for index, name in enumerate(JOINT_NAMES)}
    across = _unit(at["left_hip"] - at["right_hip"])
    trunk = _unit(at["thorax"] - at["pelvis"])
    ahead = _unit(np.cross(across, trunk))
    found = {
        "spine fold": _between(at["spine"] - at["pelvis"], at["thorax"] - at["spine"]),
        "head fold": _between(at["thorax"] - at["pelvis"], at["head_top"] - at["thorax"]),
        "twist": _twist(across, at["left_shoulder"] - at["right_shoulder"], trunk),
    }

    for side in ("left", "right"):
        thigh = _unit(at[f"{side}_knee"] - at[f"{side}_hip"])
        shank = _unit(at[f"{side}_ankle"] - at[f"{side}_knee"])
        upper = at[f"{side}_elbow"] - at[f"{side}_shoulder"]
        lower = at[f"{side}_wrist"] - at[f"{side}_elbow"]
        found[f"{side} knee fold"] = _between(thigh, shank)
        found[f"{side} elbow fold"] = _between(upper, lower)
        found[f"{side} knee back"] = _degrees(-(np.cross(thigh, shank) * across).sum(-1))
        found[f"{side} hip back"] = _degrees(-(thigh * ahead).sum(-1))

    return found


def excess_deg(joints: np.ndarray) -> np.ndarray:
    """By how much the worst angle (N,) of each pose (N, 17, 3) is beyond its limit; 0 where none
    is, NaN where nothing is known."""
    angles = angles_deg(joints)
    beyond = [
        np.maximum(
            angles[name] - LIMITS_DEG[name.removeprefix("left ").removeprefix("right ")], 0.0
        )
        for name in angles
    ]

    return np.max(beyond, axis=0)


def _twist(across: np.ndarray, shoulders: np.ndarray, trunk: np.ndarray) -> np.ndarray:

    def flattened(vectors: np.ndarray) -> np.ndarray:
        along = (vectors * trunk).sum(-1, keepdims=True)
        return vectors - along * trunk

    return _between(flattened(across), flattened(shoulders))


def _between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.clip((_unit(a) * _unit(b)).sum(-1), -1, 1)))


def _degrees(sine: np.ndarray) -> np.ndarray:
    return np.degrees(np.arcsin(np.clip(sine, -1, 1)))


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, np.nan)
