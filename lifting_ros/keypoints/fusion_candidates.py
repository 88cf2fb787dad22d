# SPDX-License-Identifier: Apache-2.0
"""The prior as the fusion layers see it: Gaussians of projected poses, one for each component in
each sampled rotation of the crop's camera."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.geometry.rotations import rotation_about_vertical, up_to_camera
from lifting_ros.prior.ppca import MixturePPCA
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT, KEYPOINT_TO_JOINT

YAWS = 20
ROLLS = 8
"""Sampled rotations per axis."""

PRIOR_SCALE = 1.5
"""Factor on the standard deviations of the prior."""

FUSION_SIGMA = 1.5 / 32
"""Standard deviation (std) of a projected belief, divided by the side of the crop."""

LEAST_SCALE = 0.6
"""Least extent of a candidate's mean, divided by that of the keypoints."""

_PLACE = 10.0
"""Variance of the translation: large enough to leave it free, small enough for float32."""


class Candidates(NamedTuple):
    """Gaussians of the projected poses of Q candidates, float32."""

    mean: np.ndarray
    """(Q, J, 2)."""
    covariance: np.ndarray
    """(Q, 28, 28)."""
    whiten: np.ndarray
    """(Q, 28, 28) lower triangular; whitens a residual, for the log-likelihood."""
    offset: np.ndarray
    """(Q,) of the log-likelihood."""


def projected_candidates(prior: MixturePPCA, prior_scale: float, noise: float) -> Candidates:
    """Every component of the prior in every sampled rotation.

    prior_scale: factor on the prior's standard deviations; noise: standard deviation of a certain
    keypoint, in units of the person's size.
    """
    rotations = _rotations()
    observed = list(KEYPOINT_TO_JOINT)
    components = len(prior.weights_)
    turns = len(rotations)
    size = 2 * KEYPOINT_COUNT
    across = rotations[:, :2]  # Pi E R

    # Mean
    mean = np.einsum("mab,cjb->cmja", across, prior.means_[:, observed])
    mean = mean.reshape(-1, KEYPOINT_COUNT, 2)

    # Covariance
    pose = prior.covariances().reshape(components, JOINT_COUNT, 3, JOINT_COUNT, 3)
    pose = pose[:, observed][:, :, :, observed]
    spread = np.einsum("mab,cjbkd,med->cmjake", across, pose, across, optimize=True)
    spread = spread.reshape(-1, size, size)
    place = _PLACE * np.tile(np.eye(2), (KEYPOINT_COUNT, KEYPOINT_COUNT))
    covariance = prior_scale**2 * spread + place

    # Log-likelihood
    factor = np.linalg.cholesky(covariance + noise**2 * np.eye(size))
    log_prior = np.repeat(np.log(prior.weights_ / turns), turns)
    diagonal = np.diagonal(factor, axis1=-2, axis2=-1)
    offset = log_prior - np.log(diagonal).sum(-1)
    whiten = np.tril(np.linalg.inv(factor))

    return Candidates(
        mean=mean.astype(np.float32),
        covariance=covariance.astype(np.float32),
        whiten=whiten.astype(np.float32),
        offset=offset.astype(np.float32),
    )


def _rotations() -> np.ndarray:
    """Sampled rotations (Q, 3, 3), all yaws for each roll."""
    roll = np.arange(ROLLS) * 2 * np.pi / ROLLS
    level = np.zeros(ROLLS)
    ups = np.stack([np.sin(roll), -np.cos(roll), level], -1)

    yaw = np.arange(YAWS) * 2 * np.pi / YAWS
    about_vertical = rotation_about_vertical(yaw)

    rotations = []
    for up in ups:
        to_camera = up_to_camera(up)
        rotations += [to_camera @ turn for turn in about_vertical]
    return np.stack(rotations)
