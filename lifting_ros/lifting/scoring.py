# SPDX-License-Identifier: Apache-2.0
"""Log-evidence of every candidate for a person's keypoints, and the shortlist of the best.

The evidence of a candidate is a quadratic form in the keypoints. Where all keypoints are seen with
one noise, its coefficients are tabulated, and one matrix product scores many persons. For any other
mask or noise the covariances are factorised per person, all candidates side by side.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.compiled import assign, compiled
from lifting_ros.lifting.conditioning import (
    DEPTH_STD,
    LATERAL,
    OBSERVATIONS,
    PLACE_STD,
    Candidates,
    Predictions,
)

LEAST_SCALE = 0.6
"""Least scale, relative to that at which pose and rays have equal spread: a bent person looks small
without being far away."""

_BLOCK = 48
"""Candidates factorised side by side, so that the block stays in the cache."""

_UPPER = np.triu_indices(OBSERVATIONS)
_UPPER_FIRST = _UPPER[0].astype(np.int64)
_UPPER_SECOND = _UPPER[1].astype(np.int64)


class ScoreTable(NamedTuple):
    """Evidence of Q candidates as polynomials in the rays about their mean, y (28,); float32."""

    quadratic: np.ndarray
    """(406, Q) coefficients of y_i y_k, i <= k, at depth one."""
    linear: np.ndarray
    """(28, 2 Q) coefficients of y_i: of the evidence, then of the match with the mean pose."""
    constant: np.ndarray
    """(Q,)."""
    size: np.ndarray
    """(Q,) sum of squares of the mean pose's observations."""
    bias: np.ndarray
    """(Q,) evidence of keypoints that lie where the candidate predicts them, at depth one."""


def tabulate(
    candidates: Candidates,
    offset: np.ndarray,
    predictions: Predictions,
) -> ScoreTable:
    """Table for persons whose keypoints are all seen with one noise.

    offset (Q, 28): `Plans.offset` of all candidates, in float64; predictions: from
    `conditioning.condition` for all candidates.
    """
    inverse = predictions.inverse
    pull = np.einsum("qij,qj->qi", inverse, offset)
    counted = np.where(_UPPER[0] == _UPPER[1], 1.0, 2.0)  # y_i y_k stands for y_k y_i, too
    pairs = inverse[:, _UPPER[0], _UPPER[1]] * counted
    bias = candidates.log_prior - predictions.log_det
    constant = bias - 0.5 * (pull * offset).sum(1)

    return ScoreTable(
        quadratic=np.ascontiguousarray(pairs.T, np.float32),
        linear=np.ascontiguousarray(np.concatenate([pull, offset]).T, np.float32),
        constant=np.ascontiguousarray(constant, np.float32),
        size=np.ascontiguousarray((offset**2).sum(1), np.float32),
        bias=np.ascontiguousarray(bias, np.float32),
    )


def score_by_table(
    table: ScoreTable,
    rays: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Log-evidence and depth, (R, Q) each, of rays (R, 28) about their mean."""
    quadratic = product(_monomials(rays, _UPPER_FIRST, _UPPER_SECOND), table.quadratic)
    linear = product(rays, table.linear)

    return _combine(quadratic, linear, rays, table.constant, table.size)


@compiled
def product(
    left,
    right,
):
    """left (R, K) @ right (K, Q), two rows and four inner indices at a time.

    A BLAS library's threads would wait for each other longer than the product takes.
    """
    rows, inner = left.shape
    columns = right.shape[1]
    whole = inner - inner % 4
    out = np.zeros((rows + 1, columns), np.float32)

    for r in range(0, rows, 2):
        s = min(r + 1, rows - 1)
        for k in range(0, whole, 4):
            a = left[r, k]
            b = left[r, k + 1]
            c = left[r, k + 2]
            d = left[r, k + 3]
            e = left[s, k]
            f = left[s, k + 1]
            g = left[s, k + 2]
            h = left[s, k + 3]
            for q in range(columns):
                w = right[k, q]
                x = right[k + 1, q]
                y = right[k + 2, q]
                z = right[k + 3, q]
                out[r, q] += a * w + b * x + c * y + d * z
                out[r + 1, q] += e * w + f * x + g * y + h * z

        for k in range(whole, inner):
            for q in range(columns):
                out[r, q] += left[r, k] * right[k, q]
                out[r + 1, q] += left[s, k] * right[k, q]

    return out[:rows]


@compiled
def _monomials(
    rays,
    first,
    second,
):
    """Products y_i y_k (R, P) of the rays' coordinates (R, 28), with i of `first` and k of `second`
    (P,)."""
    out = np.empty((len(rays), len(first)), np.float32)
    for r in range(len(rays)):
        for k in range(len(first)):
            out[r, k] = rays[r, first[k]] * rays[r, second[k]]

    return out


@compiled
def _combine(
    quadratic,
    linear,
    rays,
    constant,
    size,
):
    """Log-evidence and depth, (R, Q) each, from the values of a table's polynomials."""
    rows, count = quadratic.shape
    score = np.empty((rows, count), np.float32)
    depth = np.empty((rows, count), np.float32)

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
def _depth(
    match,
    size,
    spread,
):
    """Depth at which a mean pose looks as large as the rays.

    match: inner product of pose and rays; size, spread: sums of squares of pose and rays.
    LEAST_SCALE bounds the depth.
    """
    size = max(size, np.float32(1e-4))  # two joints may lie behind each other
    return 1.0 / max(match / size, LEAST_SCALE * np.sqrt(spread / size), np.float32(1e-6))


class MaskedTable(NamedTuple):
    """What scoring requires of Q candidates for any mask and noise; float32, candidates last."""

    lateral: np.ndarray
    """(28, Q) coordinates of the observed joints across the view."""
    covariance: np.ndarray
    """(28, 28, Q) covariance of `lateral`."""
    log_prior: np.ndarray
    """(Q,)."""


def tabulate_masked(candidates: Candidates) -> MaskedTable:
    """Table for `score_masked`."""
    covariance = candidates.covariance[:, LATERAL][:, :, LATERAL]

    mean = candidates.mean[:, LATERAL]
    return MaskedTable(
        lateral=np.ascontiguousarray(mean.T, np.float32),
        covariance=np.ascontiguousarray(covariance.transpose(1, 2, 0), np.float32),
        log_prior=np.ascontiguousarray(candidates.log_prior, np.float32),
    )


class _Person(NamedTuple):
    """Keypoints of one person, for scoring."""

    rays: np.ndarray
    """(28,) about their mean."""
    noise: np.ndarray
    """(14, 3) covariance xx, xy, yy divided by the mean square of the rays."""
    keypoints: np.ndarray
    """(n,) numbers of the keypoints seen."""


@compiled
def score_masked(
    table,
    rays,
    noise,
    seen,
):
    """Log-evidence and depth, (R, Q) each, of R persons.

    table: MaskedTable; rays (R, 28) about their mean; noise (R, 14, 3) divided by the rays' mean
    square; seen (R, 14).
    """
    rows = len(rays)
    count = table.lateral.shape[1]
    score = np.empty((rows, count), np.float32)
    depth = np.empty((rows, count), np.float32)
    total = np.empty((OBSERVATIONS, OBSERVATIONS, _BLOCK), np.float32)

    for r in range(rows):
        person = _Person(rays[r], noise[r], np.flatnonzero(seen[r]))
        for start in range(0, count, _BLOCK):
            stop = min(start + _BLOCK, count)
            _score_block(table, person, start, total, score[r, start:stop], depth[r, start:stop])

    return score, depth


@compiled
def _score_block(
    table,
    person,
    start,
    total,
    score,
    depth,
):
    """Write log-evidence and depth (w,) of the w candidates from `start` on; `total` is scratch."""
    width = len(score)
    offset = _centre(table.lateral, person.keypoints, start, width)
    size = len(offset)

    # Depth at which the mean pose looks as large as the person
    squares = (offset**2).sum(0)
    match = np.zeros(width, np.float32)
    spread = np.float32(0.0)
    for k in range(size):
        y = person.rays[2 * person.keypoints[k // 2] + k % 2]
        match += offset[k] * y
        spread += y * y

    # Density of the keypoints at that depth
    _predict_covariance(table.covariance, person, start, offset, squares, total)
    for q in range(width):
        depth[q] = _depth(match[q], squares[q], spread)
        score[q] = table.log_prior[start + q] + size * np.log(depth[q])

    residual = np.empty((size, width), np.float32)
    for k in range(size):
        y = person.rays[2 * person.keypoints[k // 2] + k % 2]
        assign(residual[k], depth * y - offset[k])
    _add_log_normal(total, residual, score)


@compiled
def _centre(
    lateral,
    keypoints,
    start,
    width,
):
    """Coordinates (2 n, w) of the seen keypoints (n,) about their mean, of the candidates from
    `start` on; lateral (28, Q)."""
    stop = start + width
    offset = np.empty((2 * len(keypoints), width), np.float32)
    for axis in range(2):
        middle = np.zeros(width, np.float32)
        for j in keypoints:
            middle += lateral[2 * j + axis, start:stop]
        middle /= np.float32(len(keypoints))
        for k, j in enumerate(keypoints):
            assign(offset[2 * k + axis], lateral[2 * j + axis, start:stop] - middle)

    return offset


@compiled
def _predict_covariance(
    covariance,
    person,
    start,
    offset,
    squares,
    total,
):
    """Write the lower triangle of the observations' covariances into `total` (2 n, 2 n, w).

    covariance (28, 28, Q), of which the candidates from `start` on are read; offset (2 n, w) and
    its sum of squares (w,).
    """
    keypoints = person.keypoints
    size, width = offset.shape
    log_depth_variance = np.float32(DEPTH_STD**2)
    for i in range(size):
        for k in range(i + 1):
            row = 2 * keypoints[i // 2] + i % 2
            column = 2 * keypoints[k // 2] + k % 2
            same_axis = np.float32(PLACE_STD**2) if i % 2 == k % 2 else np.float32(0.0)
            shared = np.float32(0.0)
            if i // 2 == k // 2:
                shared = person.noise[keypoints[i // 2], i % 2 + k % 2]
            shared /= np.float32(len(keypoints))

            for q in range(width):
                free = (
                    same_axis
                    + log_depth_variance * offset[i, q] * offset[k, q]
                    + shared * squares[q]
                )
                total[i, k, q] = covariance[row, column, start + q] + free


@compiled
def _add_log_normal(
    total,
    residual,
    score,
):
    """Add to `score` (w,) the log-density of residuals (2 n, w) under covariances `total`
    (2 n, 2 n, w), which are factorised in place."""
    size, width = residual.shape
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
def shortlist(
    score,
    depth,
    yaw,
    yaws,
    modes,
    min_steps,
):
    """Best candidates (R, M) with their scores and depths, chosen greedily from (R, Q).

    Each lies more than `min_steps` of the `yaws` yaw steps from the better ones of its component.
    yaw (Q,). A candidate of -1 means that none was left.
    """
    rows, count = score.shape
    chosen = np.empty((rows, modes), np.int64)
    chosen[:] = -1
    best_score = np.empty((rows, modes), np.float32)
    best_score[:] = -np.inf
    best_depth = np.ones((rows, modes), np.float32)
    left = np.empty(count, np.float32)

    for r in range(rows):
        assign(left, score[r])
        for m in range(modes):
            best = left.argmax()
            if left[best] == -np.inf:
                break
            chosen[r, m] = best
            best_score[r, m] = left[best]
            best_depth[r, m] = depth[r, best]

            first = best - yaw[best]  # candidates of one component are adjacent
            for step in range(-min_steps, min_steps + 1):
                left[first + (yaw[best] + step) % yaws] = -np.inf

    return chosen, best_score, best_depth
