# SPDX-License-Identifier: Apache-2.0
"""Assigns the persons of a frame to tracks, by squared Mahalanobis distances of joints and
keypoints."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from lifting_ros.compiled import compiled

FREEDOM = 4.0
"""Degrees of freedom of the t distribution of a distance. Its tails are heavy, because a lift that
flips to another mode is far off and must not lose its track."""


@compiled
def _whiten(apart, spread, noise, factor, white):
    """d^2 of `apart` (D,) under the covariance spread + noise (D, D), and half the log-determinant
    of that covariance; NaN where an input is NaN.

    factor (D, D) and white (D,) are scratch memory.
    """
    square = 0.0
    half_log = 0.0

    # Cholesky decomposition and forward substitution, row by row
    for a in range(len(apart)):
        for b in range(a + 1):
            rest = spread[a, b] + noise[a, b]
            for c in range(b):
                rest -= factor[a, c] * factor[b, c]
            factor[a, b] = np.sqrt(rest) if a == b else rest / factor[b, b]

        rest = apart[a]
        for c in range(a):
            rest -= factor[a, c] * white[c]
        white[a] = rest / factor[a, a]

        square += white[a] * white[a]
        half_log += np.log(factor[a, a])

    return square, half_log


@compiled
def costs(place, spread, measured, noise, weight):
    """Costs (T, M) of assigning person m to track t: weighted means over the points that both
    have, NaN where there are none.

    place (T, P, D), spread (T, P, D, D): the tracks' predictions and their covariances;
    measured (M, P, D), noise (M, P, D, D): the persons' points and their covariances; weight (P,).

    With d^2 the squared Mahalanobis distance under S = spread + noise, the cost of a point is the
    negative logarithm of its t distribution, minus its value at distance zero and without spread:
    (FREEDOM + D) / 2 log(1 + d^2 / FREEDOM) + log(|S| / |noise|) / 2.

    The root, and joints relative to it, have independent errors: the sum of their d^2 is that of
    the absolute joints, which share the root's error.
    """
    tracks, points, size = place.shape
    persons = len(measured)
    cost = np.empty((tracks, persons))
    own = np.empty((persons, points))
    factor = np.empty((size, size))
    white = np.empty(size)
    zero = np.zeros((size, size))

    # Half log-determinants of the noise
    for m in range(persons):
        for p in range(points):
            own[m, p] = _whiten(zero[0], zero, noise[m, p], factor, white)[1]

    for t in range(tracks):
        for m in range(persons):
            total = 0.0
            weights = 0.0
            for p in range(points):
                apart = measured[m, p] - place[t, p]
                square, half_log = _whiten(apart, spread[t, p], noise[m, p], factor, white)
                one = 0.5 * (FREEDOM + size) * np.log1p(square / FREEDOM) + half_log - own[m, p]
                if np.isfinite(one):
                    total += weight[p] * one
                    weights += weight[p]
            cost[t, m] = total / weights if weights > 0 else np.nan

    return cost


def cost_at(deviations: float) -> float:
    """Cost of a 3D point that is off by `deviations` standard deviations along each axis."""
    square = 3 * deviations**2
    cost = 0.5 * (FREEDOM + 3) * np.log1p(square / FREEDOM)
    return float(cost)


def assign(cost: np.ndarray, gate_cost: float) -> np.ndarray:
    """Row of each column (M,), -1 for none, that minimises the sum of costs (T, M).

    NaN marks pairs that are impossible. Leaving a person unassigned costs `gate_cost`, so that a
    bad pair is never made only to have one more pair.
    """
    gain = np.fmin(cost - gate_cost, 0.0)  # NaN gains nothing
    rows, columns = linear_sum_assignment(gain)

    found = np.full(cost.shape[1], -1)
    kept = gain[rows, columns] < 0
    found[columns[kept]] = rows[kept]
    return found
