# SPDX-License-Identifier: Apache-2.0
"""The 3D layers inside a stage: what they project is a person, what they fuse is equation (8)."""

import numpy as np
import pytest
import torch
from people import make_poses, see, small_prior

from lifting_ros.keypoints import belief_maps
from lifting_ros.keypoints.fusion import PriorFusion

FUSION = PriorFusion(small_prior(), stages=2)


def cells(count: int = 12) -> torch.Tensor:
    """Keypoints (N, 14, 2) of stick figures in a grid of 32 x 32 cells."""
    _, keypoints = see(make_poses(count, seed=31))
    low, high = keypoints.min(1, keepdims=True), keypoints.max(1, keepdims=True)
    return torch.from_numpy(
        (keypoints - (low + high) / 2) / (high - low).max(-1, keepdims=True) * 25 + 15.5
    ).float()


def test_a_plausible_person_is_left_where_it_is():
    points = cells()
    projected = FUSION.project(points, torch.ones(points.shape[:2]))
    assert (projected - points).norm(dim=-1).mean() < 1.0


def test_a_keypoint_in_doubt_is_moved_towards_the_truth():
    points, confidence = cells(), torch.ones(12, 14)
    wrong, keypoint = points.clone(), 3
    wrong[:, keypoint] += torch.tensor([9.0, -7.0])
    confidence[:, keypoint] = 0.1
    before = (wrong - points)[:, keypoint].norm(dim=-1)
    after = (FUSION.project(wrong, confidence) - points)[:, keypoint].norm(dim=-1)
    assert (after < 0.6 * before).float().mean() > 0.8


def test_projection_turns_and_scales_with_the_crop():
    """A quarter turn of the crop is one of the sampled rolls; a scale changes only the unit."""
    points, confidence = cells(), torch.ones(12, 14)
    turn = torch.tensor([[0.0, -1], [1, 0]])
    expected = (FUSION.project(points, confidence) - 15.5) @ turn.T * 0.5
    torch.testing.assert_close(
        FUSION.project((points - 15.5) @ turn.T * 0.5, confidence), expected, atol=0.05, rtol=0
    )


@pytest.mark.parametrize("stage", [0, 1])
def test_fused_maps_are_the_weighted_sum(stage):
    belief = belief_maps.encode(cells(3), (32, 32))
    projected, fused = FUSION(belief, stage)
    w = FUSION.weights[stage]
    torch.testing.assert_close(fused, w * belief + (1 - w) * projected)
    assert (fused >= 0).all()


def test_gradients_reach_the_weight_and_the_belief():
    belief = belief_maps.encode(cells(3), (32, 32)).requires_grad_()
    _, fused = FUSION(belief, 0)
    (fused * torch.linspace(0, 1, fused.numel()).view_as(fused)).sum().backward()
    assert FUSION.weight_logit.grad[0] != 0 and FUSION.weight_logit.grad[1] == 0
    assert torch.isfinite(belief.grad).all() and belief.grad.abs().sum() > 0


def test_posterior_agrees_with_the_plain_formula():
    """Reference: Gaussian conditioning in float64 for the candidate that was chosen."""
    points, confidence = cells(1)[0].double().numpy(), np.linspace(0.2, 1, 14)
    observed = torch.from_numpy((points - points.mean(0)) / 10).float()[None]
    best = torch.tensor([5])
    ours = (
        FUSION._posterior(observed, torch.from_numpy(confidence).float()[None], best)[0]
        .detach()
        .numpy()
    )
    mean, cov = FUSION.mean[5].double().numpy().ravel(), FUSION.covariance[5].double().numpy()
    noise = np.diag(np.repeat(FUSION.noise**2 / confidence, 2))
    plain = mean + cov @ np.linalg.inv(cov + noise) @ (observed[0].double().numpy().ravel() - mean)
    np.testing.assert_allclose(ours.ravel(), plain, atol=2e-3)


def test_the_candidate_chosen_is_the_likeliest():
    """Reference: the Gaussian densities of all candidates in float64, keypoints in doubt taken
    towards each one's mean."""
    points, confidence = (
        cells(),
        torch.from_numpy(np.random.default_rng(0).uniform(0.1, 1, (12, 14))).float(),
    )
    weight = confidence / confidence.sum(1, keepdim=True)
    centred = points - (weight[..., None] * points).sum(1, keepdim=True)
    chosen, chosen_scale = FUSION._select(centred, confidence, weight)
    covariance = FUSION.covariance.double() + FUSION.noise**2 * torch.eye(28, dtype=torch.double)
    for n in range(len(points)):
        w, c, seen = weight[n].double(), centred[n].double(), confidence[n].double()
        mean = FUSION.mean.double() - (w[:, None] * FUSION.mean.double()).sum(
            1, keepdim=True
        )  # (Q, 14, 2)
        size = (w[:, None] * mean**2).sum((1, 2))
        scale = torch.maximum(
            (w[:, None] * c * mean).sum((1, 2)) / size,
            0.6 * ((w[:, None] * c**2).sum() / size).sqrt(),
        )
        residual = ((c / scale[:, None, None] - mean) * seen[:, None]).flatten(1)  # (Q, 28)
        distance = (residual * torch.linalg.solve(covariance, residual)).sum(1)
        prior = FUSION.offset.double() + torch.linalg.cholesky(covariance).diagonal(
            dim1=-2, dim2=-1
        ).log().sum(-1)
        density = (
            prior
            - 0.5 * distance
            - 0.5 * torch.linalg.slogdet(covariance)[1]
            - 2 * seen.sum() * scale.log()
        )
        assert density[chosen[n]] > density.max() - 1e-2
        torch.testing.assert_close(chosen_scale[n].double(), scale[chosen[n]], rtol=1e-4, atol=0)


def test_nothing_seen_gives_finite_maps():
    projected, fused = FUSION(torch.zeros(2, 14, 32, 32), 0)
    assert torch.isfinite(projected).all() and torch.isfinite(fused).all()
