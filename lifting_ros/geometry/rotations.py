# SPDX-License-Identifier: Apache-2.0
"""Rotations from the prior's axes (y up): about the vertical, and into an optical frame; and
products of vectors."""

from __future__ import annotations

import numpy as np

_MODEL_TO_LEVEL = np.diag([1.0, -1, -1])
"""Model axes (y up) to the optical frame of a level camera (y down)."""


def up_to_camera(up: np.ndarray) -> np.ndarray:
    """Return the rotation E (3, 3) from model axes (y up) to an optical frame.

    up: (3,) the upward direction in the optical frame, of any length. Of all rotations that map
    model up onto it, E is the one nearest to a level camera.
    """
    level = np.array([0.0, -1.0, 0.0])
    target = up / np.linalg.norm(up)
    axis = np.cross(level, target)
    cosine = float(level @ target)

    # An upside-down camera: half a turn about the optical axis.
    if cosine < -1 + 1e-9:
        return np.diag([-1.0, -1, 1]) @ _MODEL_TO_LEVEL

    x, y, z = axis
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    tilt = np.eye(3) + skew + skew @ skew / (1 + cosine)
    return tilt @ _MODEL_TO_LEVEL


def rotation_about_vertical(theta: np.ndarray) -> np.ndarray:
    """Return rotations (..., 3, 3) about the y axis, equation (2); theta (...,) in radians."""
    c = np.cos(theta)
    s = np.sin(theta)
    zero = np.zeros_like(theta)
    one = np.ones_like(theta)

    rows = [
        np.stack([c, zero, s], -1),
        np.stack([zero, one, zero], -1),
        np.stack([-s, zero, c], -1),
    ]
    return np.stack(rows, -2)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors (..., 3) of length 1, float64; zero where they are zero."""
    vectors = np.asarray(vectors, float)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(length, 1e-12)


def outer(vectors: np.ndarray) -> np.ndarray:
    """Return the product (..., 3, 3) of each vector (..., 3) with itself."""
    columns = vectors[..., :, None]
    rows = vectors[..., None, :]
    return columns * rows
