# SPDX-License-Identifier: Apache-2.0
"""Log-evidence of every candidate for a person's keypoints, and the few candidates worth a closer
look.

The evidence of a candidate is a quadratic form in the keypoints. Where all are seen with one noise,
its coefficients are tabulated and many persons are scored by one matrix product; any other mask or
noise is factorised for the person, all candidates side by side.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.compiled import compiled
from lifting_ros.lifting.conditioning import DEPTH_STD, LATERAL, OBSERVATIONS, PLACE_STD, Candidates

LEAST_SCALE = 0.6
"""Least scale over the one of equal spread: a bent person is small in the image, not far away."""
_BLOCK = 48
_UPPER = np.triu_indices(OBSERVATIONS)
_UPPER_FIRST, _UPPER_SECOND = (rows.astype(np.int64) for rows in _UPPER)


class ScoreTable(NamedTuple):
    """Evidence of Q candidates as polynomials in the rays about their mean, y (28,); float32."""

    quadratic: np.ndarray
    """(406, Q) coefficients of y_i y_k, i <= k, at depth one."""
    linear: np.ndarray
    """(28, 2 Q): of the evidence, and of the match with the mean pose."""
    constant: np.ndarray
    """(Q,)."""
    size: np.ndarray
    """(Q,) sum of squares of the mean pose's observations."""
    bias: np.ndarray
    """(Q,) evidence of keypoints that lie where the candidate expects them, at depth one."""


def tabulate(
    candidates: Candidates, offset: np.ndarray, inverse: np.ndarray, log_det: np.ndarray
) -> ScoreTable:
    """Table for persons whose keypoints are all seen with one noise, from what
    `conditioning.condition` says of all candidates."""
    pull = np.einsum("qij,qj->qi", inverse, offset)
    pairs = inverse[:, _UPPER[0], _UPPER[1]] * np.where(_UPPER[0] == _UPPER[1], 1.0, 2.0)
    bias = candidates.log_prior - log_det
    constant = bias - 0.5 * (pull * offset).sum(1)
    linear = np.concatenate([pull, offset]).T
    return ScoreTable(
        *(
            np.ascontiguousarray(a, np.float32)
            for a in (pairs.T, linear, constant, (offset**2).sum(1), bias)
        )
    )


def score_by_table(table: ScoreTable, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-evidence and depth, (R, Q) each, of rays (R, 28) about their mean."""
    quadratic = product(_monomials(rays, _UPPER_FIRST, _UPPER_SECOND), table.quadratic)
    return _combine(quadratic, product(rays, table.linear), rays, table.constant, table.size)


@compiled
def product(left, right):
    """left (R, K) @ right (K, Q), two rows and four columns at a time: a library's threads wait for
    each other longer than this takes."""
    rows, inner = left.shape
    out = np.zeros((rows + 1, right.shape[1]), np.float32)
    for r in range(0, rows, 2):
        s, whole = min(r + 1, rows - 1), inner - inner % 4
        for k in range(0, whole, 4):
            a, b, c, d = left[r, k], left[r, k + 1], left[r, k + 2], left[r, k + 3]
            e, f, g, h = left[s, k], left[s, k + 1], left[s, k + 2], left[s, k + 3]
            for q in range(right.shape[1]):
                w, x, y, z = right[k, q], right[k + 1, q], right[k + 2, q], right[k + 3, q]
                out[r, q] += a * w + b * x + c * y + d * z
                out[r + 1, q] += e * w + f * x + g * y + h * z
        for k in range(whole, inner):
            for q in range(right.shape[1]):
                out[r, q] += left[r, k] * right[k, q]
                out[r + 1, q] += left[s, k] * right[k, q]
    return out[:rows]


@compiled
def _monomials(rays, first, second):
    out = np.empty((len(rays), len(first)), np.float32)
    for r in range(len(rays)):
        for k in range(len(first)):
            out[r, k] = rays[r, first[k]] * rays[r, second[k]]
    return out


@compiled
def _combine(quadratic, linear, rays, constant, size):
    rows, count = quadratic.shape
    score, depth = np.empty((rows, count), np.float32), np.empty((rows, count), np.float32)
    for r in range(rows):
        spread = np.float32(0.0)
        for k in range(OBSERVATIONS):
            spread += rays[r, k] ** 2
        for q in range(count):
            d = _depth(linear[r, count + q], size[q], spread)
            depth[r, q] = d
            score[r, q] = (
                constant[q]
                - 0.5 * d * d * quadratic[r, q]
                + d * linear[r, q]
                + OBSERVATIONS * np.log(d)
            )
    return score, depth


@compiled
def _depth(match, size, spread):
    """Depth at which a mean pose of that size looks as large as the rays, by their match, but not
    further than LEAST_SCALE allows."""
    size = max(size, np.float32(1e-4))  # two joints behind each other
    return 1.0 / max(match / size, LEAST_SCALE * np.sqrt(spread / size), np.float32(1e-6))


class MaskedTable(NamedTuple):
    """What scoring needs of Q candidates whatever the mask and the noise; float32, candidates last."""

    lateral: np.ndarray
    """(28, Q) the observed joints' coordinates across the view."""
    covariance: np.ndarray
    """(28, 28, Q)."""
    log_prior: np.ndarray
    """(Q,)."""


def tabulate_masked(candidates: Candidates) -> MaskedTable:
    """Table for `score_masked`."""
    covariance = candidates.covariance[:, LATERAL][:, :, LATERAL].transpose(1, 2, 0)
    return MaskedTable(
        *(
            np.ascontiguousarray(a, np.float32)
            for a in (candidates.mean[:, LATERAL].T, covariance, candidates.log_prior)
        )
    )


@compiled
def score_masked(lateral, covariance, log_prior, rays, noise, seen):
    """Log-evidence and depth, (R, Q) each, of rays (R, 28) about their mean, noise (R, 14, 3) over
    the rays' mean square, seen (R, 14)."""
    rows, count = len(rays), lateral.shape[1]
    score, depth = np.empty((rows, count), np.float32), np.empty((rows, count), np.float32)
    total = np.empty((OBSERVATIONS, OBSERVATIONS, _BLOCK), np.float32)
    for r in range(rows):
        index = np.flatnonzero(seen[r])
        for start in range(0, count, _BLOCK):
            width = min(_BLOCK, count - start)
            _score_block(
                lateral,
                covariance,
                log_prior,
                rays[r],
                noise[r],
                index,
                start,
                width,
                total,
                score[r],
                depth[r],
            )
    return score, depth


@compiled
def _score_block(
    lateral, covariance, log_prior, rays, noise, index, start, width, total, score, depth
):
    """Candidates start .. start + width of one person."""
    size = 2 * len(index)
    offset = np.empty((size, width), np.float32)
    for axis in range(2):
        middle = np.zeros(width, np.float32)
        for j in index:
            middle += lateral[2 * j + axis, start : start + width]
        middle /= np.float32(len(index))
        for k, j in enumerate(index):
            offset[2 * k + axis] = lateral[2 * j + axis, start : start + width] - middle
    squares, match = (offset**2).sum(0), np.zeros(width, np.float32)
    spread = np.float32(0.0)
    for k in range(size):
        y = rays[2 * index[k // 2] + k % 2]
        match += offset[k] * y
        spread += y * y
    for i in range(size):
        for k in range(i + 1):
            row, column = 2 * index[i // 2] + i % 2, 2 * index[k // 2] + k % 2
            same_axis = np.float32(PLACE_STD**2) if i % 2 == k % 2 else np.float32(0.0)
            shared = noise[index[i // 2], i % 2 + k % 2] if i // 2 == k // 2 else np.float32(0.0)
            shared /= np.float32(len(index))
            for q in range(width):
                free = (
                    same_axis
                    + np.float32(DEPTH_STD**2) * offset[i, q] * offset[k, q]
                    + shared * squares[q]
                )
                total[i, k, q] = covariance[row, column, start + q] + free
    for q in range(width):
        depth[start + q] = _depth(match[q], squares[q], spread)
        score[start + q] = log_prior[start + q] + size * np.log(depth[start + q])
    residual = np.empty((size, width), np.float32)
    for k in range(size):
        residual[k] = depth[start : start + width] * rays[2 * index[k // 2] + k % 2] - offset[k]
    _add_log_normal(total, residual, size, width, score[start : start + width])


@compiled
def _add_log_normal(total, residual, size, width, score):
    """Adds the log-density of residuals (size, width) under covariances total (size, size, width),
    which is factorised in place."""
    for i in range(size):
        for j in range(i + 1):
            for k in range(j):
                for q in range(width):
                    total[i, j, q] -= total[i, k, q] * total[j, k, q]
            if j < i:
                for q in range(width):
                    total[i, j, q] *= total[j, j, q]
                    residual[i, q] -= total[i, j, q] * residual[j, q]
        for q in range(width):
            pivot = max(total[i, i, q], np.float32(1e-9))
            total[i, i, q] = np.float32(1.0) / np.sqrt(pivot)  # the diagonal holds its inverse
            residual[i, q] *= total[i, i, q]
            score[q] -= np.float32(0.5) * (residual[i, q] * residual[i, q] + np.log(pivot))


@compiled
def shortlist(score, depth, yaw, yaws, modes, apart):
    """Best candidates (R, M) with their scores and depths: greedy, each more than `apart` yaw steps
    from those of its component before it.

    -1 where none is left.
    """
    rows, count = score.shape
    chosen = np.full((rows, modes), -1, np.int64)
    best_score, best_depth = (
        np.full((rows, modes), -np.inf, np.float32),
        np.ones((rows, modes), np.float32),
    )
    left = np.empty(count, np.float32)
    for r in range(rows):
        left[:] = score[r]
        for m in range(modes):
            best = left.argmax()
            if left[best] == -np.inf:
                break
            chosen[r, m], best_score[r, m], best_depth[r, m] = best, left[best], depth[r, best]
            first = best - yaw[best]  # candidates of one component lie together
            for step in range(-apart, apart + 1):
                left[first + (yaw[best] + step) % yaws] = -np.inf
    return chosen, best_score, best_depth
