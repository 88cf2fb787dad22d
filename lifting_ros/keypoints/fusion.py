# SPDX-License-Identifier: Apache-2.0
"""The 3D layers inside a stage: belief maps are decoded, lifted with the prior, projected and fused
(sections 5.3 to 5.5).

The camera is weak perspective, as in the paper. The pose of the crop's camera is unknown, so the
grid of rotations covers yaw and, because people lie, bend and hang upside down, roll. The unit of
length is the person's size. The lift is equation (5) in closed form: for a fixed rotation the
projected pose p = Pi R x is Gaussian, and so is its posterior given keypoints y = k p + t + noise.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lifting_ros.keypoints import belief_maps
from lifting_ros.keypoints.fusion_candidates import LEAST_SCALE, PRIOR_SCALE, projected_candidates
from lifting_ros.prior.ppca import MixturePPCA


class PriorFusion(nn.Module):
    """Lifts, projects and fuses, with one learned weight w_t per stage (equation (8)).

    The prior is not trained, and not saved with the weights.
    """

    mean: Tensor
    covariance: Tensor
    whiten: Tensor
    offset: Tensor
    """Buffers, as in `Candidates`."""

    def __init__(
        self,
        prior: MixturePPCA,
        stages: int,
        noise: float = 0.02,
        sigma: float = 1.5,
    ):
        """noise: standard deviation (std) of a certain keypoint, in units of the person's size;
        sigma: that of a projected belief, in cells."""
        super().__init__()
        self.weight_logit = nn.Parameter(torch.full((stages,), 2.2))  # w = 0.9
        self.noise = noise
        self.sigma = sigma
        candidates = projected_candidates(prior, PRIOR_SCALE, noise)
        for name, value in candidates._asdict().items():
            self.register_buffer(name, torch.from_numpy(value), persistent=False)

    @property
    def weights(self) -> Tensor:
        """w_t of every stage, (S,), in (0, 1)."""
        return self.weight_logit.sigmoid()

    def weight_of(self, stage: int) -> Tensor:
        """w_t of one stage, a scalar."""
        return self.weights[stage]

    def forward(self, belief: Tensor, stage: int) -> tuple[Tensor, Tensor]:
        """Projected maps b_hat and fused maps f, both (N, J, h, w), of belief maps (N, J, h, w)."""
        # Decode and lift
        points, mass = belief_maps.window_mean(belief)  # (N, J, 2) cells
        mass = mass.detach()
        lifted = self.project(points, mass)

        # Project and fuse
        height, width = belief.shape[-2:]
        projected = belief_maps.encode(lifted, (height, width), self.sigma)
        weight = self.weight_of(stage)
        fused = weight * belief + (1 - weight) * projected

        return projected, fused

    def project(self, points: Tensor, confidence: Tensor) -> Tensor:
        """Projection (N, J, 2) of the most probable skeleton, in the unit of `points`.

        points: keypoints (N, J, 2); confidence: (N, J).

        Equation (6): Y_hat = s Pi E R (mu + a e). Differentiable in `points`; the choice of the
        candidate is not.
        """
        weight = confidence / confidence.sum(1, keepdim=True).clamp_min(1e-6)
        middle = (weight[..., None] * points.detach()).sum(1, keepdim=True)
        centred = points - middle

        with torch.no_grad():
            best, scale = self._select(centred, confidence, weight)

        # Refine the scale twice; the second time with the scale of the first skeleton
        scale = scale[:, None, None]
        for _ in range(2):
            scaled = centred / scale
            pose = self._posterior(scaled, confidence, best)
            factor = _matching_scale(pose.detach(), scaled.detach(), weight)
            scale = scale * factor[:, None, None]

        pose = self._posterior(centred / scale, confidence, best)
        return pose * scale + middle

    def _select(self, centred: Tensor, confidence: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Most probable candidate (N,), and its scale (N,).

        An uncertain keypoint is moved towards the place where the candidate's mean has it.
        """
        # Least-squares scale of every candidate
        mean_middle = torch.einsum("nj,qja->nqa", weight, self.mean)
        mean = self.mean[None] - mean_middle[:, :, None]  # (N, Q, J, 2)
        match = torch.einsum("nj,nja,nqja->nq", weight, centred, mean)
        size = torch.einsum("nj,nqja->nq", weight, mean**2)
        size = size.clamp_min(1e-6)

        # No less than what the extent of the keypoints asks for
        squares = weight[..., None] * centred**2
        extent = squares.sum((1, 2))
        least = LEAST_SCALE * (extent[:, None] / size).sqrt()
        scale = torch.maximum(match / size, least)
        scale = scale.clamp_min(1e-3)  # (N, Q)

        # Log-likelihood of every candidate
        scaled = centred[:, None] / scale[..., None, None]
        residual = (scaled - mean) * confidence[:, None, :, None]
        white = torch.einsum("qde,nqe->nqd", self.whiten, residual.flatten(2))
        distance = (white**2).sum(-1)
        seen = confidence.sum(1, keepdim=True)
        scale_cost = 2 * seen * scale.log()
        score = self.offset - 0.5 * distance - scale_cost

        best = score.argmax(1)
        best_scale = scale.gather(1, best[:, None])
        return best, best_scale[:, 0]

    def _posterior(self, observed: Tensor, confidence: Tensor, best: Tensor) -> Tensor:
        """Posterior mean (N, J, 2) of the projected pose of candidates `best` (N,).

        observed: (N, J, 2); confidence: (N, J), proportional to the precision of a keypoint.
        """
        mean = self.mean[best]  # (N, J, 2)
        covariance = self.covariance[best]  # (N, 28, 28)
        noise = self.noise**2 / confidence.clamp_min(1e-2)
        noise = noise.repeat_interleave(2, 1)  # (N, 28)
        total = covariance + torch.diag_embed(noise)

        # Positive definite; a check would stall a GPU
        residual = (observed - mean).flatten(1)
        gain, _ = torch.linalg.solve_ex(total, residual[..., None])
        moved = covariance @ gain  # (N, 28, 1)
        return mean + moved[..., 0].view_as(mean)


def _matching_scale(pose: Tensor, observed: Tensor, weight: Tensor) -> Tensor:
    """Least-squares scale (N,) of `pose` (N, J, 2) onto `observed` (N, J, 2), near one."""
    w = weight[..., None]
    pose_middle = (w * pose).sum(1, keepdim=True)
    observed_middle = (w * observed).sum(1, keepdim=True)
    p = pose - pose_middle
    o = observed - observed_middle

    numerator = (w * p * o).sum((1, 2))
    denominator = (w * p * p).sum((1, 2))
    scale = numerator / denominator.clamp_min(1e-9)
    return scale.clamp(0.7, 1.4)
