# SPDX-License-Identifier: Apache-2.0
"""Where a pose whose shape is known stands before the camera: the geometric search of the
stereoscopic lifter (ICCV workshop 2019).

A joint that is z behind the root lies on its keypoint's ray u at the depth d + z: at u (d + z).
Among all depths d of the root the search takes the one at which the joints so found, about their
anchor, are nearest to the pose that the network says, (x, y): the least of sum_i w_i |a_i + d b_i|.
That is convex, and beyond the least and greatest depth that any single term would like all terms
agree on the direction: between them the sign of the derivative is halved down to the last bit. The
paper tries whole millimetres from 2.8 to 7.2 m.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.compiled import compiled

NEAREST = 1e-3
"""Least depth of a joint, in units of the person's size."""
ROUNDING = 1e-14
"""Rays that differ by less, over the largest, do not differ."""
# from one end of the floats to the other; it stops where nothing lies between the ends any more
_HALVINGS = 2000


class Placed(NamedTuple):
    """Poses before the camera; the unit is that of the joints given."""

    joints: np.ndarray
    """(N, J, 3) in the frame of the rays: on their rays where weighed, else where the pose has
    them; NaN where nothing can be said."""
    root: np.ndarray
    """(N, 3); its z is the depth that was searched."""
    cost: np.ndarray
    """(N,) mean distance, by weight, of the joints on their rays from the pose."""


def search_depth(
    rays: np.ndarray, joints: np.ndarray, weight: np.ndarray, anchor: np.ndarray | None = None
) -> Placed:
    """Place poses on their rays.

    rays (N, J, 2): x / z, y / z of each joint, anything where its weight (N, J) is 0; joints (N, J,
    3): the pose about its root; anchor (N, J): what the two are compared about, a mean by these
    weights: in the paper the root's ray alone, by default `weight`, since no keypoint need show the
    root. NaN for persons with fewer than two rays that differ.
    """
    weight = np.asarray(weight, np.float64)
    anchor = weight if anchor is None else np.asarray(anchor, np.float64)
    rays = np.where((weight + anchor)[..., None] > 0, rays, 0.0)
    share = anchor / np.maximum(anchor.sum(-1, keepdims=True), 1e-300)
    offset = rays * joints[..., 2:] - joints[..., :2]  # N, J, 2
    middle = [np.einsum("nj,nja->na", share, value) for value in (offset, rays)]
    a, b = offset - middle[0][:, None], rays - middle[1][:, None]
    b = np.where(
        np.abs(b) > ROUNDING * np.abs(rays).max((1, 2), initial=0.0)[:, None, None], b, 0.0
    )
    least = NEAREST - np.where(weight > 0, joints[..., 2], np.inf).min(-1)
    depth, cost = _minimise(a, b, weight, least)
    root = np.concatenate([middle[0] + depth[:, None] * middle[1], depth[:, None]], -1)
    reach = depth[:, None] + joints[..., 2]  # N, J
    on_ray = np.concatenate([rays * reach[..., None], reach[..., None]], -1)
    return Placed(
        np.where(weight[..., None] > 0, on_ray, root[:, None] + joints),
        root,
        cost / np.maximum(weight.sum(-1), 1e-300),
    )


@compiled
def _minimise(a, b, weight, least):
    """The d (N,) of least sum_i w_i |a_i + d b_i|, not below `least` (N,), and that sum; a, b (N,
    J, 2), weight (N, J)."""
    depth, cost = np.full(len(a), np.nan), np.full(len(a), np.nan)
    for n in range(len(a)):
        low, high, largest = np.inf, -np.inf, (b[n] ** 2).sum()
        for j in range(a.shape[1]):
            square = b[n, j, 0] ** 2 + b[n, j, 1] ** 2
            if weight[n, j] > 0 and square > 1e-24 * largest:
                own = -(a[n, j, 0] * b[n, j, 0] + a[n, j, 1] * b[n, j, 1]) / square
                low, high = min(low, own), max(high, own)
        if not low <= high:
            continue
        for _ in range(_HALVINGS):
            d = low + 0.5 * (high - low)
            if d <= low or d >= high:
                break
            slope = 0.0
            for j in range(a.shape[1]):
                x, y = a[n, j, 0] + d * b[n, j, 0], a[n, j, 1] + d * b[n, j, 1]
                length = np.sqrt(x * x + y * y)
                if weight[n, j] > 0 and length > 0:
                    slope += weight[n, j] * (x * b[n, j, 0] + y * b[n, j, 1]) / length
            if slope > 0:
                high = d
            else:
                low = d
        depth[n], cost[n] = (
            max(low, least[n]),
            0.0,
        )  # the nearest allowed one, since the cost is convex
        for j in range(a.shape[1]):
            if weight[n, j] > 0:
                x, y = a[n, j, 0] + depth[n] * b[n, j, 0], a[n, j, 1] + depth[n] * b[n, j, 1]
                cost[n] += weight[n, j] * np.sqrt(x * x + y * y)
    return depth, cost
