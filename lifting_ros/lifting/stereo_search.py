# SPDX-License-Identifier: Apache-2.0
"""The geometric search of the stereoscopic lifter (ICCV workshop 2019): a pose's distance.

With the root at depth d, a joint that is z behind the root lies on its keypoint's ray u, at u (d +
z). The search finds the d at which these joints, about their anchor, are nearest to the network's
pose (x, y): the minimum of sum_i w_i |a_i + d b_i|. The sum is convex. Outside the interval between
the smallest and the largest minimiser of a single term all terms slope the same way; inside it the
search bisects on the sign of the derivative, down to the last bit. The paper tries whole
millimetres from 2.8 to 7.2 m.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.compiled import compiled

NEAREST = 1e-3
"""Least depth of a joint, in units of the person's size."""

ROUNDING = 1e-14
"""Rays whose difference, divided by the largest ray, is smaller count as equal."""

_LEAST_WEIGHT = 1e-300
"""Divisor in place of a sum of weights that is zero."""

_HALVINGS = 2000
"""Upper bound on bisection steps: enough for the whole range of floats. The search stops as soon as
no float lies between the ends."""


class Placed(NamedTuple):
    """N poses in front of the camera, in the unit of the given joints."""

    joints: np.ndarray
    """(N, J, 3) in the frame of the rays: on their rays where their weight is not 0, elsewhere as
    in the pose; NaN if the depth cannot be determined."""
    root: np.ndarray
    """(N, 3); its z is the result of the search."""
    cost: np.ndarray
    """(N,) weighted mean distance between the joints on their rays and the pose."""


def search_depth(
    rays: np.ndarray,
    joints: np.ndarray,
    weight: np.ndarray,
    anchor: np.ndarray | None = None,
) -> Placed:
    """Return poses placed on their rays; NaN for persons with fewer than two different rays.

    rays: (N, J, 2) x / z, y / z of each joint, anything where its weight is 0.
    joints: (N, J, 3) the pose about its root.
    weight: (N, J) of each joint in the cost.
    anchor: (N, J) weights of the point about which the two are compared. In the paper it is the
    root's ray; by default it is `weight`, because the root need not be a keypoint.
    """
    weight = np.asarray(weight, np.float64)
    anchor = weight if anchor is None else np.asarray(anchor, np.float64)
    used = weight + anchor > 0
    rays = np.where(used[..., None], rays, 0.0)

    # Weights of the anchor
    total = anchor.sum(-1, keepdims=True)
    total = np.maximum(total, _LEAST_WEIGHT)
    share = anchor / total

    # The joints on their rays less the pose are a + d b, about the anchor.
    across = joints[..., :2]
    behind = joints[..., 2:]
    offset = rays * behind - across  # (N, J, 2)
    middle_offset = np.einsum("nj,nja->na", share, offset)
    middle_ray = np.einsum("nj,nja->na", share, rays)
    a = offset - middle_offset[:, None]
    b = rays - middle_ray[:, None]

    # Differences that are rounding errors
    largest = np.abs(rays).max((1, 2), initial=0.0)
    distinct = np.abs(b) > ROUNDING * largest[:, None, None]
    b = np.where(distinct, b, 0.0)

    # Depth
    weighed = weight > 0
    z = np.where(weighed, joints[..., 2], np.inf)
    least = NEAREST - z.min(-1)
    depth, cost = _minimise(a, b, weight, least)

    # Positions
    root_z = depth[:, None]
    root_across = middle_offset + root_z * middle_ray
    root = np.concatenate([root_across, root_z], -1)
    reach = root_z[..., None] + behind  # (N, J, 1)
    on_ray = np.concatenate([rays * reach, reach], -1)
    in_pose = root[:, None] + joints
    placed = np.where(weighed[..., None], on_ray, in_pose)

    total = weight.sum(-1)
    mean_cost = cost / np.maximum(total, _LEAST_WEIGHT)
    return Placed(placed, root, mean_cost)


@compiled
def _minimise(a, b, weight, least):
    """Return the d (N,) that minimises sum_i w_i |a_i + d b_i|, and that sum (N,).

    a, b: (N, J, 2); weight: (N, J); least: (N,) lower bound on d. NaN where no b differs from 0.
    """
    depth = np.full(len(a), np.nan)
    cost = np.full(len(a), np.nan)
    for n in range(len(a)):
        low, high = _bracket(a, b, weight, n)
        if not low <= high:
            continue

        # The cost is convex: if the minimum is not allowed, the nearest allowed depth is best.
        best = _bisect(a, b, weight, n, low, high)
        depth[n] = max(best, least[n])
        cost[n] = _cost(a, b, weight, n, depth[n])

    return depth, cost


@compiled
def _bracket(a, b, weight, n):
    """Return the least and the largest minimiser of the single terms of person n.

    They enclose the minimiser of the sum; (inf, -inf) if no term depends on d.
    """
    low = np.inf
    high = -np.inf
    largest = (b[n] ** 2).sum()
    for j in range(a.shape[1]):
        ax = a[n, j, 0]
        ay = a[n, j, 1]
        bx = b[n, j, 0]
        by = b[n, j, 1]
        square = bx**2 + by**2
        if weight[n, j] > 0 and square > 1e-24 * largest:
            along = ax * bx + ay * by
            own = -along / square
            low = min(low, own)
            high = max(high, own)

    return low, high


@compiled
def _bisect(a, b, weight, n, low, high):
    """Return the lower end of the interval that bisection on the sign of the slope ends with."""
    for _ in range(_HALVINGS):
        d = low + 0.5 * (high - low)
        if d <= low or d >= high:
            break
        if _slope(a, b, weight, n, d) > 0:
            high = d
        else:
            low = d

    return low


@compiled
def _slope(a, b, weight, n, d):
    """Return the derivative of the cost of person n with respect to d."""
    slope = 0.0
    for j in range(a.shape[1]):
        bx = b[n, j, 0]
        by = b[n, j, 1]
        x = a[n, j, 0] + d * bx
        y = a[n, j, 1] + d * by
        own = weight[n, j]
        length = np.sqrt(x * x + y * y)
        if own > 0 and length > 0:
            along = x * bx + y * by
            slope += own * along / length

    return slope


@compiled
def _cost(a, b, weight, n, d):
    """Return the cost of person n at depth d."""
    cost = 0.0
    for j in range(a.shape[1]):
        own = weight[n, j]
        if own > 0:
            bx = b[n, j, 0]
            by = b[n, j, 1]
            x = a[n, j, 0] + d * bx
            y = a[n, j, 1] + d * by
            distance = np.sqrt(x * x + y * y)
            cost += own * distance

    return cost
