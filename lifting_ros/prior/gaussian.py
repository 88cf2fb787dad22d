# SPDX-License-Identifier: Apache-2.0
"""One probabilistic PCA over centred poses, in closed form from moments (Tipping and Bishop 1999)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.prior.streaming import crossed

CENTRED_DIMENSIONS = 17 * 3 - 3
"""Dimensions left when the centroid is zero."""

NOISE_FLOOR = 0.005
"""Least deviation of a coordinate, in units of the person's size: sources of motion capture differ
by more in where a joint is."""


class Gaussian(NamedTuple):
    """One probabilistic PCA: mean (51,), orthonormal basis (K, 51), total variance along it (K,),
    noise variance off it."""

    mean: np.ndarray
    basis: np.ndarray
    variance: np.ndarray
    noise: float

    def precision(self) -> np.ndarray:
        """Inverse covariance (51, 51), noise along the three empty directions included."""
        inner = 1 / self.variance - 1 / self.noise
        return (self.basis.T * inner) @ self.basis + np.eye(self.mean.size) / self.noise

    def log_normaliser(self) -> float:
        """Log-determinant of the covariance in the 48 dimensions of centred poses, times two pi."""
        rest = CENTRED_DIMENSIONS - len(self.variance)
        return float(
            np.log(self.variance).sum()
            + rest * np.log(self.noise)
            + CENTRED_DIMENSIONS * np.log(2 * np.pi)
        )

    def log_density(self, poses: np.ndarray) -> np.ndarray:
        """Log-density (N,) of centred poses (N, 51)."""
        centred = poses - self.mean
        along = centred @ self.basis.T  # (N, K)
        off = np.maximum((centred**2).sum(1) - (along**2).sum(1), 0)
        return -0.5 * ((along**2 / self.variance).sum(1) + off / self.noise + self.log_normaliser())


def moments_of(poses: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sufficient statistics (52, 52) of poses (N, 51) and weights (N,): weighted sum of the outer
    products of (1, pose)."""
    ones = np.concatenate([np.ones((len(poses), 1)), poses], 1)
    return crossed(ones * weights[:, None], ones)


def gaussian_of(moments: np.ndarray, basis_size: int, noise_floor: float = NOISE_FLOOR) -> Gaussian:
    """PPCA of K = `basis_size` from moments (52, 52): the most likely one with a noise deviation of
    at least `noise_floor`."""
    mean = moments[0, 1:] / moments[0, 0]
    covariance = moments[1:, 1:] / moments[0, 0] - np.outer(mean, mean)
    variance, vectors = np.linalg.eigh(0.5 * (covariance + covariance.T))
    variance, vectors = variance[::-1], vectors.T[::-1]
    noise = max(
        float(variance[basis_size:].sum()) / (CENTRED_DIMENSIONS - basis_size), noise_floor**2
    )
    basis = vectors[:basis_size].copy()
    basis *= np.where(basis[np.arange(basis_size), np.abs(basis).argmax(1)] < 0, -1, 1)[
        :, None
    ]  # of two signs always the same
    return Gaussian(mean, basis, np.maximum(variance[:basis_size], noise), noise)
