# SPDX-License-Identifier: Apache-2.0
"""Section 4.1: rotate poses about the vertical until a low-rank Gaussian describes them, the basis growing from one vector to K.

Poses are rows of 51 numbers (17 joints, x y z, y up), centred on their centroid. `theta` is the rotation R_i of equation (2):
P_i = R_i X_i.
"""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

CENTRED_DIMENSIONS = 17 * 3 - 3
"""Dimensions left when the centroid is zero."""


class Gaussian(NamedTuple):
    """One probabilistic PCA: mean (51,), orthonormal basis (K, 51), total variance along it (K,), noise variance off it."""

    mean: np.ndarray
    basis: np.ndarray
    variance: np.ndarray
    noise: float

    def precision(self) -> np.ndarray:
        """Inverse covariance (51, 51), noise along the three empty directions included."""
        inner = 1 / self.variance - 1 / self.noise
        return (self.basis.T * inner) @ self.basis + np.eye(self.mean.size) / self.noise

    def log_density(self, poses: np.ndarray) -> np.ndarray:
        """Log-density (N,) of centred poses (N, 51)."""
        centred = poses - self.mean
        along = centred @ self.basis.T  # (N, K)
        off = np.maximum((centred**2).sum(1) - (along**2).sum(1), 0)
        rest = CENTRED_DIMENSIONS - len(self.variance)
        log_det = np.log(self.variance).sum() + rest * np.log(self.noise)
        distance = (along**2 / self.variance).sum(1) + off / self.noise
        return -0.5 * (distance + log_det + CENTRED_DIMENSIONS * np.log(2 * np.pi))


def fit_gaussian(poses: np.ndarray, weights: np.ndarray, basis_size: int, noise_floor: float = 1e-6) -> Gaussian:
    """Maximum-likelihood PPCA in closed form (Tipping and Bishop 1999) from weighted poses (N, 51)."""
    total = weights.sum()
    mean = weights @ poses / total
    centred = poses - mean
    covariance = (centred * weights[:, None]).T @ centred / total  # (51, 51)
    variance, vectors = np.linalg.eigh(covariance)
    variance, vectors = variance[::-1], vectors.T[::-1]
    noise = max(variance[basis_size:].sum() / (CENTRED_DIMENSIONS - basis_size), noise_floor)
    basis = vectors[:basis_size]
    basis *= np.where(basis[np.arange(basis_size), np.abs(basis).argmax(1)] < 0, -1, 1)[:, None]  # same bytes on every machine
    return Gaussian(mean, basis, np.maximum(variance[:basis_size], noise), noise)


def rotate_about_vertical(poses: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Rows (N, 51) turned by R(theta) of equation (2), theta (N,)."""
    x, y, z = np.moveaxis(poses.reshape(len(poses), -1, 3), -1, 0)
    c, s = np.cos(theta)[:, None], np.sin(theta)[:, None]
    return np.stack([c * x + s * z, y, -s * x + c * z], -1).reshape(poses.shape)


def initial_rotations(poses: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Rank-two factorisation of the interleaved ground coordinates (after Tomasi and Kanade): theta (N,)."""
    ground = poses.reshape(len(poses), -1, 3)[..., [0, 2]].transpose(0, 2, 1)  # (N, 2, L)
    gram = np.einsum("n,nki,nkj->ij", weights, ground, ground)
    shape = np.linalg.eigh(gram)[1][:, -2:]  # (L, 2)
    motion = ground @ shape  # (N, 2, 2): a rotation times one unknown matrix
    second = np.einsum("n,nki,nkj->ij", weights, motion, motion) / weights.sum()
    value, vector = np.linalg.eigh(second)
    motion = motion @ (vector / np.sqrt(np.maximum(value, 1e-12))) @ vector.T
    if (weights * np.linalg.det(motion)).sum() < 0:  # one reflection for all, so that most are rotations
        motion[..., 0] *= -1
    # nearest rotation [[c, s], [-s, c]] of each 2x2
    return np.arctan2(motion[:, 0, 1] - motion[:, 1, 0], motion[:, 0, 0] + motion[:, 1, 1])


def update_rotations(poses: np.ndarray, theta: np.ndarray, model: Gaussian, grid: int = 0) -> np.ndarray:
    """Rotations that make each pose most likely under `model`, the coefficients marginalised: safeguarded Newton steps for all at once.

    The cost is a trigonometric polynomial of degree two in theta, known from three 51-vectors a pose. With `grid` the best of so many
    angles is the start instead of `theta`.
    """
    form = _quadratic_form(poses, model)
    if grid:
        angles = np.arange(grid) * (2 * np.pi / grid)
        theta = angles[_cost(form[:, None], angles[None]).argmin(1)]
    for _ in range(6):
        c, s = np.cos(theta), np.sin(theta)
        first = 2 * (-s * form[:, 0, 1] + c * form[:, 0, 2]) + 2 * c * s * (form[:, 2, 2] - form[:, 1, 1])
        first += 2 * (c * c - s * s) * form[:, 1, 2]
        second = 2 * (-c * form[:, 0, 1] - s * form[:, 0, 2]) + 2 * (c * c - s * s) * (form[:, 2, 2] - form[:, 1, 1])
        second -= 8 * c * s * form[:, 1, 2]
        step = np.clip(-first / np.maximum(np.abs(second), 1e-9), -0.5, 0.5)
        better = _cost(form, theta + step) <= _cost(form, theta)
        theta = theta + np.where(better, step, 0.25 * step * (_cost(form, theta + 0.25 * step) < _cost(form, theta)))
    return theta


def _quadratic_form(poses: np.ndarray, model: Gaussian) -> np.ndarray:
    """(N, 3, 3) Gram matrices, under the model's precision, of [vertical - mean, x-z part, the same turned by 90 degrees]."""
    x, y, z = np.moveaxis(poses.reshape(len(poses), -1, 3), -1, 0)
    zero = np.zeros_like(x)
    parts = np.stack([np.stack([zero, y, zero], -1), np.stack([x, zero, z], -1), np.stack([-z, zero, x], -1)], 1)
    parts = parts.reshape(len(poses), 3, -1)  # (N, 3, 51): R(theta)^T P = parts[0] + cos parts[1] + sin parts[2]
    parts[:, 0] -= model.mean
    return parts @ model.precision() @ parts.transpose(0, 2, 1)


def _cost(form: np.ndarray, theta: np.ndarray) -> np.ndarray:
    direction = np.stack([np.ones_like(theta), np.cos(theta), np.sin(theta)], -1)
    return np.einsum("...i,...ij,...j->...", direction, form, direction)


def align(poses: np.ndarray, weights: np.ndarray, basis_size: int, rounds: int = 3) -> tuple[np.ndarray, Gaussian, list[list[float]]]:
    """Alternate closed-form PPCA and rotation updates while the basis grows from 1 to `basis_size`.

    Returns theta (N,) with aligned poses R(theta)^T P, the last Gaussian, and for each basis size the negative mean log-likelihood after
    every round: it never rises within a basis size.
    """
    theta = initial_rotations(poses, weights)
    history: list[list[float]] = []
    for size in range(1, basis_size + 1):
        costs = []
        for _ in range(rounds):
            aligned = rotate_about_vertical(poses, -theta)
            model = fit_gaussian(aligned, weights, size)
            costs.append(-float(weights @ model.log_density(aligned) / weights.sum()))
            # only the first, coarse model may throw a pose to another side; later the cost must fall step by step
            theta = update_rotations(poses, theta, model, grid=24 if size == 1 and len(costs) == 1 else 0)
        history.append(costs)
    return theta, model, history
