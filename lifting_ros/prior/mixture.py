# SPDX-License-Identifier: Apache-2.0
"""Section 4.2: greedy centres (equation (3)), then EM of a mixture of probabilistic PCAs.

Each component is its own mirror image, so a pose and its image have the same responsibilities. One
pass over the poses, with moments averaged with their mirror images, is therefore exactly EM on the
doubled data. The rotations of section 4.1 are updated under the mixture as well: the expected
log-likelihood is again a wave of the angle.
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
"""Size of the sub-sample from which centres are chosen."""

LEAST_SHARE = 2e-3
"""A component with a smaller share of the data counts as empty."""

SAME_OVERLAP = 0.95
"""Two components are merged when the cosine between their responsibilities, taken over the data,
reaches this; it is 1 for equal components."""

_SCORE_GRID = 32
"""Angles tried for each pose when it is scored."""


def greedy_centres(
    poses: np.ndarray,
    count: int,
    spacing: float = 0.5,
) -> np.ndarray:
    """Return the indices of at most `count` centres among aligned poses (N, 51).

    They are chosen one by one by equation (3). A centre also stands for its mirror image.
    Candidates nearer to a centre than `spacing` times the median distance are not considered.
    """
    direct = _distances(poses, poses)
    near = max(spacing * np.median(direct), 1e-6)
    mirrored = _distances(poses, mirror_rows(poses))
    distance = np.minimum(direct, mirrored)

    nearest = np.full(len(poses), np.inf)
    chosen: list[int] = []
    while len(chosen) < count:
        cost = np.minimum(nearest[:, None], distance).sum(0)
        if chosen:
            to_centre = distance[:, chosen].min(1)
            cost[to_centre <= near] = np.inf
        if not np.isfinite(cost.min()):
            break

        best = int(cost.argmin())
        chosen.append(best)
        nearest = np.minimum(nearest, distance[:, best])

    return np.array(chosen)


def _distances(
    a: np.ndarray,
    b: np.ndarray,
) -> np.ndarray:
    """Return the distances (N, M) between rows (N, D) and rows (M, D)."""
    squares_a = (a**2).sum(1)[:, None]
    squares_b = (b**2).sum(1)
    products = product(a, np.ascontiguousarray(b.T))
    square = squares_a + squares_b - 2 * products

    return np.sqrt(np.maximum(square, 0))


def start_mixture(
    poses: np.ndarray,
    weights: np.ndarray,
    theta: np.ndarray,
    components: int,
    basis_size: int,
    seed: int = 0,
) -> Mixture:
    """Return a first mixture of poses (N, 51) turned by -theta.

    Centres are chosen on a sub-sample; each pose belongs to the nearest centre, and each group
    gives one Gaussian.
    """
    # Centres
    rng = np.random.default_rng(seed)
    count = min(SAMPLE, len(poses))
    probability = weights / weights.sum()
    chosen = rng.choice(len(poses), count, replace=False, p=probability)
    sample = rotate_about_vertical(poses[chosen], -theta[chosen])
    centres = sample[greedy_centres(sample, components)]
    images = mirror_rows(centres)

    # Groups
    def nearest(part: slice) -> np.ndarray:
        aligned = rotate_about_vertical(poses[part], -theta[part])
        direct = _distances(aligned, centres)
        mirrored = _distances(aligned, images)
        return np.minimum(direct, mirrored).argmin(1)

    owner = np.concatenate(in_blocks(nearest, len(poses)))

    # Gaussians
    moments = grouped_moments(poses, weights, theta, owner, len(centres))
    return maximised(moments, basis_size)


def maximised(
    moments: np.ndarray,
    basis_size: int,
) -> Mixture:
    """Return the mixture of the M step, from moments (C, 52, 52)."""
    share = moments[:, 0, 0]
    weights = share / share.sum()
    gaussians = [gaussian_of(own, basis_size) for own in moments]
    return Mixture(weights, gaussians)


def expectation_maximisation(
    poses: np.ndarray,
    weights: np.ndarray,
    theta: np.ndarray,
    mixture: Mixture,
    max_iterations: int = 100,
    tolerance: float = 1e-3,
) -> tuple[np.ndarray, Mixture, list[float]]:
    """Run EM until the mean log-likelihood gains less than `tolerance`.

    Returns the rotations (N,), the mixture and the log-likelihood of every iteration, which never
    falls. When a component is dropped or merged, the list starts anew: that is another model.
    """
    basis_size = len(mixture.gaussians[0].variance)
    history: list[float] = []
    for _ in range(max_iterations):
        done = sweep(poses, weights, theta, mixture)

        fewer = without_idle(done)
        if fewer is not None:
            theta = done.theta
            mixture = maximised(fewer, basis_size)
            history = []
            continue

        history.append(done.log_likelihood)
        if len(history) > 1 and history[-1] - history[-2] < tolerance:
            break

        theta = done.theta
        mixture = maximised(done.moments, basis_size)

    return theta, mixture, history


def without_idle(done: Sweep) -> np.ndarray | None:
    """Return moments with fewer components, or None if all components are of use.

    Empty components are dropped. If there are none, the two most similar ones are merged.
    """
    total = done.moments[:, 0, 0]
    share = total / total.sum()
    if share.min() < LEAST_SHARE:
        return done.moments[share >= LEAST_SHARE]

    size = np.sqrt(np.diag(done.overlap))
    cosine = done.overlap / np.outer(size, size)
    alike = np.triu(cosine, 1)
    if alike.max() < SAME_OVERLAP:
        return None

    first, second = np.unravel_index(alike.argmax(), alike.shape)
    moments = done.moments.copy()
    moments[first] += moments[second]
    return np.delete(moments, second, axis=0)


def best_components(
    poses: np.ndarray,
    mixture: Mixture,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the likeliest component, the log-likelihood and the rotation (N,) of poses (N, 51).

    The log-likelihood is that of the mixture, with each component at its own best rotation; the
    rotation is that of the likeliest component.
    """
    start = np.zeros(len(poses))
    angles = []
    densities = []
    for weight, model in zip(mixture.weights, mixture.gaussians):
        waves = cost_waves(poses, model)
        theta = lowest_angles(waves, start, grid=_SCORE_GRID)
        distance = wave_values(waves, theta)
        exponent = distance + model.log_normaliser()
        density = np.log(weight) - 0.5 * exponent
        angles.append(theta)
        densities.append(density)

    component = np.argmax(densities, 0)
    likelihood = logsumexp(densities, axis=0)
    rows = np.arange(len(poses))
    rotation = np.stack(angles, 1)[rows, component]

    return component, likelihood, rotation
