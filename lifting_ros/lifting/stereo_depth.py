# SPDX-License-Identifier: Apache-2.0
"""The scale of a pose from measured depths, if everything else about its position is known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.lifting.depth_fusion import COMMON_STD_M

_MIN_VARIANCE_M2 = 1e-9
"""Least variance of a measured depth."""


class Scale(NamedTuple):
    """The scales of N persons; NaN where nothing was measured."""

    mean: np.ndarray
    """(N,) metres per unit of the pose."""
    variance: np.ndarray
    """(N,)."""


def measured_scale(
    z: np.ndarray,
    seen: np.ndarray,
    depth_m: np.ndarray,
    variance_m2: np.ndarray,
) -> Scale:
    """Return the scale at which the joints' depths fit the measured ones best.

    z: (N, K) depths of the joints in units of the pose; seen: (N, K) bool; depth_m, variance_m2:
    (N, K). The scale is the weighted median of the ratios, which minimises the sum of absolute
    differences exactly. Up to half of the depths may be those of something else.
    """
    finite = np.isfinite(depth_m) & np.isfinite(variance_m2)
    positive = (depth_m > 0) & (z > 0)
    known = seen & finite & positive

    # Ratio of each joint, and its precision
    known_depth = np.where(known, depth_m, 0.0)
    ratio = known_depth / np.where(known, z, 1.0)
    variance = np.maximum(variance_m2, _MIN_VARIANCE_M2)
    variance = np.where(known, variance, 1.0)
    known_z = np.where(known, z, 0.0)
    precision = known_z**2 / variance
    median = weighted_median(ratio, np.sqrt(precision))

    # Variance of a median, and the error that all depths share
    total = precision.sum(1)
    total = np.where(total > 0, total, np.nan)
    count = np.maximum(known.sum(1), 1)
    distance = (z * known).sum(1) / count
    distance = np.where(distance > 0, distance, np.nan)
    common = (COMMON_STD_M / distance) ** 2

    return Scale(median, np.pi / 2 / total + common)


def weighted_median(
    values: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """Return the x (N,) that minimises sum_k w_k |v_k - x|; NaN where all weights are 0.

    values, weights: (N, K).
    """
    usable = np.where(weights > 0, values, np.inf)
    order = np.argsort(usable, axis=1)
    ordered = np.take_along_axis(values, order, 1)
    share = np.take_along_axis(weights, order, 1)

    total = share.sum(1, keepdims=True)
    reached = share.cumsum(1) >= 0.5 * total
    half = np.argmax(reached, axis=1)

    median = np.take_along_axis(ordered, half[:, None], 1)
    return np.where(weights.any(1), median[:, 0], np.nan)
