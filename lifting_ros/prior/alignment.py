# SPDX-License-Identifier: Apache-2.0
"""Section 4.1: rotate poses about the vertical until a low-rank Gaussian describes them, the basis
growing from one vector to K.

Poses are rows of 51 numbers (17 joints, x y z, y up), centred on their centroid. `theta` is the
rotation R_i of equation (2): P_i = R_i X_i. Every pose stands for itself and its mirror image: with
a model that is its own mirror image the rotation of the image is minus that of the pose and its
cost is the same, so the images are never made; the moments are averaged with their mirror images
instead.

The cost is equation (1) with the coefficients integrated out, which is what closed-form PPCA
minimises: the negative log-likelihood of R_i^T P_i under N(mu, E V E^T + s^2 I). With the
coefficients at their best its quadratic part is the same number, min_a |r - E a|^2 / s^2 + sum
a_j^2 / v_j = r^T (E V E^T + s^2 I)^-1 r, and the log-determinant stands where (1) has its sum of
logs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.prior.gaussian import Gaussian, gaussian_of, moments_of
from lifting_ros.prior.streaming import crossed, in_blocks, product
from lifting_ros.skeleton import JOINT_COUNT, JOINT_FLIP

MIRROR_COLUMNS = np.array([3 * joint + axis for joint in JOINT_FLIP for axis in range(3)])
MIRROR_SIGNS = np.tile([-1.0, 1, 1], JOINT_COUNT)


class Mixture(NamedTuple):
    """C Gaussians, each its own mirror image, and their weights (C,)."""

    weights: np.ndarray
    gaussians: list[Gaussian]


class Sweep(NamedTuple):
    """What one pass over the poses yields."""

    theta: np.ndarray
    """(N,) rotations after the update."""
    log_likelihood: float
    """Weighted mean at the rotations before it."""
    moments: np.ndarray
    """(C, 52, 52) of the poses as turned after it, weighted by responsibility, averaged with their
    mirror images."""
    overlap: np.ndarray
    """(C, C) weighted sums of products of responsibilities."""


def mirror_rows(rows: np.ndarray) -> np.ndarray:
    """Rows (..., 51) mirrored in x, left and right exchanged."""
    return rows[..., MIRROR_COLUMNS] * MIRROR_SIGNS


def symmetric(moments: np.ndarray) -> np.ndarray:
    """Moments (..., 52, 52) averaged with those of the mirror images."""
    columns, signs = (
        np.concatenate([[0], MIRROR_COLUMNS + 1]),
        np.concatenate([[1.0], MIRROR_SIGNS]),
    )
    images = moments[..., columns, :][..., columns] * np.outer(signs, signs)
    return 0.5 * (moments + images)


def rotate_about_vertical(poses: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Rows (N, 51) turned by R(theta) of equation (2), theta (N,)."""
    turned = np.array(poses, np.float64)
    x, z = poses[:, 0::3], poses[:, 2::3]
    c, s = np.cos(theta)[:, None], np.sin(theta)[:, None]
    turned[:, 0::3] = c * x + s * z
    turned[:, 2::3] = c * z - s * x
    return turned


def initial_rotations(poses: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Rank-two factorisation of the interleaved ground coordinates (after Tomasi and Kanade) of
    poses and their mirror images: theta (N,).

    Of the two factors over the joints one is odd under mirroring, the x of the mean pose, and one
    is even, its z.
    """

    def gram(part: slice) -> np.ndarray:
        ground = np.concatenate([poses[part, 0::3], poses[part, 2::3]])
        return crossed(ground * np.tile(weights[part], 2)[:, None], ground)

    both = sum(in_blocks(gram, len(poses)))
    swap = np.eye(JOINT_COUNT)[list(JOINT_FLIP)]
    factors = []
    for sign in (-1, 1):
        only = 0.5 * (np.eye(JOINT_COUNT) + sign * swap)
        factors.append(np.linalg.eigh(only @ both @ only)[1][:, -1])
    shape = np.stack(factors, 1)  # (L, 2)
    # (N, 2, 2): a rotation times two unknown scales
    motion = np.stack(
        [product(np.ascontiguousarray(poses[:, axis::3]), shape) for axis in (0, 2)], 1
    )
    motion /= np.sqrt(np.maximum(np.einsum("n,nij->j", weights, motion**2), 1e-12) / weights.sum())
    if (
        weights @ (motion[:, 0, 0] * motion[:, 1, 1] - motion[:, 0, 1] * motion[:, 1, 0]) < 0
    ):  # one reflection for all
        motion[..., 0] *= -1
    return np.arctan2(
        motion[:, 0, 1] - motion[:, 1, 0], motion[:, 0, 0] + motion[:, 1, 1]
    )  # nearest [[c, s], [-s, c]]


def cost_waves(poses: np.ndarray, model: Gaussian) -> np.ndarray:
    """Coefficients (N, 5) of 1, cos t, sin t, cos 2t, sin 2t of the squared Mahalanobis distance of
    R(t)^T P, as a function of t."""
    size = len(model.variance)
    scale = np.sqrt(np.maximum(1 / model.noise - 1 / model.variance, 0))
    along = np.concatenate(
        [model.basis * scale[:, None], model.mean[None] / model.noise]
    )  # (K + 1, 51): and the mean, for its products
    x, y, z = (along[:, axis::3].T for axis in range(3))
    upright = np.ascontiguousarray(poses[:, 1::3])
    ground = np.concatenate([poses[:, 0::3], poses[:, 2::3]], 1)
    # R(t)^T P - mu = (vertical - mu) + cos t (x, z) + sin t (-z, x); their products with the basis:
    still = product(upright, y)
    turning = product(ground, np.block([[x, z], [z, -x]]))
    first, second = turning[:, :size], turning[:, size + 1 : -1]
    turn_1, turn_2 = turning[:, size], turning[:, -1]
    level = (
        np.einsum("nd,nd->n", poses, poses) + model.mean @ model.mean
    ) / model.noise - 2 * still[:, size]
    still = still[:, :size] - along[:size] @ model.mean

    def dot(a, b):
        return np.einsum("nk,nk->n", a, b)

    ones, twos = dot(first, first), dot(second, second)
    constant = level - dot(still, still) - 0.5 * (ones + twos)
    cosine, sine = -2 * (turn_1 + dot(still, first)), -2 * (turn_2 + dot(still, second))
    return np.stack([constant, cosine, sine, 0.5 * (twos - ones), -dot(first, second)], 1)


def wave_values(waves: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Waves (..., 5) at theta (...)."""
    c, s = np.cos(theta), np.sin(theta)
    return (
        waves[..., 0]
        + c * waves[..., 1]
        + s * waves[..., 2]
        + (c * c - s * s) * waves[..., 3]
        + 2 * c * s * waves[..., 4]
    )


def lowest_angles(
    waves: np.ndarray, theta: np.ndarray, grid: int = 0, steps: int = 6
) -> np.ndarray:
    """Angles (N,) at which waves (N, 5) are low: safeguarded Newton steps from theta (N,) or, with
    `grid`, the best of so many angles.

    A step that would raise the cost is cut to a sixteenth, or not taken: no pose is ever worse off.
    """
    if grid:
        angles = np.arange(grid) * (2 * np.pi / grid)
        theta = angles[wave_values(waves[:, None], angles[None]).argmin(1)]
    value = wave_values(waves, theta)
    for _ in range(steps):
        c, s = np.cos(theta), np.sin(theta)
        c2, s2 = c * c - s * s, 2 * c * s
        slope = -s * waves[:, 1] + c * waves[:, 2] - 2 * s2 * waves[:, 3] + 2 * c2 * waves[:, 4]
        bend = -c * waves[:, 1] - s * waves[:, 2] - 4 * c2 * waves[:, 3] - 4 * s2 * waves[:, 4]
        step = np.clip(-slope / np.maximum(np.abs(bend), 1e-9), -0.5, 0.5)
        for shorter in (1.0, 1 / 16):
            tried = wave_values(waves, theta + shorter * step)
            better = tried < value
            theta = np.where(better, theta + shorter * step, theta)
            value, step = np.where(better, tried, value), np.where(better, 0.0, step)
    return theta


def sweep(
    poses: np.ndarray, weights: np.ndarray, theta: np.ndarray, mixture: Mixture, grid: int = 0
) -> Sweep:
    """One pass: responsibilities, then rotations under them, then moments of the turned poses, all
    in blocks.

    The expected log-likelihood is not lowered by the rotations, nor by the Gaussians that the
    moments give afterwards.
    """
    log_scale = np.log(mixture.weights) - 0.5 * np.array(
        [g.log_normaliser() for g in mixture.gaussians]
    )

    def block(part: slice):
        waves = np.stack([cost_waves(poses[part], g) for g in mixture.gaussians], 1)  # (n, C, 5)
        log_joint = log_scale - 0.5 * wave_values(waves, theta[part, None])
        top = log_joint.max(1, keepdims=True)
        density = np.exp(log_joint - top)
        total = density.sum(1, keepdims=True)
        responsibility = density / total
        turned = lowest_angles(
            np.einsum("nc,ncw->nw", responsibility, waves), theta[part], grid, steps=2
        )
        aligned = rotate_about_vertical(poses[part], -turned)
        weighted = responsibility * weights[part, None]
        moments = np.stack([moments_of(aligned, w) for w in weighted.T])
        return (
            turned,
            weights[part] @ (np.log(total) + top)[:, 0],
            moments,
            crossed(weighted, responsibility),
        )

    turned, likelihood, moments, overlap = zip(*in_blocks(block, len(poses)))
    return Sweep(
        np.concatenate(turned),
        float(sum(likelihood) / weights.sum()),
        symmetric(sum(moments)),
        sum(overlap),
    )


def align(
    poses: np.ndarray, weights: np.ndarray, basis_size: int, rounds: int = 3
) -> tuple[np.ndarray, Gaussian, list[list[float]]]:
    """Alternate closed-form PPCA and rotation updates while the basis grows from 1 to `basis_size`.

    Returns theta (N,) with aligned poses R(theta)^T P, the last Gaussian, and for each basis size
    the cost, the negative mean log-likelihood, after every closed-form step: it never rises within
    a basis size.
    """
    theta = initial_rotations(poses, weights)
    moments = grouped_moments(poses, weights, theta, np.zeros(len(poses), int), 1)
    history: list[list[float]] = []
    for size in range(1, basis_size + 1):
        costs: list[float] = []
        for _ in range(rounds):
            model = gaussian_of(moments[0], size)
            # only the first, coarse model may throw a pose to another side; later the cost must
            # fall step by step
            done = sweep(
                poses,
                weights,
                theta,
                Mixture(np.ones(1), [model]),
                grid=0 if history or costs else 24,
            )
            costs.append(-done.log_likelihood)
            theta, moments = done.theta, done.moments
        history.append(costs)
    return theta, model, history


def grouped_moments(
    poses: np.ndarray, weights: np.ndarray, theta: np.ndarray, owner: np.ndarray, groups: int
) -> np.ndarray:
    """Moments (G, 52, 52) of poses turned by -theta and their mirror images, of each group apart;
    owner (N,) names the group."""

    def block(part: slice) -> np.ndarray:
        aligned = rotate_about_vertical(poses[part], -theta[part])
        return np.stack(
            [moments_of(aligned, weights[part] * (owner[part] == g)) for g in range(groups)]
        )

    return symmetric(sum(in_blocks(block, len(poses))))
