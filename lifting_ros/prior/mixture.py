# SPDX-License-Identifier: Apache-2.0
"""Section 4.2: centres by greedy choice (equation (3)), then EM of a mixture of probabilistic PCA
over poses and their mirror images.

Each component is its own mirror image: a pose and its image then belong to the components alike,
and one pass over the poses with moments averaged with their mirror images is exactly EM on the
doubled data. The rotations of 4.1 go on under the mixture: an expected log-likelihood is one more
wave of the angle.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from lifting_ros.prior.alignment import (
    Mixture,
    Sweep,
    cost_waves,
    grouped_moments,
    lowest_angles,
    mirror_rows,
    rotate_about_vertical,
    sweep,
    wave_values,
)
from lifting_ros.prior.gaussian import gaussian_of
from lifting_ros.prior.streaming import in_blocks, product

SAMPLE = 1500
"""Poses among which centres are sought."""

LEAST_SHARE = 2e-3
"""A component with less of the data than this is empty."""

SAME_OVERLAP = 0.95
"""Cosine of two components' responsibilities over the data from which they are one: of equal
components it is 1."""


def greedy_centres(poses: np.ndarray, count: int, spacing: float = 0.5) -> np.ndarray:
    """Indices of at most `count` centres among aligned poses (N, 51), chosen one by one by equation
    (3).

    A centre stands for its mirror image too. Candidates nearer to a centre than `spacing` of the
    median distance are not proposed.
    """
    distance = _distances(poses, poses)
    near = max(spacing * np.median(distance), 1e-6)
    distance = np.minimum(distance, _distances(poses, mirror_rows(poses)))
    nearest = np.full(len(poses), np.inf)
    chosen: list[int] = []
    while len(chosen) < count:
        cost = np.minimum(nearest[:, None], distance).sum(0)
        if chosen:
            cost[distance[:, chosen].min(1) <= near] = np.inf
        if not np.isfinite(cost.min()):
            break
        chosen.append(int(cost.argmin()))
        nearest = np.minimum(nearest, distance[:, chosen[-1]])
    return np.array(chosen)


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    square = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * product(a, np.ascontiguousarray(b.T))
    return np.sqrt(np.maximum(square, 0))


def start_mixture(
    poses: np.ndarray,
    weights: np.ndarray,
    theta: np.ndarray,
    components: int,
    basis_size: int,
    seed: int = 0,
) -> Mixture:
    """Centres on a sub-sample of poses (N, 51) turned by -theta, each pose to the nearest, a
    Gaussian for each group."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(
        len(poses), min(SAMPLE, len(poses)), replace=False, p=weights / weights.sum()
    )
    sample = rotate_about_vertical(poses[chosen], -theta[chosen])
    centres = sample[greedy_centres(sample, components)]
    images = mirror_rows(centres)

    def nearest(part: slice) -> np.ndarray:
        aligned = rotate_about_vertical(poses[part], -theta[part])
        return np.minimum(_distances(aligned, centres), _distances(aligned, images)).argmin(1)

    owner = np.concatenate(in_blocks(nearest, len(poses)))
    return maximised(grouped_moments(poses, weights, theta, owner, len(centres)), basis_size)


def maximised(moments: np.ndarray, basis_size: int) -> Mixture:
    """The M step: weight and Gaussian of each component from its moments (C, 52, 52)."""
    share = moments[:, 0, 0]
    return Mixture(share / share.sum(), [gaussian_of(m, basis_size) for m in moments])


def expectation_maximisation(
    poses: np.ndarray,
    weights: np.ndarray,
    theta: np.ndarray,
    mixture: Mixture,
    max_iterations: int = 100,
    tolerance: float = 1e-3,
) -> tuple[np.ndarray, Mixture, list[float]]:
    """EM until the mean log-likelihood gains less than `tolerance`: rotations (N,), mixture, and
    the log-likelihood of every iteration.

    It never falls. Where a component is empty or like another one they become fewer and the list
    begins anew: those are other models.
    """
    basis_size, history = len(mixture.gaussians[0].variance), []
    for _ in range(max_iterations):
        done = sweep(poses, weights, theta, mixture)
        fewer = without_idle(done)
        if fewer is not None:
            theta, mixture, history = done.theta, maximised(fewer, basis_size), []
            continue
        history.append(done.log_likelihood)
        if len(history) > 1 and history[-1] - history[-2] < tolerance:
            break
        theta, mixture = done.theta, maximised(done.moments, basis_size)
    return theta, mixture, history


def without_idle(done: Sweep) -> np.ndarray | None:
    """Moments without the empty components, or else with the two most alike made one; None where
    all are of use."""
    share = done.moments[:, 0, 0] / done.moments[:, 0, 0].sum()
    if share.min() < LEAST_SHARE:
        return done.moments[share >= LEAST_SHARE]
    size = np.sqrt(np.diag(done.overlap))
    alike = np.triu(done.overlap / np.outer(size, size), 1)
    if alike.max() < SAME_OVERLAP:
        return None
    first, second = np.unravel_index(alike.argmax(), alike.shape)
    moments = done.moments.copy()
    moments[first] += moments[second]
    return np.delete(moments, second, axis=0)


def best_components(
    poses: np.ndarray, mixture: Mixture
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Likeliest component (N,) of poses (N, 51), their log-likelihood (N,) and rotation (N,), each
    component at its own best rotation."""
    theta, density = [], []
    for weight, model in zip(mixture.weights, mixture.gaussians):
        waves = cost_waves(poses, model)
        theta.append(lowest_angles(waves, np.zeros(len(poses)), grid=32))
        density.append(
            np.log(weight) - 0.5 * (wave_values(waves, theta[-1]) + model.log_normaliser())
        )
    component = np.argmax(density, 0)
    return (
        component,
        logsumexp(density, axis=0),
        np.stack(theta, 1)[np.arange(len(poses)), component],
    )
