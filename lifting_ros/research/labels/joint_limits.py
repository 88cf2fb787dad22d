# SPDX-License-Identifier: Apache-2.0
"""Angles of the large joints of a pose, compared with those found in motion capture."""

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
"""Largest angles of the training subjects of the motion capture whose skeletons have their own
proportions, in steps of five degrees."""


def angles_deg(joints: np.ndarray) -> dict[str, np.ndarray]:
    """Angles (N,) in degrees by name, of poses (N, 17, 3) in any right-handed frame and unit; NaN
    where a limb has no length.

    fold: between two limbs, 0 when straight. knee back: of a shank that is bent forwards of its
    thigh, in the plane perpendicular to the line through the hips. hip back: of a thigh behind the
    trunk. twist: between the lines through hips and shoulders, about the trunk.
    """
    at = {name: joints[:, index] for index, name in enumerate(JOINT_NAMES)}

    # Body frame
    hips = _unit(at["left_hip"] - at["right_hip"])
    shoulders = at["left_shoulder"] - at["right_shoulder"]
    trunk = at["thorax"] - at["pelvis"]
    up = _unit(trunk)
    ahead = _unit(np.cross(hips, up))

    # Trunk
    lower_spine = at["spine"] - at["pelvis"]
    upper_spine = at["thorax"] - at["spine"]
    head = at["head_top"] - at["thorax"]
    found = {
        "spine fold": _between(lower_spine, upper_spine),
        "head fold": _between(trunk, head),
        "twist": _twist(hips, shoulders, up),
    }

    # Limbs
    for side in ("left", "right"):
        thigh = _unit(at[f"{side}_knee"] - at[f"{side}_hip"])
        shank = _unit(at[f"{side}_ankle"] - at[f"{side}_knee"])
        upper_arm = at[f"{side}_elbow"] - at[f"{side}_shoulder"]
        forearm = at[f"{side}_wrist"] - at[f"{side}_elbow"]
        bent = -(np.cross(thigh, shank) * hips).sum(-1)
        behind = -(thigh * ahead).sum(-1)

        found[f"{side} knee fold"] = _between(thigh, shank)
        found[f"{side} elbow fold"] = _between(upper_arm, forearm)
        found[f"{side} knee back"] = _degrees(bent)
        found[f"{side} hip back"] = _degrees(behind)

    return found


def excess_deg(joints: np.ndarray) -> np.ndarray:
    """Largest excess (N,) of an angle over its limit, degrees, of poses (N, 17, 3); 0 where no
    angle is beyond its limit, NaN where an angle is NaN."""
    beyond = []
    for name, angle in angles_deg(joints).items():
        kind = name.removeprefix("left ").removeprefix("right ")
        excess = angle - LIMITS_DEG[kind]
        beyond.append(np.maximum(excess, 0.0))

    return np.max(beyond, axis=0)


def _twist(
    across: np.ndarray,
    shoulders: np.ndarray,
    up: np.ndarray,
) -> np.ndarray:
    """Angle of two vectors (N, 3) about a third one, degrees."""

    def flattened(vectors: np.ndarray) -> np.ndarray:
        products = vectors * up
        along = products.sum(-1, keepdims=True)
        return vectors - along * up

    return _between(flattened(across), flattened(shoulders))


def _between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle between vectors (N, 3), degrees."""
    products = _unit(a) * _unit(b)
    cosine = products.sum(-1)
    within = np.clip(cosine, -1, 1)  # despite rounding
    angle = np.arccos(within)
    return np.degrees(angle)


def _degrees(sine: np.ndarray) -> np.ndarray:
    """Angle of a sine (N,), degrees."""
    within = np.clip(sine, -1, 1)  # despite rounding
    angle = np.arcsin(within)
    return np.degrees(angle)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors (N, 3); NaN for those without a length."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    has_length = length > 0
    usable = np.where(has_length, length, np.nan)
    return vectors / usable
