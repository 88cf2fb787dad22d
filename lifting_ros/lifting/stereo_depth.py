# SPDX-License-Identifier: Apache-2.0
"""What measured depths say of a person whose pose before the camera is known but for its scale."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.lifting.depth_fusion import COMMON_STD_M


class Scale(NamedTuple):
    """Of N persons; NaN where nothing was measured."""

    mean: np.ndarray
    """(N,) metres a unit of the pose."""
    variance: np.ndarray
    """(N,)."""


def measured_scale(
    z: np.ndarray, seen: np.ndarray, depth_m: np.ndarray, variance_m2: np.ndarray
) -> Scale:
    """The scale at which joints of depth z (N, K) before the camera, those `seen` (N, K), are
    nearest to measured depths (N, K).

    The weighted median of the ratios: the exact least of the sum of distances, and half of the
    depths may be of something else.
    """
    known = seen & np.isfinite(depth_m) & np.isfinite(variance_m2) & (depth_m > 0) & (z > 0)
    ratio = np.where(known, depth_m, 0.0) / np.where(known, z, 1.0)
    precision = np.where(known, z, 0.0) ** 2 / np.where(known, np.maximum(variance_m2, 1e-9), 1.0)
    median = weighted_median(ratio, np.sqrt(precision))
    total = precision.sum(1)
    far = (z * known).sum(1) / np.maximum(known.sum(1), 1)
    spread = (
        np.pi / 2 / np.where(total > 0, total, np.nan)
        + (COMMON_STD_M / np.where(far > 0, far, np.nan)) ** 2
    )
    return Scale(median, spread)


def weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The x (N,) of least sum_k w_k |v_k - x|, of values and weights (N, K); NaN where all weights
    are 0."""
    order = np.argsort(np.where(weights > 0, values, np.inf), axis=1)
    ordered, share = (np.take_along_axis(v, order, 1) for v in (values, weights))
    half = np.argmax(share.cumsum(1) >= 0.5 * share.sum(1, keepdims=True), axis=1)
    return np.where(weights.any(1), np.take_along_axis(ordered, half[:, None], 1)[:, 0], np.nan)
