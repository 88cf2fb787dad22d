# SPDX-License-Identifier: Apache-2.0
"""Candidates of the lifting: every mixture component in every sampled rotation, turned into the optical frame (section 5.3)."""
from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lifting_ros.core.ppca import MixturePPCA
from lifting_ros.core.skeleton import JOINT_COUNT, KEYPOINT_TO_JOINT

UNKNOWN_TILTS = ((0, 30, -30, 60, -60), tuple(range(0, 360, 30)))
"""Pitches and rolls, degrees, tried where gravity is unknown."""


class Candidates(NamedTuple):
    """Q candidates in the optical frame, unit limb length: each a Gaussian over poses."""

    component: Tensor
    """(Q,) which mixture component."""
    rotation: Tensor
    """(Q, 3, 3) model axes (y up) to the optical frame: the paper's E R."""
    log_prior: Tensor
    """(Q,) log of the component's weight over the number of its rotations."""
    mean: Tensor
    """(Q, 14, 3) of the keypoints' joints."""
    covariance: Tensor
    """(Q, 14, 3, 14, 3) of the keypoints' joints."""


def up_to_camera(up: np.ndarray) -> np.ndarray:
    """Rotation E (3, 3) from model axes (y up) to an optical frame in which up points along `up` (3,); the nearest to a level one."""
    level, target = np.array([0.0, -1.0, 0.0]), up / np.linalg.norm(up)
    axis, cosine = np.cross(level, target), float(level @ target)
    if cosine < -1 + 1e-9:  # a camera on its head: half a turn about the optical axis
        return np.diag([-1.0, -1, 1]) @ np.diag([1.0, -1, -1])
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return (np.eye(3) + skew + skew @ skew / (1 + cosine)) @ np.diag([1.0, -1, -1])


def rotation_about_vertical(theta: np.ndarray) -> np.ndarray:
    """Equation (2): (...,) radians to (..., 3, 3)."""
    c, s, zero, one = np.cos(theta), np.sin(theta), np.zeros_like(theta), np.ones_like(theta)
    return np.stack([np.stack([c, zero, s], -1), np.stack([zero, one, zero], -1), np.stack([-s, zero, c], -1)], -2)


def unknown_up_rotations(yaws: int) -> np.ndarray:
    """Rotations (M, 3, 3) of a person at every pitch, roll and yaw of a coarse grid."""
    pitch, roll, yaw = (a.ravel() for a in np.meshgrid(*map(np.radians, UNKNOWN_TILTS), np.arange(yaws) * 2 * np.pi / yaws))
    up = np.stack([np.sin(roll) * np.cos(pitch), -np.cos(roll) * np.cos(pitch), np.sin(pitch)], -1)
    return np.stack([up_to_camera(u) for u in up]) @ rotation_about_vertical(yaw)


class CandidateTable:
    """Builds and keeps the candidates of a prior for each direction of gravity."""

    def __init__(self, prior: MixturePPCA, yaws: int, cache: int = 64):
        self.prior, self.yaws = prior, yaws
        self.for_up = lru_cache(maxsize=cache)(self._for_up)

    def __call__(self, up: np.ndarray) -> Candidates:
        """Candidates for one `up` (3,); NaN or a vector of no length means unknown."""
        length = np.linalg.norm(up)
        if not np.isfinite(length) or length < 1e-9:
            return self.for_up(None)
        return self.for_up(tuple(np.round(np.asarray(up) / length, 4)))  # 0.1 mrad: a jittering IMU shall not rebuild the table

    def _for_up(self, up: tuple[float, ...] | None) -> Candidates:
        if up is None:
            rotations = unknown_up_rotations(max(12, self.yaws // 6))
        else:
            yaw = np.arange(self.yaws) * 2 * np.pi / self.yaws
            rotations = up_to_camera(np.array(up)) @ rotation_about_vertical(yaw)  # (M, 3, 3)
        return build(self.prior, rotations)


def build(prior: MixturePPCA, rotations: np.ndarray) -> Candidates:
    """Every component of `prior` in every rotation (M, 3, 3)."""
    observed = list(KEYPOINT_TO_JOINT)
    c, m = len(prior.weights_), len(rotations)
    blocks = prior.covariances().reshape(c, JOINT_COUNT, 3, JOINT_COUNT, 3)[:, observed][:, :, :, observed]
    mean = np.einsum("mab,cjb->cmja", rotations, prior.means_[:, observed])
    covariance = np.einsum("mab,cjbkd,med->cmjake", rotations, blocks, rotations, optimize=True)
    return Candidates(
        torch.arange(c).repeat_interleave(m),
        torch.from_numpy(np.tile(rotations, (c, 1, 1))),
        torch.from_numpy(np.repeat(np.log(prior.weights_ / m), m)),
        torch.from_numpy(mean.reshape(c * m, *mean.shape[2:])),
        torch.from_numpy(covariance.reshape(c * m, *covariance.shape[2:])),
    )
