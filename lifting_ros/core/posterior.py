# SPDX-License-Identifier: Apache-2.0
"""The algebra of the lifting, equation (5) as a posterior: evidence of every candidate in closed form, modes refined under perspective.

Shapes: n persons, Q candidates, M modes. Units: the person's size. Rays are normalised image coordinates.
"""
from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lifting_ros.core.candidates import Candidates
from lifting_ros.core.skeleton import JOINT_COUNT, KEYPOINT_TO_JOINT, LIMBS

PLACE_SPREAD = 1.5
"""Standard deviation of the place across the ray, sizes; wide against what 14 rays say."""
DEPTH_SPREAD = 0.35
"""Standard deviation of the depth over its first estimate; wide likewise."""
_X, _T, _W = slice(0, 51), slice(51, 54), slice(54, 57)
_STATE = 57


class Posterior(NamedTuple):
    """Refined modes, best or not, in the optical frame and in sizes."""

    joints: Tensor
    """(n, M, 17, 3) absolute."""
    relative_covariance: Tensor
    """(n, M, 17, 3, 3) of joints - root."""
    root_covariance: Tensor
    """(n, M, 3, 3)."""
    log_evidence: Tensor
    """(n, M) Laplace, prior weight included."""


def score_candidates(candidates: Candidates, rays: Tensor, noise: Tensor, visible: Tensor, prior_scale: float) -> tuple[Tensor, Tensor]:
    """Log-evidence (n, Q) of rays (n, 14, 2) with covariances noise (n, 14, 2, 2), pose and place integrated out; and depths (n, Q)."""
    mean = candidates.mean  # (Q, 14, 3)
    depth, centre = weak_perspective(mean, rays, visible)  # (n, Q), (n, Q, 2)
    place = torch.stack([centre[..., 0] * depth, centre[..., 1] * depth, depth], -1)  # (n, Q, 3)
    seen = (mean[None] + place[:, :, None]) * visible[:, None, :, None]  # (n, Q, 14, 3)
    residual = seen[..., :2] - rays[:, None] * seen[..., 2:]  # (n, Q, 14, 2): [I, -r] X
    covariance = _project_covariance(candidates.covariance * prior_scale**2, rays)  # (n, Q, 14, 2, 14, 2)
    spread = torch.stack([torch.full_like(depth, PLACE_SPREAD), DEPTH_SPREAD * depth], -1) ** 2
    covariance = covariance + _project_place(spread, rays)
    mask = visible.to(rays.dtype)
    covariance = covariance * mask[:, None, :, None, None, None] * mask[:, None, None, None, :, None]
    blocks = noise[:, None] * (depth**2)[:, :, None, None, None]  # (n, Q, 14, 2, 2)
    blocks = torch.where(visible[:, None, :, None, None], blocks, torch.eye(2, dtype=rays.dtype))
    index = torch.arange(14)
    covariance[:, :, index, :, index, :] += blocks.permute(2, 0, 1, 3, 4)
    log_density = _log_normal(residual.flatten(2), covariance.flatten(4, 5).flatten(2, 3))
    # a density of rays, not of offsets at each candidate's own depth
    return log_density + 2 * visible.sum(1, keepdim=True) * depth.log() + candidates.log_prior, depth


def weak_perspective(mean: Tensor, rays: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    """Depth (n, Q) and centre ray (n, Q, 2) at which mean poses (Q, 14, 3) look as large as the rays (n, 14, 2)."""
    weight = visible.to(rays.dtype) / visible.sum(1, keepdim=True).clamp_min(1)  # (n, 14)
    middle = torch.einsum("nj,nja->na", weight, rays)
    model_middle = torch.einsum("nj,qja->nqa", weight, mean)  # (n, Q, 3)
    spread = torch.einsum("nj,nja->n", weight, (rays - middle[:, None]) ** 2)
    flat = mean[None, :, :, :2] - model_middle[:, :, None, :2]  # (n, Q, 14, 2)
    model_spread = torch.einsum("nj,nqja->nq", weight, flat**2)
    match = torch.einsum("nj,nja,nqja->nq", weight, rays - middle[:, None], flat)
    # between the scale that fits the mean best and the one of equal spread: a bent person is small, not far
    scale = torch.maximum(match / model_spread.clamp_min(1e-12), 0.6 * (spread[:, None] / model_spread.clamp_min(1e-12)).sqrt())
    depth = (1 / scale.clamp_min(1e-12)).clamp(0.3, 1e3)
    return depth, middle[:, None] - model_middle[..., :2] / depth[..., None]


def _project_covariance(covariance: Tensor, rays: Tensor) -> Tensor:
    """[I, -r] C [I, -r]^T: (Q, 14, 3, 14, 3) seen along rays (n, 14, 2) -> (n, Q, 14, 2, 14, 2)."""
    left = covariance[None, :, :, :2] - rays[:, None, :, :, None, None] * covariance[None, :, :, 2:]  # (n, Q, 14, 2, 14, 3)
    return left[..., :2] - left[..., 2:] * rays[:, None, None, None]


def _project_place(spread: Tensor, rays: Tensor) -> Tensor:
    """Covariance that an unknown place adds; spread (n, Q, 2): variances across and along -> (n, Q, 14, 2, 14, 2)."""
    across, along = spread[..., 0], spread[..., 1]
    eye = torch.eye(2, dtype=rays.dtype)[None, None, None, :, None, :]
    outer = rays[:, :, :, None, None] * rays[:, None, None]  # (n, 14, 2, 14, 2)
    return across[..., None, None, None, None] * eye + along[..., None, None, None, None] * outer[:, None]


def _log_normal(residual: Tensor, covariance: Tensor) -> Tensor:
    """Log-density of residuals (..., d) under zero-mean Gaussians (..., d, d)."""
    factor, info = torch.linalg.cholesky_ex(covariance)
    white = torch.linalg.solve_triangular(factor, residual[..., None], upper=False)[..., 0]
    log_det = factor.diagonal(dim1=-2, dim2=-1).abs().clamp_min(1e-300).log().sum(-1)
    density = -0.5 * (white**2).sum(-1) - log_det
    return torch.where(info == 0, torch.nan_to_num(density, nan=-1e30, neginf=-1e30), -1e30)


def select_modes(candidates: Candidates, scores: Tensor, modes: int, apart: float = 0.6) -> Tensor:
    """Best candidates (n, M): greedy, each at least `apart` (radians of rotation) from those of its component already chosen."""
    scores = scores.clone()
    relative = torch.einsum("qab,rab->qr", candidates.rotation, candidates.rotation)
    near = (relative > 1 + 2 * torch.cos(torch.tensor(apart))) & (candidates.component[:, None] == candidates.component)
    chosen = []
    for _ in range(modes):
        best = scores.argmax(1)
        chosen.append(best)
        scores = scores.masked_fill(near[best], -torch.inf)
    return torch.stack(chosen, 1)


def refine(
    mean: Tensor, covariance: Tensor, rotation: Tensor, log_prior: Tensor, depth: Tensor, rays: Tensor, noise: Tensor,
    visible: Tensor, up: Tensor, up_spread: float, iterations: int, limbs: Tensor, limb_noise: Tensor,
) -> Posterior:  # fmt: skip
    """Iterated Kalman update of (pose, place, small rotation) from the rays of the visible keypoints, under true perspective.

    mean (n, M, 51), covariance (n, M, 51, 51) in model axes; rotation (n, M, 3, 3); depth (n, M) first estimate; up (3,). A linear model
    lets limbs grow and shrink; that people's do not is a second measurement: lengths `limbs` (16,) with deviations `limb_noise` (16,).
    """
    n, m = depth.shape
    shape = mean.unflatten(-1, (JOINT_COUNT, 3))
    middle = (rays * visible[..., None]).sum(1) / visible.sum(1, keepdim=True).clamp_min(1)  # (n, 2)
    observed = torch.einsum("nmab,nmjb->nmja", rotation, shape[:, :, list(KEYPOINT_TO_JOINT)])
    model_middle = (observed * visible[:, None, :, None]).sum(2) / visible.sum(1).clamp_min(1)[:, None, None]
    direction = torch.cat([middle, torch.ones_like(middle[:, :1])], 1)[:, None]  # (n, 1, 3)
    start = torch.cat([mean, direction * depth[..., None] - model_middle, torch.zeros_like(direction.expand(n, m, 3))], -1)
    prior = torch.zeros(n, m, _STATE, _STATE, dtype=mean.dtype)
    prior[..., _X, _X] = covariance
    prior[..., _T, _T] = _place_prior(direction, depth)
    prior[..., _W, _W] = up_spread**2 * torch.eye(3) + 0.4**2 * up[:, None] * up  # free about the vertical
    state, cross, factor, innovation = start, None, None, None
    for _ in range(iterations):
        predicted, jacobian = _observe(state, rotation)
        lengths, limb_jacobian = _limb_lengths(state)
        rows = torch.cat([_hide(jacobian, visible), limb_jacobian], 2)  # (n, M, 28 + 16, 57)
        missed = torch.cat([_hide(rays[:, None] - predicted, visible), limbs - lengths], 2)
        innovation = missed + (rows @ (state - start)[..., None])[..., 0]
        cross, factor = _gain(prior, rows, noise, visible, limb_noise)
        state = start + (cross @ torch.cholesky_solve(innovation[..., None], factor))[..., 0]
        state[..., 53] = torch.maximum(state[..., 53], 0.2 * start[..., 53])  # never behind the camera
    posterior = prior - cross @ torch.cholesky_solve(cross.transpose(-1, -2), factor)
    white = torch.linalg.solve_triangular(factor, innovation[..., None], upper=False)[..., 0]
    log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    evidence = log_prior - 0.5 * (white**2).sum(-1) - log_det
    return _to_joints(state, posterior, rotation, torch.nan_to_num(evidence, nan=-1e30, neginf=-1e30))


def _place_prior(direction: Tensor, depth: Tensor) -> Tensor:
    along = direction[..., :, None] * direction[..., None, :] * (DEPTH_SPREAD * depth)[..., None, None] ** 2
    return along + PLACE_SPREAD**2 * torch.diag(torch.tensor([1.0, 1.0, 1e-3], dtype=depth.dtype))


def _observe(state: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor]:
    """Rays (n, M, 14, 2) of the keypoints and their Jacobian (n, M, 14, 2, 57)."""
    turned, points = _pose(state, rotation)
    turned, points = turned[:, :, list(KEYPOINT_TO_JOINT)], points[:, :, list(KEYPOINT_TO_JOINT)]  # (n, M, 14, 3)
    z = points[..., 2:].clamp_min(0.05)
    rays = points[..., :2] / z
    zero = torch.zeros_like(z)
    d_ray = torch.stack([torch.cat([1 / z, zero, -rays[..., :1] / z], -1), torch.cat([zero, 1 / z, -rays[..., 1:] / z], -1)], -2)
    jacobian = torch.zeros(*rays.shape, _STATE, dtype=state.dtype)
    d_pose = torch.einsum("nmjar,nmrb->nmjab", d_ray, _exp(state[..., _W]) @ rotation)  # (n, M, 14, 2, 3)
    for k, joint in enumerate(KEYPOINT_TO_JOINT):
        jacobian[:, :, k, :, 3 * joint : 3 * joint + 3] = d_pose[:, :, k]
    jacobian[..., _T] = d_ray
    jacobian[..., _W] = d_ray @ -_skew(turned)
    return rays, jacobian


def _pose(state: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor]:
    """Joints turned into the optical frame about the pose's own origin, and put in place; (n, M, 17, 3) each."""
    shape = state[..., _X].unflatten(-1, (JOINT_COUNT, 3))
    turned = torch.einsum("nmab,nmjb->nmja", _exp(state[..., _W]) @ rotation, shape)
    return turned, turned + state[..., None, _T]


def _limb_lengths(state: Tensor) -> tuple[Tensor, Tensor]:
    """Limb lengths (n, M, 16) and their Jacobian (n, M, 16, 57)."""
    shape = state[..., _X].unflatten(-1, (JOINT_COUNT, 3))
    parents, children = zip(*LIMBS)
    limb = shape[:, :, list(children)] - shape[:, :, list(parents)]  # (n, M, 16, 3)
    length = limb.norm(dim=-1).clamp_min(1e-6)
    direction = limb / length[..., None]
    jacobian = torch.zeros(*length.shape, _STATE, dtype=state.dtype)
    for k, (parent, child) in enumerate(LIMBS):
        jacobian[:, :, k, 3 * child : 3 * child + 3] = direction[:, :, k]
        jacobian[:, :, k, 3 * parent : 3 * parent + 3] = -direction[:, :, k]
    return length, jacobian


def _hide(values: Tensor, visible: Tensor) -> Tensor:
    """Rows (n, M, 28, ...) of (n, M, 14, 2, ...), empty where a keypoint was not seen."""
    mask = visible.reshape(len(visible), 1, 14, *[1] * (values.dim() - 3))
    return (values * mask).flatten(2, 3)


def _gain(prior: Tensor, rows: Tensor, noise: Tensor, visible: Tensor, limb_noise: Tensor) -> tuple[Tensor, Tensor]:
    """P H^T (n, M, 57, 44) and the Cholesky factor of H P H^T + N."""
    cross = prior @ rows.transpose(-1, -2)
    full = torch.zeros(len(noise), 44, 44, dtype=prior.dtype)
    blocks = torch.where(visible[..., None, None], noise, torch.eye(2, dtype=prior.dtype))
    for k in range(14):
        full[:, 2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = blocks[:, k]
    full[:, 28:, 28:] = torch.diag(limb_noise**2)
    total = rows @ cross + full[:, None]
    total = 0.5 * (total + total.transpose(-1, -2))
    total = total + 1e-12 * torch.diag_embed(total.diagonal(dim1=-2, dim2=-1))
    return cross, torch.linalg.cholesky_ex(total)[0]


def _to_joints(state: Tensor, posterior: Tensor, rotation: Tensor, evidence: Tensor) -> Posterior:
    turned, joints = _pose(state, rotation)
    jacobian = torch.zeros(*joints.shape, _STATE, dtype=state.dtype)  # (n, M, 17, 3, 57)
    matrix = _exp(state[..., _W]) @ rotation
    for joint in range(JOINT_COUNT):
        jacobian[:, :, joint, :, 3 * joint : 3 * joint + 3] = matrix
    jacobian[..., _T] = torch.eye(3, dtype=state.dtype)
    jacobian[..., _W] = -_skew(turned)
    relative = jacobian - jacobian[:, :, :1]
    relative_covariance = torch.einsum("nmjas,nmst,nmjbt->nmjab", relative, posterior, relative)
    root_covariance = torch.einsum("nmas,nmst,nmbt->nmab", jacobian[:, :, 0], posterior, jacobian[:, :, 0])
    return Posterior(joints, relative_covariance, root_covariance, evidence)


def _skew(v: Tensor) -> Tensor:
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def _exp(w: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of rotation vectors (..., 3): Rodrigues' formula, exact down to no rotation."""
    square = (w * w).sum(-1, keepdim=True)[..., None]
    angle = square.clamp_min(1e-16).sqrt()
    skew = _skew(w)
    sine = torch.where(square < 1e-8, 1 - square / 6, angle.sin() / angle)
    cosine = torch.where(square < 1e-8, 0.5 - square / 24, (1 - angle.cos()) / square.clamp_min(1e-16))
    return torch.eye(3, dtype=w.dtype) + sine * skew + cosine * (skew @ skew)
