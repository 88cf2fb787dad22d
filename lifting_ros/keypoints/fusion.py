# SPDX-License-Identifier: Apache-2.0
"""The 3D layers inside a stage: belief maps are decoded, lifted with the prior, projected and fused
(sections 5.3 to 5.5).

Weak perspective, as in the paper. The crop's camera is not known, so the grid of rotations covers
yaw and, since people lie, bend and hang upside down, roll. Units inside: the person's size. The
lift is equation (5) in closed form: for a fixed rotation the projected pose p = Pi R x is Gaussian,
and keypoints y = k p + t + noise give its posterior by linear algebra alone.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from lifting_ros.geometry.rotations import rotation_about_vertical, up_to_camera
from lifting_ros.keypoints import belief_maps
from lifting_ros.prior.ppca import MixturePPCA
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT, KEYPOINT_TO_JOINT

YAWS, ROLLS = 20, 8
_PLACE = 10.0  # variance of the translation: free, and small enough for float32


def _rotations() -> np.ndarray:
    roll = np.arange(ROLLS) * 2 * np.pi / ROLLS
    up = np.stack([np.sin(roll), -np.cos(roll), np.zeros(ROLLS)], -1)
    yaw = rotation_about_vertical(np.arange(YAWS) * 2 * np.pi / YAWS)
    return np.stack([up_to_camera(u) @ r for u in up for r in yaw])


class PriorFusion(nn.Module):
    """Lift, project and fuse; one learned weight w_t a stage (equation (8)). The prior is not
    trained and not saved with the weights."""

    def __init__(
        self,
        prior: MixturePPCA,
        stages: int,
        noise: float = 0.02,
        sigma: float = 1.5,
        prior_scale: float = 1.5,
    ):
        super().__init__()
        self.weight_logit = nn.Parameter(torch.full((stages,), 2.2))  # w = 0.9
        self.noise, self.sigma = noise, sigma
        mean, covariance, score = _projected_candidates(prior, prior_scale, noise)
        for name, value in (
            ("mean", mean),
            ("covariance", covariance),
            ("whiten", score[0]),
            ("offset", score[1]),
        ):
            self.register_buffer(name, value, persistent=False)

    @property
    def weights(self) -> Tensor:
        """w_t of every stage, (S,), in (0, 1)."""
        return self.weight_logit.sigmoid()

    def forward(self, belief: Tensor, stage: int) -> tuple[Tensor, Tensor]:
        """belief (N, J, h, w) probabilities -> projected maps b_hat and fused maps f, both (N, J,
        h, w)."""
        points, mass = belief_maps.window_mean(belief)  # (N, J, 2) cells
        projected = belief_maps.encode(
            self.project(points, mass.detach()), belief.shape[-2:], self.sigma
        )
        weight = self.weights[stage]
        return projected, weight * belief + (1 - weight) * projected

    def project(self, points: Tensor, confidence: Tensor) -> Tensor:
        """Keypoints (N, J, 2) with confidences (N, J) to the keypoints of the most probable
        skeleton, (N, J, 2) in the same unit.

        Equation (6): Y_hat = s Pi E R (mu + a e). Differentiable in `points`; the choice of the
        candidate is not.
        """
        weight = confidence / confidence.sum(1, keepdim=True).clamp_min(1e-6)
        middle = (weight[..., None] * points.detach()).sum(1, keepdim=True)
        centred = points - middle
        with torch.no_grad():
            best, scale = self._select(centred, confidence, weight)
        for _ in range(2):  # the second time with the scale that the first skeleton asks for
            pose = self._posterior(centred / scale[:, None, None], confidence, best)
            scale = scale * _matching_scale(
                pose.detach(), (centred / scale[:, None, None]).detach(), weight
            )
        return (
            self._posterior(centred / scale[:, None, None], confidence, best) * scale[:, None, None]
            + middle
        )

    def _select(self, centred: Tensor, confidence: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Best candidate (N,) and its scale (N,): keypoints in doubt count as lying where the
        candidate's mean has them."""
        mean_middle = torch.einsum("nj,qja->nqa", weight, self.mean)
        mean = self.mean[None] - mean_middle[:, :, None]  # (N, Q, J, 2)
        match = torch.einsum("nj,nja,nqja->nq", weight, centred, mean)
        size = torch.einsum("nj,nqja->nq", weight, mean**2).clamp_min(1e-6)
        least = 0.6 * ((weight[..., None] * centred**2).sum((1, 2))[:, None] / size).sqrt()
        scale = torch.maximum(match / size, least).clamp_min(1e-3)  # (N, Q)
        residual = (centred[:, None] / scale[..., None, None] - mean) * confidence[:, None, :, None]
        white = torch.einsum("qde,nqe->nqd", self.whiten, residual.flatten(2))
        score = (
            self.offset
            - 0.5 * (white**2).sum(-1)
            - 2 * confidence.sum(1, keepdim=True) * scale.log()
        )
        best = score.argmax(1)
        return best, scale.gather(1, best[:, None])[:, 0]

    def _posterior(self, observed: Tensor, confidence: Tensor, best: Tensor) -> Tensor:
        """Posterior mean (N, J, 2) of the projected pose of candidate `best`, confidence as
        precision."""
        mean, covariance = self.mean[best], self.covariance[best]  # (N, J, 2), (N, 28, 28)
        noise = self.noise**2 / confidence.clamp_min(1e-2)
        total = covariance + torch.diag_embed(noise.repeat_interleave(2, 1))
        gain, _ = torch.linalg.solve_ex(
            total, (observed - mean).flatten(1)[..., None]
        )  # positive definite; a check would stall a GPU
        return mean + (covariance @ gain)[..., 0].view_as(mean)


def _matching_scale(pose: Tensor, observed: Tensor, weight: Tensor) -> Tensor:
    """Least-squares scale (N,) of `pose` onto `observed`, near one."""
    p = pose - (weight[..., None] * pose).sum(1, keepdim=True)
    o = observed - (weight[..., None] * observed).sum(1, keepdim=True)
    return (
        (weight[..., None] * p * o).sum((1, 2))
        / (weight[..., None] * p * p).sum((1, 2)).clamp_min(1e-9)
    ).clamp(0.7, 1.4)


def _projected_candidates(prior: MixturePPCA, prior_scale: float, noise: float):
    """Mean (Q, J, 2) and covariance (Q, 28, 28) of the projected poses, and what scores them:
    whitening (Q, 28, 28) and offset (Q,).

    Q: every component of the prior in every sampled rotation.
    """
    rotations, observed = _rotations(), list(KEYPOINT_TO_JOINT)
    components, turns, size = len(prior.weights_), len(rotations), 2 * KEYPOINT_COUNT
    across = rotations[:, :2]  # Pi E R
    pose = prior.covariances().reshape(components, JOINT_COUNT, 3, JOINT_COUNT, 3)[:, observed][
        :, :, :, observed
    ]
    mean = torch.from_numpy(
        np.einsum("mab,cjb->cmja", across, prior.means_[:, observed]).reshape(-1, KEYPOINT_COUNT, 2)
    )
    spread = np.einsum("mab,cjbkd,med->cmjake", across, pose, across, optimize=True).reshape(
        -1, size, size
    )
    place = _PLACE * torch.eye(2, dtype=mean.dtype).repeat(KEYPOINT_COUNT, KEYPOINT_COUNT)
    covariance = prior_scale**2 * torch.from_numpy(spread) + place
    factor = torch.linalg.cholesky(covariance + noise**2 * torch.eye(size, dtype=mean.dtype))
    log_prior = torch.from_numpy(np.repeat(np.log(prior.weights_ / turns), turns))
    offset = log_prior - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    whiten = torch.linalg.solve_triangular(
        factor, torch.eye(size, dtype=mean.dtype).expand_as(factor), upper=False
    )
    return mean.float(), covariance.float(), (whiten.float(), offset.float())
