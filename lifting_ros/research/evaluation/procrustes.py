# SPDX-License-Identifier: Apache-2.0
"""Procrustes alignment: the similarity that takes estimated joints closest to the true ones, also
applied to their covariances."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_LEAST_SQUARE = 1e-12
"""Sum of squares below which all joints are one point."""


class Aligned(NamedTuple):
    """N estimated skeletons after the similarity (rotation, scale, translation; no reflection)."""

    joints: np.ndarray
    """(N, J, 3) in the frame and unit of the truth."""
    scale: np.ndarray
    """(N,)."""
    rotation: np.ndarray
    """(N, 3, 3) from the estimate's frame into that of the truth."""

    def covariance(self, covariance: np.ndarray) -> np.ndarray:
        """Covariances (N, J, 3, 3) of the estimate, turned and scaled as the joints were."""
        turn = self.rotation[:, None]
        turned = turn @ covariance @ np.swapaxes(turn, -1, -2)
        return self.scale[:, None, None, None] ** 2 * turned


def align(predicted: np.ndarray, truth: np.ndarray) -> Aligned:
    """Align predicted joints with true ones, both (N, J, 3), each person on its own."""
    middle = truth.mean(1, keepdims=True)
    p = predicted - predicted.mean(1, keepdims=True)
    t = truth - middle
    product = np.swapaxes(p, 1, 2) @ t
    u, s, vt = np.linalg.svd(product)

    # Without reflection
    determinant = np.linalg.det(u @ vt)
    sign = np.where(determinant < 0, -1.0, 1.0)
    s[:, -1] *= sign
    vt[:, -1] *= sign[:, None]

    square = (p**2).sum((1, 2))
    scale = s.sum(-1) / np.maximum(square, _LEAST_SQUARE)
    turn = u @ vt  # of row vectors
    joints = scale[:, None, None] * p @ turn + middle
    return Aligned(joints, scale, np.swapaxes(turn, 1, 2))
