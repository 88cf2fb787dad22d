# SPDX-License-Identifier: Apache-2.0
"""The 3D layers inside a stage in compiled loops, for runtimes other than torch.

`fusion.PriorFusion` has the same steps in torch, differentiable, and explains them. A test compares
the two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lifting_ros.compiled import compiled
from lifting_ros.keypoints.compiled_maps import REACH, highest_cells, read_window, solve
from lifting_ros.keypoints.fusion_candidates import (
    FUSION_SIGMA,
    LEAST_SCALE,
    PRIOR_SCALE,
    Candidates,
    projected_candidates,
)
from lifting_ros.keypoints.network_config import NetworkConfig
from lifting_ros.prior.ppca import MixturePPCA

HEAD = 12
"""Number of rows of the whitening matrices that are multiplied for all candidates. On frames of the
bundled clip 25 of 1,920 candidates are left after them (median), 170 after 8."""

_REFINEMENTS = 2
"""How often the scale is refined."""


class CompiledFusion:
    """Lifts, projects and fuses belief maps with the prior."""

    def __init__(self, config: NetworkConfig, prior: MixturePPCA, weights: Sequence[float]):
        """weights: (S,) w_t of every stage."""
        self.weights = tuple(float(weight) for weight in weights)
        self._noise = config.fusion_noise
        self._sigma = FUSION_SIGMA * config.input_px / config.stride
        self._candidates = projected_candidates(prior, PRIOR_SCALE, config.fusion_noise)
        self._packed = _pack(self._candidates)

    def __call__(self, belief: np.ndarray, stage: int) -> np.ndarray:
        """Fused maps (N, J, h, w) of belief maps (N, J, h, w), float32."""
        fused = np.empty_like(belief)
        highest = highest_cells(belief)
        for index in range(len(belief)):
            points, mass = _window_means(belief[index], highest[index])
            lifted = _project(points, mass, self._noise, self._candidates, self._packed)
            _blend(belief[index], lifted, self._sigma, self.weights[stage], fused[index])

        return fused


class _Packed(NamedTuple):
    """Candidates as `_select` reads them: first all of them side by side, then a few one by one."""

    mean: np.ndarray
    """(28, Q)."""
    head: np.ndarray
    """(HEAD (HEAD + 1) / 2, Q) first HEAD rows of the whitening matrices, lower triangles."""
    tail: np.ndarray
    """(Q, 406 - HEAD (HEAD + 1) / 2) the other rows."""
    offset: np.ndarray
    """(Q,)."""


def _pack(candidates: Candidates) -> _Packed:
    count = len(candidates.offset)
    mean = candidates.mean.reshape(count, -1).T
    rows, columns = np.tril_indices(mean.shape[0])
    lower = candidates.whiten[:, rows, columns]
    in_head = rows < HEAD
    return _Packed(
        np.ascontiguousarray(mean),
        np.ascontiguousarray(lower[:, in_head].T),
        np.ascontiguousarray(lower[:, ~in_head]),
        candidates.offset,
    )


@compiled
def _window_means(belief, highest):
    """Mean (J, 2) in cells of the belief in the 25 cells around the cells `highest`
    (J,), and its sum (J,)."""
    window = np.empty((2 * REACH + 1, 2 * REACH + 1))
    points = np.empty((len(belief), 2))
    mass = np.empty(len(belief))
    for keypoint in range(len(belief)):
        row, column = divmod(highest[keypoint], belief.shape[2])
        total, mean_x, mean_y = read_window(belief[keypoint], row, column, window)
        points[keypoint, 0] = column + mean_x
        points[keypoint, 1] = row + mean_y
        mass[keypoint] = min(max(total, 0.0), 1.0)

    return points, mass


@compiled
def _project(points, confidence, noise, candidates, packed):
    """Projection (J, 2) of the most probable skeleton, as `PriorFusion.project`.

    packed: the candidates for `_select`.
    """
    weight = confidence / max(confidence.sum(), 1e-6)
    middle = _middle(points, weight)
    centred = points - middle
    best, scale = _select(centred.ravel().astype(np.float32), confidence, weight, packed)
    mean = candidates.mean[best]
    covariance = candidates.covariance[best]

    scaled = centred / scale
    pose = scaled
    for step in range(_REFINEMENTS + 1):
        if step > 0:
            scale *= _matching_scale(pose, scaled, weight)
            scaled = centred / scale
        pose = _posterior(scaled, confidence, noise, mean, covariance)

    return pose * scale + middle


@compiled
def _middle(points, weight):
    """Weighted sum (2,) of points (J, 2)."""
    middle = np.zeros(2)
    for keypoint in range(len(points)):
        middle[0] += weight[keypoint] * points[keypoint, 0]
        middle[1] += weight[keypoint] * points[keypoint, 1]

    return middle


@compiled
def _select(centred, confidence, weight, packed):
    """Index of the most probable candidate, and its scale.

    centred: (28,) x and y of every keypoint, confidence and weight: (14,). A distance is a sum of
    squares, so its first HEAD terms bound it from below. They are computed for all candidates,
    several at a time. That rules out most, whose other terms need not be read.
    """
    certainty = confidence.astype(np.float32)
    scale, place = _match(centred, weight.astype(np.float32), packed.mean)
    count = len(scale)
    for index in range(len(centred)):
        for q in range(count):
            gap = centred[index] / scale[q] - place[index, q]
            place[index, q] = gap * certainty[index // 2]

    distance = _head_distances(packed.head, place)
    seen = certainty.sum()
    constant = np.empty(count)
    most = np.empty(count)
    for q in range(count):
        constant[q] = packed.offset[q] - 2 * seen * math.log(scale[q])
        most[q] = constant[q] - 0.5 * distance[q]

    best = int(most.argmax())
    best_score = constant[best] - 0.5 * _distance(packed.tail, place, distance, best)
    for q in range(count):
        if most[q] > best_score:
            score = constant[q] - 0.5 * _distance(packed.tail, place, distance, q)
            if score > best_score:
                best = q
                best_score = score

    return best, float(scale[best])


@compiled
def _match(centred, weight, mean):
    """Scales (Q,) of the candidates, and their means (28, Q) about their weighted middle.

    centred: (28,); weight: (14,); mean: (28, Q).

    The scale is that of least squares, but no less than what the extent of the keypoints asks for.
    """
    size, count = mean.shape
    middle = np.zeros((2, count), np.float32)
    for index in range(size):
        for q in range(count):
            middle[index % 2, q] += weight[index // 2] * mean[index, q]

    match = np.zeros(count, np.float32)
    extent = np.zeros(count, np.float32)
    place = np.empty((size, count), np.float32)
    own_extent = np.float32(0)
    for index in range(size):
        aim = weight[index // 2] * centred[index]
        own_extent += aim * centred[index]
        for q in range(count):
            here = mean[index, q] - middle[index % 2, q]
            place[index, q] = here
            match[q] += aim * here
            extent[q] += weight[index // 2] * here * here

    scale = np.empty(count, np.float32)
    for q in range(count):
        known = max(extent[q], np.float32(1e-6))
        least = LEAST_SCALE * math.sqrt(own_extent / known)
        scale[q] = max(match[q] / known, least, 1e-3)

    return scale, place


@compiled
def _head_distances(head, place):
    """First HEAD terms (Q,) of the candidates' squared distances; head: of `_Packed`, place
    (28, Q)."""
    count = place.shape[1]
    total = np.zeros(count, np.float32)
    value = np.empty(count, np.float32)
    entry = 0
    for row in range(HEAD):
        value[:] = 0
        for column in range(row + 1):
            for q in range(count):
                value[q] += head[entry, q] * place[column, q]
            entry += 1

        for q in range(count):
            total[q] += value[q] * value[q]

    return total


@compiled
def _distance(tail, place, head_distance, q):
    """Squared distance of candidate q, from its first terms."""
    total = head_distance[q]
    entry = 0
    for row in range(HEAD, len(place)):
        value = np.float32(0)
        for column in range(row + 1):
            value += tail[q, entry] * place[column, q]
            entry += 1
        total += value * value

    return total


@compiled
def _posterior(observed, confidence, noise, mean, covariance):
    """Posterior mean (J, 2) of a candidate's projected pose, given keypoints (J, 2)."""
    count = len(observed)
    total = covariance.astype(np.float64)
    gain = np.empty(2 * count)
    for keypoint in range(count):
        variance = noise * noise / max(confidence[keypoint], 1e-2)
        for axis in range(2):
            index = 2 * keypoint + axis
            total[index, index] += variance
            gain[index] = observed[keypoint, axis] - mean[keypoint, axis]

    solve(total, gain)

    pose = np.empty((count, 2))
    for keypoint in range(count):
        for axis in range(2):
            moved = 0.0
            for other in range(2 * count):
                moved += covariance[2 * keypoint + axis, other] * gain[other]
            pose[keypoint, axis] = mean[keypoint, axis] + moved

    return pose


@compiled
def _matching_scale(pose, observed, weight):
    """Least-squares scale of `pose` (J, 2) onto `observed` (J, 2), near one."""
    pose_middle = _middle(pose, weight)
    observed_middle = _middle(observed, weight)
    numerator = 0.0
    denominator = 0.0
    for keypoint in range(len(pose)):
        for axis in range(2):
            p = pose[keypoint, axis] - pose_middle[axis]
            o = observed[keypoint, axis] - observed_middle[axis]
            numerator += weight[keypoint] * p * o
            denominator += weight[keypoint] * p * p

    return min(max(numerator / max(denominator, 1e-9), 0.7), 1.4)


@compiled
def _blend(belief, points, sigma, weight, fused):
    """Write equation (8): beliefs (J, h, w) and Gaussians around points (J, 2), weighted."""
    keypoints, height, width = belief.shape
    peak = (1 - weight) / (2 * math.pi * sigma * sigma)
    share = np.float32(weight)
    across = np.empty(width, np.float32)
    for keypoint in range(keypoints):
        for column in range(width):
            dx = (column - points[keypoint, 0]) / sigma
            across[column] = math.exp(-0.5 * dx * dx)

        for row in range(height):
            dy = (row - points[keypoint, 1]) / sigma
            down = np.float32(peak * math.exp(-0.5 * dy * dy))
            for column in range(width):
                value = share * belief[keypoint, row, column] + down * across[column]
                fused[keypoint, row, column] = value
