# SPDX-License-Identifier: Apache-2.0
"""Rotations of the prior's axes (y up): about the vertical, and into an optical frame."""

from __future__ import annotations

import numpy as np


def up_to_camera(up: np.ndarray) -> np.ndarray:
    """Rotation E (3, 3) from model axes (y up) to an optical frame in which up points along `up`
    (3,); the nearest to a level one."""
    level, target = np.array([0.0, -1.0, 0.0]), up / np.linalg.norm(up)
    axis, cosine = np.cross(level, target), float(level @ target)
    if cosine < -1 + 1e-9:  # a camera on its head: half a turn about the optical axis
        return np.diag([-1.0, -1, 1]) @ np.diag([1.0, -1, -1])
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return (np.eye(3) + skew + skew @ skew / (1 + cosine)) @ np.diag([1.0, -1, -1])


def rotation_about_vertical(theta: np.ndarray) -> np.ndarray:
    """Equation (2): (...,) radians to (..., 3, 3)."""
    c, s, zero, one = np.cos(theta), np.sin(theta), np.zeros_like(theta), np.ones_like(theta)
    return np.stack(
        [np.stack([c, zero, s], -1), np.stack([zero, one, zero], -1), np.stack([-s, zero, c], -1)],
        -2,
    )
