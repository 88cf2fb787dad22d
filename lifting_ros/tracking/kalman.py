# SPDX-License-Identifier: Apache-2.0
"""Kalman filter and Rauch-Tung-Striebel smoother for many points at once that move with constant
velocity and white acceleration.

A point in D dimensions has the state (position, velocity), 2 D numbers; `...` stands for any number
of tracks and points. With F the motion over dt seconds and q the spectral density of the
acceleration (m^2/s^3, the same in all directions):

    F = [[I, dt I], [0, I]],  Q = q [[dt^3/3 I, dt^2/2 I], [dt^2/2 I, dt I]]
    predict:  m- = F m,  P- = F P F' + Q
    update:   K = P- H' (H P- H' + R)^-1,  m = m- + K (z - H m-),  P = P- - K H P-,  H = [I, 0]
    smooth:   C = P F' P-^-1,  m^s = m + C (m^s_next - m-_next),  P^s = P + C (P^s_next - P-_next)
    C'

Q of two steps is that of both together, so what comes out does not depend on frames that somebody
left out. A point of which nothing is known is NaN; its first measurement is its position, its
velocity is 0 within `speed_std`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.compiled import compiled


class Motion(NamedTuple):
    """Gaussians of points."""

    mean: np.ndarray
    """(..., 2 D) position and velocity; NaN where nothing is known."""
    covariance: np.ndarray
    """(..., 2 D, 2 D)"""

    def take(self, index: np.ndarray | slice) -> Motion:
        return Motion(self.mean[index], self.covariance[index])


def unknown(shape: tuple[int, ...], dimensions: int) -> Motion:
    """Points of which nothing is known."""
    return Motion(
        np.full((*shape, 2 * dimensions), np.nan),
        np.full((*shape, 2 * dimensions, 2 * dimensions), np.nan),
    )


def predict(state: Motion, seconds: float, density: np.ndarray) -> Motion:
    """State `seconds` later; density (...,), or less, of the acceleration, m^2/s^3."""
    mean, covariance = state.mean.copy(), state.covariance.copy()
    _predict(*_flat(mean, covariance), seconds, _each(density, mean))
    return Motion(mean, covariance)


def update(
    state: Motion, measured: np.ndarray, noise: np.ndarray, speed_std: np.ndarray
) -> tuple[Motion, np.ndarray]:
    """State after a measurement, and the share (...,) of the measurement in its position: 1 of a
    first one, 0 where there is none.

    measured (..., D) and its covariance noise (..., D, D), NaN where there is none; speed_std
    (...,), or less, in m/s.
    """
    mean, covariance, share = (
        state.mean.copy(),
        state.covariance.copy(),
        np.zeros(measured.shape[:-1]),
    )
    _update(
        *_flat(mean, covariance), *_flat(measured, noise), _each(speed_std, mean), share.reshape(-1)
    )
    return Motion(mean, covariance), share


def smooth(
    state: Motion, after: Motion, seconds: float, density: np.ndarray
) -> tuple[Motion, np.ndarray]:
    """Filtered `state` in the light of the smoothed state `seconds` after it, and the share (...,)
    of the latter in its position."""
    mean, covariance, share = (
        state.mean.copy(),
        state.covariance.copy(),
        np.zeros(state.mean.shape[:-1]),
    )
    ahead = predict(state, seconds, density)
    flat = _flat(mean, covariance), _flat(*after), _flat(*ahead)
    _smooth(*(array for pair in flat for array in pair), seconds, share.reshape(-1))
    return Motion(mean, covariance), np.clip(share, 0.0, 1.0)


def _flat(mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (..., A) and matrices (..., A, A) as (n, A) and (n, A, A); views where they are in
    order, as what was just copied is."""
    size = mean.shape[-1]
    return np.ascontiguousarray(mean).reshape(-1, size), np.ascontiguousarray(covariance).reshape(
        -1, size, size
    )


def _each(value: np.ndarray, mean: np.ndarray) -> np.ndarray:
    return (np.zeros(mean.shape[:-1]) + value).ravel()


def warm_up() -> None:
    """Compile what no call has compiled yet."""
    point = unknown((1,), 2)
    for _ in range(2):
        point, _ = update(
            predict(point, 1.0, np.ones(1)), np.zeros((1, 2)), np.eye(2)[None], np.ones(1)
        )
    smooth(point, point, 1.0, np.ones(1))


@compiled
def _predict(mean, covariance, seconds, density):
    size = mean.shape[1] // 2
    for i in range(len(mean)):
        m, p, q = mean[i], covariance[i], density[i]
        for a in range(size):
            m[a] += seconds * m[size + a]
            for b in range(2 * size):  # F P
                p[a, b] += seconds * p[size + a, b]
        for a in range(2 * size):
            for b in range(size):  # and F' behind it
                p[a, b] += seconds * p[a, size + b]
        for a in range(size):
            p[a, a] += q * seconds**3 / 3
            p[a, size + a] += q * seconds**2 / 2
            p[size + a, a] += q * seconds**2 / 2
            p[size + a, size + a] += q * seconds


@compiled
def _update(mean, covariance, measured, noise, speed_std, share):
    size = measured.shape[1]
    lower, gain = np.empty((size, size)), np.empty((2 * size, size))
    for i in range(len(mean)):
        m, p = mean[i], covariance[i]
        if not (np.isfinite(measured[i]).all() and np.isfinite(noise[i]).all()):
            continue
        if not np.isfinite(m[0]):
            m[:], p[:], share[i] = 0.0, 0.0, 1.0
            m[:size], p[:size, :size] = measured[i], noise[i]
            for a in range(size, 2 * size):
                p[a, a] = speed_std[i] ** 2
            continue
        cross = p[:, :size].copy()  # P H'
        _cholesky(cross[:size] + noise[i], lower)
        for a in range(2 * size):
            _solve(lower, cross[a], gain[a])
        apart = measured[i] - m[:size]
        for a in range(2 * size):
            for c in range(size):
                m[a] += gain[a, c] * apart[c]
                for b in range(a + 1):
                    p[a, b] -= gain[a, c] * cross[b, c]
            for b in range(a):
                p[b, a] = p[a, b]
        for a in range(size):
            share[i] += gain[a, a] / size


@compiled
def _smooth(
    mean, covariance, mean_after, covariance_after, mean_ahead, covariance_ahead, seconds, share
):
    both = mean.shape[1]
    size = both // 2
    lower, gain = np.empty((both, both)), np.empty((both, both))
    for i in range(len(mean)):
        m, p = mean[i], covariance[i]
        cross = p.copy()
        cross[:, :size] += seconds * p[:, size:]  # P F'
        _cholesky(covariance_ahead[i], lower)
        for a in range(both):
            _solve(lower, cross[a], gain[a])
        apart, wider = mean_after[i] - mean_ahead[i], covariance_after[i] - covariance_ahead[i]
        for a in range(both):
            for c in range(both):
                m[a] += gain[a, c] * apart[c]
                through = 0.0  # an element of C (P^s_next - P-_next)
                for d in range(both):
                    through += gain[a, d] * wider[d, c]
                for b in range(a + 1):
                    p[a, b] += through * gain[b, c]
        for a in range(both):
            for b in range(a):
                p[b, a] = p[a, b]
        for a in range(size):
            share[i] += gain[a, a] / size


@compiled
def _cholesky(matrix, lower):
    """Lower factor of a positive definite matrix, into `lower`."""
    for a in range(len(matrix)):
        for b in range(a + 1):
            rest = matrix[a, b]
            for c in range(b):
                rest -= lower[a, c] * lower[b, c]
            lower[a, b] = np.sqrt(rest) if a == b else rest / lower[b, b]


@compiled
def _solve(lower, right, out):
    """out (A,) with lower lower' out = right."""
    size = len(right)
    for a in range(size):
        rest = right[a]
        for b in range(a):
            rest -= lower[a, b] * out[b]
        out[a] = rest / lower[a, a]
    for a in range(size - 1, -1, -1):
        rest = out[a]
        for b in range(a + 1, size):
            rest -= lower[b, a] * out[b]
        out[a] = rest / lower[a, a]
