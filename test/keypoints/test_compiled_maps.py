# SPDX-License-Identifier: Apache-2.0
"""Compiled decoding and fusion say what their versions in torch say."""

import numpy as np
import pytest
import torch
from people import make_poses, see, small_prior

from lifting_ros.keypoints import belief_maps, compiled_maps
from lifting_ros.keypoints.compiled_fusion import CompiledFusion
from lifting_ros.keypoints.network_config import NetworkConfig
from lifting_ros.keypoints.network_weights import fusion_of

CONFIG = NetworkConfig(variant="lite", input_px=128, stages=2)
"""Belief maps have 32 x 32 cells."""


def sharp_maps(count: int) -> torch.Tensor:
    """Beliefs (N, 14, 32, 32) of people, of several widths, some keypoints near the border or
    beyond it."""
    _, keypoints = see(make_poses(count, seed=31))
    low, high = keypoints.min(1, keepdims=True), keypoints.max(1, keepdims=True)
    cells = (keypoints - (low + high) / 2) / (high - low).max(-1, keepdims=True) * 33 + 15.5
    sigma = torch.linspace(0.5, 3, 14)[:, None]
    return belief_maps.encode(torch.from_numpy(cells).float(), (32, 32), 1.2) * 0.7 + (
        belief_maps.encode(torch.from_numpy(cells).float() + sigma, (32, 32), 2.5) * 0.3
    )


def rough_maps(count: int) -> torch.Tensor:
    """Beliefs (N, 14, 32, 32) with several peaks each, as of a network that is not sure."""
    logits = torch.nn.functional.interpolate(5 * torch.randn(count, 14, 8, 8), (32, 32))
    logits += torch.randn(count, 14, 32, 32)
    return logits.flatten(2).softmax(-1).view_as(logits)


@pytest.mark.parametrize("make", [sharp_maps, rough_maps])
def test_keypoints_are_those_of_torch(make):
    maps = make(6)
    logits = torch.randn(6, 14)
    expected = belief_maps.keypoints(maps, logits, CONFIG)
    presence = logits.sigmoid().double().numpy()
    points, confidence, covariance = compiled_maps.keypoints(maps.numpy(), presence, CONFIG)

    np.testing.assert_allclose(points, expected[0].numpy(), atol=0.01)
    np.testing.assert_allclose(confidence, expected[1].numpy(), atol=1e-5)
    np.testing.assert_allclose(covariance, expected[2].numpy(), rtol=1e-3, atol=1e-2)


def test_maps_of_nothing_have_finite_keypoints():
    maps = np.zeros((1, 14, 32, 32), np.float32)
    points, confidence, covariance = compiled_maps.keypoints(maps, np.ones((1, 14)), CONFIG)
    assert np.isfinite(points).all() and np.isfinite(covariance).all()
    assert (confidence == 0).all()


def test_beliefs_are_those_of_torch():
    logits = 20 * torch.randn(2, 14, 32, 32)
    belief = compiled_maps.softmax(logits.numpy())
    expected = logits.flatten(2).softmax(-1).view_as(logits)
    np.testing.assert_allclose(belief, expected.numpy(), rtol=1e-4, atol=1e-9)
    assert belief.dtype == np.float32


@pytest.mark.parametrize("make", [sharp_maps, rough_maps])
@pytest.mark.parametrize("stage", [0, 1])
def test_fused_maps_are_those_of_torch(make, stage):
    """In float64: the linear systems multiply roundings where a pose is implausible."""
    belief = make(6)
    reference = fusion_of(CONFIG, small_prior()).double()
    with torch.no_grad():
        reference.weight_logit[:] = torch.tensor([0.3, -0.5])
        _, expected = reference(belief.double(), stage)

    fusion = CompiledFusion(CONFIG, small_prior(), reference.weights.tolist())
    fused = fusion(belief.numpy(), stage)
    assert fused.dtype == np.float32
    np.testing.assert_allclose(fused, expected.numpy(), atol=1e-5)
