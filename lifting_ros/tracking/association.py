# SPDX-License-Identifier: Apache-2.0
"""Which person of a frame is which track: squared Mahalanobis distances of joints and keypoints,
and the best assignment of all."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from lifting_ros.compiled import compiled

FREEDOM = 4.0
"""Degrees of freedom of the t distribution of a distance: a lift that flips to another mode is far
off and must not lose its track."""


@compiled
def _whitened(apart, spread, noise, factor, white):
    """d^2 of `apart` (D,) under the covariance spread + noise (D, D), and half the log-determinant
    of that; NaN where one is not known."""
    square, half_log = 0.0, 0.0
    for a in range(len(apart)):  # Cholesky and its forward substitution, row by row
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
    """Costs (T, M) of taking person m for track t, weighted means over the points that both have;
    NaN: there are none.

    place (T, P, D), spread (T, P, D, D): the tracks' predictions; measured (M, P, D), noise (M, P,
    D, D): the persons; weight (P,). With d^2 its squared Mahalanobis distance under S = spread +
    noise, a point costs the negative logarithm of its t distribution over what that is at no
    distance and without spread: (FREEDOM + D) / 2 log(1 + d^2 / FREEDOM) + log(|S| / |noise|) / 2.
    Joints relative to the root, and the root as one more point, have independent errors: the sum of
    their d^2 is that of the absolute joints, which share the root's error.
    """
    tracks, points, size = place.shape
    persons = len(measured)
    cost, own = np.empty((tracks, persons)), np.empty((persons, points))
    factor, white, zero = np.empty((size, size)), np.empty(size), np.zeros((size, size))
    for m in range(persons):
        for p in range(points):
            own[m, p] = _whitened(zero[0], zero, noise[m, p], factor, white)[1]
    for t in range(tracks):
        for m in range(persons):
            total, weights = 0.0, 0.0
            for p in range(points):
                square, half_log = _whitened(
                    measured[m, p] - place[t, p], spread[t, p], noise[m, p], factor, white
                )
                one = 0.5 * (FREEDOM + size) * np.log1p(square / FREEDOM) + half_log - own[m, p]
                if np.isfinite(one):
                    total += weight[p] * one
                    weights += weight[p]
            cost[t, m] = total / weights if weights > 0 else np.nan
    return cost


def cost_at(deviations: float) -> float:
    """Cost of a point of three dimensions that is off by so many standard deviations in each."""
    return float(0.5 * (FREEDOM + 3) * np.log1p(3 * deviations**2 / FREEDOM))


def assign(cost: np.ndarray, gate_cost: float) -> np.ndarray:
    """Row of each column (M,), -1 where it has none, that makes the sum of costs (T, M) least; NaN:
    a pair that cannot be.

    A pair left apart costs as much as one at the gate: no two bad pairs are made for the sake of
    their number.
    """
    gain = np.fmin(cost - gate_cost, 0.0)  # NaN gains nothing
    rows, columns = linear_sum_assignment(gain)
    found = np.full(cost.shape[1], -1)
    kept = gain[rows, columns] < 0
    found[columns[kept]] = rows[kept]
    return found
