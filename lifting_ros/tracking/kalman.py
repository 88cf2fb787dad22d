# SPDX-License-Identifier: Apache-2.0
"""Kalman filter and Rauch-Tung-Striebel smoother for many points at once.

Points move with constant velocity and white-noise acceleration. A point in D dimensions has the
state (position, velocity), 2 D numbers; `...` stands for any number of tracks and points. With F
the motion over dt seconds and q the spectral density of the acceleration (m^2/s^3, the same in all
directions):

    F = [[I, dt I], [0, I]],  Q = q [[dt^3/3 I, dt^2/2 I], [dt^2/2 I, dt I]]
    predict:  m- = F m,  P- = F P F' + Q
    update:   K = P- H' (H P- H' + R)^-1,  m = m- + K (z - H m-),  P = P- - K H P-,  H = [I, 0]
    smooth:   C = P F' P-^-1,  m^s = m + C (m^s_next - m-_next),  P^s = P + C (P^s_next - P-_next)
    C'

Predicting twice gives the Q of the whole time, so that dropped frames change nothing. An unknown
point is NaN. Its first measurement becomes its position; its velocity is then 0 with a standard
deviation (std) of `speed_std`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.compiled import assign, compiled


class Motion(NamedTuple):
    """Gaussian states of points."""

    mean: np.ndarray
    """(..., 2 D) position and velocity; NaN where unknown."""
    covariance: np.ndarray
    """(..., 2 D, 2 D)."""

    def take(self, index: np.ndarray | slice) -> Motion:
        """The states at `index` of the first axis."""
        mean = self.mean[index]
        covariance = self.covariance[index]
        return Motion(mean, covariance)

    def join(self, other: Motion) -> Motion:
        """These states, followed by the others."""
        means = (self.mean, other.mean)
        covariances = (self.covariance, other.covariance)
        return Motion(
            mean=np.concatenate(means),
            covariance=np.concatenate(covariances),
        )


def unknown(shape: tuple[int, ...], dimensions: int) -> Motion:
    """States of unknown points: NaN."""
    size = 2 * dimensions
    vectors = (*shape, size)
    matrices = (*shape, size, size)
    return Motion(
        mean=np.full(vectors, np.nan),
        covariance=np.full(matrices, np.nan),
    )


def predict(state: Motion, seconds: float, density: np.ndarray) -> Motion:
    """State `seconds` later.

    density: of the acceleration, m^2/s^3, of a shape that broadcasts to (...,).
    """
    mean = state.mean.copy()
    covariance = state.covariance.copy()
    _predict(
        *_flatten(mean, covariance),
        seconds,
        _broadcast(density, mean),
    )
    return Motion(mean, covariance)


def update(
    state: Motion, measured: np.ndarray, noise: np.ndarray, speed_std: np.ndarray
) -> tuple[Motion, np.ndarray]:
    """State after a measurement, and the gain (...,): the measurement's share in the new position.

    The gain is 1 for a first measurement and 0 where there is none.

    measured: (..., D), and its covariance noise: (..., D, D), NaN where there is none; speed_std:
    m/s, of a shape that broadcasts to (...,).
    """
    mean = state.mean.copy()
    covariance = state.covariance.copy()
    share = np.zeros(measured.shape[:-1])

    _update(
        *_flatten(mean, covariance),
        *_flatten(measured, noise),
        _broadcast(speed_std, mean),
        share.reshape(-1),
    )
    return Motion(mean, covariance), share


def smooth(
    state: Motion, after: Motion, seconds: float, density: np.ndarray
) -> tuple[Motion, np.ndarray]:
    """Filtered `state`, smoothed with the smoothed state `seconds` after it, and the gain (...,):
    the share of the latter in the position.

    density: as in `predict`.
    """
    smoothed = Motion(state.mean.copy(), state.covariance.copy())
    share = np.zeros(state.mean.shape[:-1])
    ahead = predict(state, seconds, density)

    _smooth(
        _flatten(*smoothed),
        _flatten(*after),
        _flatten(*ahead),
        seconds,
        share.reshape(-1),
    )
    share = np.clip(share, 0.0, 1.0)
    return smoothed, share


def _flatten(mean: np.ndarray, covariance: np.ndarray) -> Motion:
    """Vectors (..., A) and matrices (..., A, A) as (n, A) and (n, A, A); views of contiguous
    arrays, such as copies."""
    size = mean.shape[-1]
    mean = np.ascontiguousarray(mean)
    covariance = np.ascontiguousarray(covariance)
    return Motion(
        mean.reshape(-1, size),
        covariance.reshape(-1, size, size),
    )


def _broadcast(value: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """`value` for every point, (n,)."""
    points = mean.shape[:-1]
    values = np.zeros(points) + value
    return values.ravel()


def warm_up() -> None:
    """Compile the filter and the smoother, so that the first frame does not wait."""
    one = np.ones(1)
    place = np.zeros((1, 2))
    noise = np.eye(2)[None]
    point = unknown((1,), 2)
    for _ in range(2):
        ahead = predict(point, 1.0, one)
        point, _ = update(ahead, place, noise, one)

    smooth(point, point, 1.0, one)


@compiled
def _predict(mean, covariance, seconds, density):
    """`predict`, in place."""
    size = mean.shape[1] // 2
    for i in range(len(mean)):
        m = mean[i]
        p = covariance[i]
        q = density[i]

        # F m and F P
        for a in range(size):
            m[a] += seconds * m[size + a]
            for b in range(2 * size):
                p[a, b] += seconds * p[size + a, b]

        # (F P) F'
        for a in range(2 * size):
            for b in range(size):
                p[a, b] += seconds * p[a, size + b]

        # + Q
        for a in range(size):
            v = size + a
            p[a, a] += q * seconds**3 / 3
            p[a, v] += q * seconds**2 / 2
            p[v, a] += q * seconds**2 / 2
            p[v, v] += q * seconds


@compiled
def _update(  # noqa: C901 - one compiled loop
    mean,
    covariance,
    measured,
    noise,
    speed_std,
    share,
):
    """`update`, in place; share (n,) is added to."""
    size = measured.shape[1]
    lower = np.empty((size, size))
    gain = np.empty((2 * size, size))
    for i in range(len(mean)):
        m = mean[i]
        p = covariance[i]
        if not _is_finite(measured[i], noise[i]):
            continue

        # First measurement
        if not np.isfinite(m[0]):
            m[:] = 0.0
            p[:] = 0.0
            share[i] = 1.0
            assign(m[:size], measured[i])
            for a in range(size):
                assign(p[a, :size], noise[i, a])
            for a in range(size, 2 * size):
                p[a, a] = speed_std[i] ** 2
            continue

        # K = P H' (H P H' + R)^-1
        cross = p[:, :size].copy()  # P H'
        _cholesky(cross[:size] + noise[i], lower)
        for a in range(2 * size):
            _solve(lower, cross[a], gain[a])

        # m + K (z - H m) and the lower triangle of P - K H P
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
def _is_finite(vector, matrix):
    """Whether all elements of a vector (A,) and a matrix (A, A) are finite."""
    for a in range(len(vector)):
        if not np.isfinite(vector[a]):
            return False
        for b in range(len(vector)):
            if not np.isfinite(matrix[a, b]):
                return False

    return True


@compiled
def _smooth(state, after, ahead, seconds, share):
    """Smooth `state` in place; state, after and ahead are a Motion each."""
    both = state.mean.shape[1]
    size = both // 2
    lower = np.empty((both, both))
    gain = np.empty((both, both))
    for i in range(len(state.mean)):
        m = state.mean[i]
        p = state.covariance[i]

        # C = P F' P-^-1
        cross = p.copy()
        _add(cross[:, :size], seconds * p[:, size:])  # P F'
        _cholesky(ahead.covariance[i], lower)
        for a in range(both):
            _solve(lower, cross[a], gain[a])

        # m + C (m^s_next - m-_next) and the lower triangle of P + C (P^s_next - P-_next) C'
        apart = after.mean[i] - ahead.mean[i]
        wider = after.covariance[i] - ahead.covariance[i]
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
def _add(out, values):
    """Add values (A, B) to `out` (A, B)."""
    for a in range(len(out)):
        for b in range(out.shape[1]):
            out[a, b] += values[a, b]


@compiled
def _cholesky(matrix, lower):
    """Write the lower Cholesky factor of a positive definite matrix (A, A) into `lower`."""
    for a in range(len(matrix)):
        for b in range(a + 1):
            rest = matrix[a, b]
            for c in range(b):
                rest -= lower[a, c] * lower[b, c]
            lower[a, b] = np.sqrt(rest) if a == b else rest / lower[b, b]


@compiled
def _solve(lower, right, out):
    """Write the solution (A,) of lower lower' out = right into `out`."""
    size = len(right)

    # Forward substitution
    for a in range(size):
        rest = right[a]
        for b in range(a):
            rest -= lower[a, b] * out[b]
        out[a] = rest / lower[a, a]

    # Backward substitution
    for a in range(size - 1, -1, -1):
        rest = out[a]
        for b in range(a + 1, size):
            rest -= lower[b, a] * out[b]
        out[a] = rest / lower[a, a]
