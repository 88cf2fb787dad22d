# SPDX-License-Identifier: Apache-2.0
"""One probabilistic PCA over centred poses, in closed form (Tipping and Bishop 1999)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.prior.streaming import crossed

CENTRED_DIMENSIONS = 17 * 3 - 3
"""Degrees of freedom of a pose whose centroid is zero."""

NOISE_FLOOR = 0.005
"""Least standard deviation (std) of a coordinate, in units of the person's size. Motion capture
systems differ by more than this in where they put a joint."""


class Gaussian(NamedTuple):
    """A probabilistic PCA with K basis vectors."""

    mean: np.ndarray
    """(51,)."""
    basis: np.ndarray
    """(K, 51), orthonormal."""
    variance: np.ndarray
    """(K,) total variance along each basis vector, noise included."""
    noise: float
    """Variance along all other directions."""

    def precision(self) -> np.ndarray:
        """Return the inverse covariance (51, 51).

        The noise also fills the three directions that centred poses do not use.
        """
        inner = 1 / self.variance - 1 / self.noise
        scaled = self.basis.T * inner
        along = scaled @ self.basis
        identity = np.eye(self.mean.size)

        return along + identity / self.noise

    def log_normaliser(self) -> float:
        """Return the log-determinant of 2 pi times the covariance, in 48 dimensions."""
        rest = CENTRED_DIMENSIONS - len(self.variance)
        along = np.log(self.variance).sum()
        off = rest * np.log(self.noise)
        constant = CENTRED_DIMENSIONS * np.log(2 * np.pi)

        return float(along + off + constant)

    def log_density(self, poses: np.ndarray) -> np.ndarray:
        """Return the log-density (N,) of centred poses (N, 51)."""
        centred = poses - self.mean
        along = centred @ self.basis.T  # (N, K)

        total = (centred**2).sum(1)
        explained = (along**2).sum(1)
        off = np.maximum(total - explained, 0)

        distance = (along**2 / self.variance).sum(1)
        distance = distance + off / self.noise
        return -0.5 * (distance + self.log_normaliser())


def moments_of(
    poses: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """Return the sufficient statistics (52, 52) of poses (N, 51) with weights (N,).

    They are the weighted sum of the outer products of (1, pose) with itself.
    """
    ones = np.ones((len(poses), 1))
    rows = np.concatenate([ones, poses], 1)
    weighted = rows * weights[:, None]
    return crossed(weighted, rows)


def gaussian_of(
    moments: np.ndarray,
    basis_size: int,
) -> Gaussian:
    """Return the maximum-likelihood PPCA of `moments_of` (52, 52).

    basis_size: K.
    """
    # Mean and covariance
    total = moments[0, 0]
    mean = moments[0, 1:] / total
    second = moments[1:, 1:] / total
    covariance = second - np.outer(mean, mean)
    covariance = 0.5 * (covariance + covariance.T)

    # Principal axes, the largest variance first
    variance, vectors = np.linalg.eigh(covariance)
    variance = variance[::-1]
    vectors = vectors.T[::-1]

    # Noise: the mean variance of the axes left out
    left_out = float(variance[basis_size:].sum())
    noise = left_out / (CENTRED_DIMENSIONS - basis_size)
    noise = max(noise, NOISE_FLOOR**2)

    basis = vectors[:basis_size].copy()
    basis *= _signs(basis)[:, None]
    kept = np.maximum(variance[:basis_size], noise)
    return Gaussian(mean, basis, kept, noise)


def _signs(basis: np.ndarray) -> np.ndarray:
    """Return the signs (K,) that make the largest entry of each basis vector positive."""
    rows = np.arange(len(basis))
    largest = np.abs(basis).argmax(1)
    negative = basis[rows, largest] < 0
    return np.where(negative, -1, 1)
