# SPDX-License-Identifier: Apache-2.0
"""Equation (5) as a posterior: what keypoints say, by linear algebra alone, about each component of the prior in each rotation.

The view frame looks at the person: z along the viewing direction, up in its y-z plane. There a candidate (component, rotation about the
vertical) is a Gaussian over 54 latents in units of the person's size: 51 joint coordinates, the place across the view (2) and the
logarithm of depth over its first estimate (1). Under weak perspective the keypoints are linear in them, s Pi E R (mu + a e) of
equation (5), so mean, covariance and evidence are closed forms. `Plans` holds them for a set of candidates; poses of that mask and
noise then need products only.
"""
from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lifting_ros.core.ppca import MixturePPCA
from lifting_ros.core.rotations import rotation_about_vertical, up_to_camera
from lifting_ros.core.skeleton import JOINT_COUNT, JOINT_PARENTS, KEYPOINT_COUNT, KEYPOINT_TO_JOINT

LIMB_JOINTS = (2, 3, 5, 6, 12, 13, 15, 16)
"""Joints at the end of the limbs whose lengths are measured: shins, thighs, forearms and upper arms. The trunk is stiff in the prior."""

PLACE_STD = 1.0
"""Deviation of the place across the view from its first estimate, sizes; wide against what keypoints say."""
DEPTH_STD = 0.3
"""Deviation of the logarithm of depth from its first estimate; wide likewise."""
YAW_STD = 0.12
"""Deviation of the rotation about the vertical from its sample, radians: wider than the sampling, for the mean pose's sake."""

_POSE, _PLACE, _DEPTH, LATENTS = slice(0, 51), slice(51, 53), 53, 54
OBSERVATIONS = 2 * KEYPOINT_COUNT
_SEEN_ROWS = [3 * joint + axis for joint in KEYPOINT_TO_JOINT for axis in (0, 1)]
ROOT_LATENTS = (0, 1, 2, 51, 52, 53)
"""What the position of the root depends on."""


class Candidates(NamedTuple):
    """Q Gaussians over poses in the view frame, person's sizes."""

    mean: Tensor
    """(Q, 51)."""
    covariance: Tensor
    """(Q, 51, 51), the uncertainty of the rotation included."""
    log_prior: Tensor
    """(Q,) log of the component's weight over the number of rotations."""
    component: np.ndarray
    """(Q,)."""
    yaw: np.ndarray
    """(Q,) index of the rotation."""

    def select(self, rows) -> Candidates:
        """The candidates of an index."""
        return Candidates(*(value[rows] for value in self))


class Plans(NamedTuple):
    """P candidates conditioned on keypoints of one mask and noise each; float32, contiguous, observations before latents."""

    mean: np.ndarray
    """(P, 54) latents before anything is seen."""
    offset: np.ndarray
    """(P, 28) predicted observations about their mean; 0 where not seen."""
    gain: np.ndarray
    """(P, 28, 54): latents = mean + innovation @ gain."""
    limb_mean: np.ndarray
    """(P, 24) the eight limb vectors."""
    limb_gain: np.ndarray
    """(P, 28, 24)."""
    limb_covariance: np.ndarray
    """(P, 24, 24) after the keypoints."""
    cross: np.ndarray
    """(P, 24, 54) covariance of limb vectors with latents after the keypoints."""
    relative: np.ndarray
    """(P, 17, 3, 3) covariance of joint - root after the keypoints."""
    root: np.ndarray
    """(P, 6, 6) covariance of ROOT_LATENTS after the keypoints."""


def make_candidates(prior: MixturePPCA, pitch: float, yaws: int, prior_scale: float, tilt_std: float) -> Candidates:
    """Every component in `yaws` rotations about a vertical that the view frame sees at `pitch` (radians, up towards +z)."""
    rotations = upright(pitch) @ rotation_about_vertical(np.arange(yaws) * 2 * np.pi / yaws)  # (Y, 3, 3)
    components = len(prior.weights_)
    mean = torch.from_numpy(np.einsum("yab,cjb->cyja", rotations, prior.means_).reshape(-1, JOINT_COUNT, 3))
    pose = (prior.covariances() * prior_scale**2).reshape(components, JOINT_COUNT, 3, JOINT_COUNT, 3)
    turned = torch.from_numpy(np.einsum("yab,cjbkd,yed->cyjake", rotations, pose, rotations, optimize=True).reshape(-1, 51, 51))
    vertical = upright(pitch)[:, 1]
    spin = tilt_std**2 * np.eye(3) + (YAW_STD**2 - tilt_std**2) * np.outer(vertical, vertical)
    arms = _turning(mean).flatten(1, 2)  # (Q, 51, 3)
    covariance = turned + arms @ torch.from_numpy(spin) @ arms.transpose(1, 2)
    log_prior = torch.from_numpy(np.repeat(np.log(prior.weights_ / yaws), yaws))
    return Candidates(mean.flatten(1), covariance, log_prior, np.repeat(np.arange(components), yaws), np.tile(np.arange(yaws), components))


def upright(pitch: float) -> np.ndarray:
    """Rotation (3, 3) from model axes (y up) into a view frame: the paper's E."""
    return up_to_camera(np.array([0.0, -np.cos(pitch), np.sin(pitch)]))


def _turning(points: Tensor) -> Tensor:
    """Derivative (..., 3, 3) of points (..., 3) with respect to a small rotation: w x p = -[p]x w."""
    x, y, z = points.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, z, -y, -z, zero, x, y, -x, zero], -1).unflatten(-1, (3, 3))


class Observed(NamedTuple):
    """The joint distribution of latents and observations of P candidates."""

    offset: Tensor
    """(P, 28)."""
    cross: Tensor
    """(P, 54, 28) covariance of latents and observations."""
    factor: Tensor
    """(P, 28, 28) Cholesky factor of the observations' covariance; identity where not seen."""
    prior: Tensor
    """(P, 54, 54)."""


def observe(candidates: Candidates, seen: Tensor, noise: Tensor) -> Observed:
    """seen (P or 1, 14) bool; noise (P or 1, 28, 28) covariance over the mean square of the rays about their mean, 0 where not seen."""
    mask = seen.to(torch.float64).repeat_interleave(2, 1)  # (P, 28)
    lateral = candidates.mean[:, _SEEN_ROWS]
    pairs = lateral.unflatten(1, (KEYPOINT_COUNT, 2))
    weight = (seen / seen.sum(1, keepdim=True))[..., None]
    offset = ((pairs - (weight * pairs).sum(1, keepdim=True)).flatten(1)) * mask
    count = len(candidates.mean)
    prior = torch.zeros(count, LATENTS, LATENTS, dtype=torch.float64)
    prior[:, _POSE, _POSE] = candidates.covariance
    prior[:, _PLACE, _PLACE] = PLACE_STD**2 * torch.eye(2, dtype=torch.float64)
    prior[:, _DEPTH, _DEPTH] = DEPTH_STD**2
    rows = torch.zeros(count, OBSERVATIONS, LATENTS, dtype=torch.float64)
    rows[:, range(OBSERVATIONS), _SEEN_ROWS] = 1.0
    rows[:, 0::2, 51] = rows[:, 1::2, 52] = 1.0
    rows = rows * mask[..., None]
    rows[:, :, _DEPTH] = -offset  # further away than thought: the same rays span more
    cross = prior @ rows.transpose(1, 2)
    size = (offset**2).sum(1) / seen.sum(1)  # mean square, sizes^2
    total = rows @ cross + size[:, None, None] * noise + torch.diag_embed((1 - mask).expand(count, -1))
    return Observed(offset, cross, torch.linalg.cholesky(total), prior)


def condition(candidates: Candidates, observed: Observed) -> Plans:
    """Posterior of the latents and of the limb vectors, ready for products with innovations."""
    gain = torch.cholesky_solve(observed.cross.transpose(1, 2), observed.factor)  # (P, 28, 54)
    posterior = observed.prior - observed.cross @ gain
    limbs = _limb_rows()
    mean = torch.nn.functional.pad(candidates.mean, (0, LATENTS - 51))
    pose = posterior[:, _POSE, _POSE].unflatten(2, (JOINT_COUNT, 3)).unflatten(1, (JOINT_COUNT, 3))  # (P, 17, 3, 17, 3)
    own = torch.einsum("pjajb->pjab", pose)
    with_root = pose[:, :, :, 0]  # (P, 17, 3, 3)
    relative = own - with_root - with_root.transpose(2, 3) + own[:, :1]
    root = posterior[:, list(ROOT_LATENTS)][:, :, list(ROOT_LATENTS)]
    cross = limbs @ posterior
    arrays = (mean, observed.offset, gain, mean @ limbs.T, gain @ limbs.T, cross @ limbs.T, cross, relative, root)
    return Plans(*(np.ascontiguousarray(a.numpy(), np.float32) for a in arrays))


def _limb_rows() -> Tensor:
    """(24, 54): limb vectors from latents."""
    rows = torch.zeros(len(LIMB_JOINTS), 3, LATENTS, dtype=torch.float64)
    for k, joint in enumerate(LIMB_JOINTS):
        for axis in range(3):
            rows[k, axis, 3 * joint + axis] = 1.0
            rows[k, axis, 3 * JOINT_PARENTS[joint] + axis] = -1.0
    return rows.flatten(0, 1)
