# SPDX-License-Identifier: Apache-2.0
"""Section 4.1: rotate poses about the vertical so that a low-rank Gaussian describes them.

The basis grows from one vector to K. Poses are rows of 51 numbers (17 joints, x y z, y up), centred
on their centroid. `theta` is the rotation R_i of equation (2): P_i = R_i X_i.

Every pose also stands for its mirror image. The model is its own mirror image, so the rotation of
the image is minus that of the pose and its cost is the same. The images are therefore never made:
the moments are averaged with their mirror images instead.

The cost is equation (1) with the coefficients integrated out, which is what closed-form PPCA
minimises: the negative log-likelihood of R_i^T P_i under N(mu, E V E^T + s^2 I). Its quadratic part
equals that of (1) at the best coefficients, min_a |r - E a|^2 / s^2 + sum a_j^2 / v_j
= r^T (E V E^T + s^2 I)^-1 r. The log-determinant takes the place of the sum of logs in (1).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.prior.gaussian import Gaussian, gaussian_of, moments_of
from lifting_ros.prior.streaming import crossed, in_blocks, product, summed
from lifting_ros.skeleton import JOINT_COUNT, JOINT_FLIP

MIRROR_COLUMNS = np.array([3 * joint + axis for joint in JOINT_FLIP for axis in range(3)])
"""(51,) the column of a row that each column of its mirror image comes from."""

MIRROR_SIGNS = np.tile([-1.0, 1, 1], JOINT_COUNT)
"""(51,) the sign that goes with it."""

_FIRST_GRID = 24
"""Angles tried for each pose under the first model of `align`."""

_SHORTER_STEPS = (1.0, 1 / 16)
"""Fractions of a Newton step that are tried one after the other."""


class Mixture(NamedTuple):
    """A mixture of C Gaussians, each its own mirror image."""

    weights: np.ndarray
    """(C,)."""
    gaussians: list[Gaussian]


class Sweep(NamedTuple):
    """The results of one pass over the poses."""

    theta: np.ndarray
    """(N,) rotations after the update."""
    log_likelihood: float
    """Weighted mean at the rotations before the update."""
    moments: np.ndarray
    """(C, 52, 52) of the poses turned by the updated rotations, weighted by responsibility and
    averaged with their mirror images."""
    overlap: np.ndarray
    """(C, C) weighted sums of products of responsibilities."""


def mirror_rows(rows: np.ndarray) -> np.ndarray:
    """Return rows (..., 51) mirrored in x, with left and right exchanged."""
    exchanged = rows[..., MIRROR_COLUMNS]
    return exchanged * MIRROR_SIGNS


def symmetric(moments: np.ndarray) -> np.ndarray:
    """Return moments (..., 52, 52) averaged with those of the mirror images."""
    columns = np.concatenate([[0], MIRROR_COLUMNS + 1])
    signs = np.concatenate([[1.0], MIRROR_SIGNS])
    images = moments[..., columns, :]
    images = images[..., columns]
    images = images * np.outer(signs, signs)

    return 0.5 * (moments + images)


def rotate_about_vertical(
    poses: np.ndarray,
    theta: np.ndarray,
) -> np.ndarray:
    """Return rows (N, 51) turned by R(theta) of equation (2); theta (N,) in radians."""
    x = poses[:, 0::3]
    z = poses[:, 2::3]
    c = np.cos(theta)[:, None]
    s = np.sin(theta)[:, None]
    new_x = c * x + s * z
    new_z = c * z - s * x

    turned = np.array(poses, np.float64)
    turned[:, 0::3] = new_x
    turned[:, 2::3] = new_z
    return turned


def initial_rotations(
    poses: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """Return theta (N,) from a rank-two factorisation of the ground coordinates.

    The interleaved x and z of the poses and their mirror images are factorised as Tomasi and Kanade
    do. Of the two factors over the joints one is odd under mirroring (the x of the mean pose) and
    one is even (its z).
    """
    gram = _ground_gram(poses, weights)
    odd = _leading_factor(gram, -1)
    even = _leading_factor(gram, 1)
    shape = np.stack([odd, even], 1)  # (J, 2)

    # Each pose's motion is a rotation times two unknown scales.
    x = np.ascontiguousarray(poses[:, 0::3])
    z = np.ascontiguousarray(poses[:, 2::3])
    motion = np.stack([product(x, shape), product(z, shape)], 1)  # (N, 2, 2)
    square = np.einsum("n,nij->j", weights, motion**2)
    square = np.maximum(square, 1e-12)
    motion /= np.sqrt(square / weights.sum())

    # One reflection for all poses makes most of the motions proper rotations.
    direct = motion[:, 0, 0] * motion[:, 1, 1]
    crosswise = motion[:, 0, 1] * motion[:, 1, 0]
    if weights @ (direct - crosswise) < 0:
        motion[..., 0] *= -1

    # The nearest rotation [[c, s], [-s, c]]
    sine = motion[:, 0, 1] - motion[:, 1, 0]
    cosine = motion[:, 0, 0] + motion[:, 1, 1]
    return np.arctan2(sine, cosine)


def _ground_gram(
    poses: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """Return the weighted Gram matrix (J, J) of the x and z coordinates."""

    def gram(part: slice) -> np.ndarray:
        x = poses[part, 0::3]
        z = poses[part, 2::3]
        ground = np.concatenate([x, z])
        repeated = np.tile(weights[part], 2)

        return crossed(ground * repeated[:, None], ground)

    return summed(in_blocks(gram, len(poses)))


def _leading_factor(
    gram: np.ndarray,
    sign: int,
) -> np.ndarray:
    """Return the leading eigenvector (J,) that is even (sign 1) or odd (-1) under mirroring."""
    identity = np.eye(JOINT_COUNT)
    swap = identity[list(JOINT_FLIP)]
    projector = 0.5 * (identity + sign * swap)
    projected = projector @ gram @ projector
    _, vectors = np.linalg.eigh(projected)

    return vectors[:, -1]


def cost_waves(
    poses: np.ndarray,
    model: Gaussian,
) -> np.ndarray:
    """Return the squared Mahalanobis distance of R(t)^T P as a function of t, for poses (N, 51).

    The result (N, 5) holds the coefficients of 1, cos t, sin t, cos 2t and sin 2t.
    """
    size = len(model.variance)
    along = _scaled_basis(model)
    mean_square = model.mean @ model.mean

    # R(t)^T P - mu = (vertical - mu) + cos t (x, z) + sin t (-z, x); products with the basis:
    x = along[:, 0::3].T
    y = along[:, 1::3].T
    z = along[:, 2::3].T
    upright = np.ascontiguousarray(poses[:, 1::3])
    ground = np.concatenate([poses[:, 0::3], poses[:, 2::3]], 1)
    still = product(upright, y)
    turning = product(ground, np.block([[x, z], [z, -x]]))

    # Products with the basis vectors
    first = turning[:, :size]
    second = turning[:, size + 1 : -1]

    # Products with the mean
    turn_1 = turning[:, size]
    turn_2 = turning[:, -1]

    # The part that does not turn
    pose_square = np.einsum("nd,nd->n", poses, poses)
    level = (pose_square + mean_square) / model.noise
    level = level - 2 * still[:, size]
    still = still[:, :size] - along[:size] @ model.mean

    ones = _row_dots(first, first)
    twos = _row_dots(second, second)
    constant = level - _row_dots(still, still) - 0.5 * (ones + twos)
    cosine = -2 * (turn_1 + _row_dots(still, first))
    sine = -2 * (turn_2 + _row_dots(still, second))
    cosine_2 = 0.5 * (twos - ones)
    sine_2 = -_row_dots(first, second)

    return np.stack([constant, cosine, sine, cosine_2, sine_2], 1)


def _scaled_basis(model: Gaussian) -> np.ndarray:
    """Return (K + 1, 51): the basis whose products explain the distance, and the scaled mean."""
    gain = 1 / model.noise - 1 / model.variance
    scale = np.sqrt(np.maximum(gain, 0))
    basis = model.basis * scale[:, None]
    mean = model.mean[None] / model.noise

    return np.concatenate([basis, mean])


def _row_dots(
    a: np.ndarray,
    b: np.ndarray,
) -> np.ndarray:
    """Return the dot product (N,) of each row of two arrays (N, K)."""
    return np.einsum("nk,nk->n", a, b)


def wave_values(
    waves: np.ndarray,
    theta: np.ndarray,
) -> np.ndarray:
    """Return the values (...) of waves (..., 5) at theta (...)."""
    c = np.cos(theta)
    s = np.sin(theta)
    return (
        waves[..., 0]
        + c * waves[..., 1]
        + s * waves[..., 2]
        + (c * c - s * s) * waves[..., 3]
        + 2 * c * s * waves[..., 4]
    )


def lowest_angles(
    waves: np.ndarray,
    theta: np.ndarray,
    grid: int = 0,
    steps: int = 6,
) -> np.ndarray:
    """Return angles (N,) at which waves (N, 5) are low, by safeguarded Newton steps.

    They start from theta (N,) or, if `grid` is not 0, from the best of that many angles. A step
    that would raise the cost is cut to a sixteenth, or not taken: the cost of a pose never rises.
    """
    if grid:
        angles = np.arange(grid) * (2 * np.pi / grid)
        values = wave_values(waves[:, None], angles[None])
        theta = angles[values.argmin(1)]

    value = wave_values(waves, theta)
    for _ in range(steps):
        step = _newton_step(waves, theta)

        for fraction in _SHORTER_STEPS:
            shifted = theta + fraction * step
            tried = wave_values(waves, shifted)
            better = tried < value
            theta = np.where(better, shifted, theta)
            value = np.where(better, tried, value)
            step = np.where(better, 0.0, step)

    return theta


def _newton_step(
    waves: np.ndarray,
    theta: np.ndarray,
) -> np.ndarray:
    """Return a step (N,) downhill, at most half a radian."""
    c = np.cos(theta)
    s = np.sin(theta)
    c2 = c * c - s * s
    s2 = 2 * c * s

    # First and second derivative
    _, cosine, sine, cosine_2, sine_2 = waves.T
    slope = -s * cosine + c * sine - 2 * s2 * cosine_2 + 2 * c2 * sine_2
    bend = -c * cosine - s * sine - 4 * c2 * cosine_2 - 4 * s2 * sine_2
    curvature = np.maximum(np.abs(bend), 1e-9)
    step = -slope / curvature

    return np.clip(step, -0.5, 0.5)


def sweep(
    poses: np.ndarray,
    weights: np.ndarray,
    theta: np.ndarray,
    mixture: Mixture,
    grid: int = 0,
) -> Sweep:
    """Pass once over the poses: responsibilities, rotations under them, then moments.

    Neither the updated rotations nor the Gaussians of the returned moments lower the expected
    log-likelihood. `grid` as in `lowest_angles`.
    """
    normalisers = [model.log_normaliser() for model in mixture.gaussians]
    log_scale = np.log(mixture.weights) - 0.5 * np.array(normalisers)

    def block(part: slice) -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:
        own = weights[part]
        each = [cost_waves(poses[part], model) for model in mixture.gaussians]
        waves = np.stack(each, 1)  # (n, C, 5)

        # Responsibilities
        distance = wave_values(waves, theta[part, None])
        log_joint = log_scale - 0.5 * distance
        top = log_joint.max(1, keepdims=True)
        density = np.exp(log_joint - top)
        marginal = density.sum(1, keepdims=True)
        responsibility = density / marginal
        log_likelihood = (np.log(marginal) + top)[:, 0]

        # Rotations
        expected = np.einsum("nc,ncw->nw", responsibility, waves)
        turned = lowest_angles(expected, theta[part], grid, steps=2)

        # Moments
        aligned = rotate_about_vertical(poses[part], -turned)
        weighted = responsibility * own[:, None]
        moments = [moments_of(aligned, column) for column in weighted.T]
        overlap = crossed(weighted, responsibility)

        return turned, own @ log_likelihood, np.stack(moments), overlap

    blocks = in_blocks(block, len(poses))
    turned, likelihood, moments, overlap = zip(*blocks)
    return Sweep(
        theta=np.concatenate(turned),
        log_likelihood=float(sum(likelihood) / weights.sum()),
        moments=symmetric(summed(moments)),
        overlap=summed(overlap),
    )


def align(
    poses: np.ndarray,
    weights: np.ndarray,
    basis_size: int,
    rounds: int = 3,
) -> tuple[np.ndarray, Gaussian, list[list[float]]]:
    """Alternate closed-form PPCA and rotation updates while the basis grows to `basis_size`.

    Returns theta (N,), whose aligned poses are R(theta)^T P; the last Gaussian; and, for each basis
    size, the cost (negative mean log-likelihood) after every closed-form step. The cost never rises
    within a basis size.
    """
    theta = initial_rotations(poses, weights)
    one_group = np.zeros(len(poses), int)
    moments = grouped_moments(poses, weights, theta, one_group, 1)

    history: list[list[float]] = []
    for size in range(1, basis_size + 1):
        costs: list[float] = []
        for _ in range(rounds):
            model = gaussian_of(moments[0], size)
            mixture = Mixture(np.ones(1), [model])

            # Only the first, coarse model may turn a pose far; later the cost must fall.
            first = not history and not costs
            grid = _FIRST_GRID if first else 0
            done = sweep(poses, weights, theta, mixture, grid)

            costs.append(-done.log_likelihood)
            theta = done.theta
            moments = done.moments
        history.append(costs)

    return theta, model, history


def grouped_moments(
    poses: np.ndarray,
    weights: np.ndarray,
    theta: np.ndarray,
    owner: np.ndarray,
    groups: int,
) -> np.ndarray:
    """Return the moments (G, 52, 52) of each group of poses turned by -theta.

    They include the mirror images; owner (N,) is the group of each pose.
    """

    def block(part: slice) -> np.ndarray:
        aligned = rotate_about_vertical(poses[part], -theta[part])
        moments = []
        for group in range(groups):
            inside = owner[part] == group
            moments.append(moments_of(aligned, weights[part] * inside))

        return np.stack(moments)

    return symmetric(summed(in_blocks(block, len(poses))))
