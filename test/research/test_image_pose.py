# SPDX-License-Identifier: Apache-2.0
"""The network from image to 3D: what its head reads, and what it answers."""

import numpy as np
import pytest
import torch
from small_networks import LITE, small_network

from lifting_ros.research.training.image_pose import (
    ImagePose,
    ImagePoseConfig,
    ImagePoseHead,
    ImagePoseNetwork,
)
from lifting_ros.skeleton import JOINT_COUNT

pytestmark = pytest.mark.usefixtures("narrow_trunk")
HEAD = ImagePoseConfig(widths=(8, 8), hidden=16, dropout=0.0)


def lively(head: ImagePoseHead) -> ImagePoseHead:
    """The head as if it had learnt something: it begins with limbs of almost no length."""
    torch.nn.init.normal_(head.out[-1].weight)
    return head.eval()


@pytest.mark.parametrize("part", [0, 1])
def test_the_head_reads_the_features_and_the_last_layer(part):
    head = lively(ImagePoseHead(HEAD, features=8, side=16, deep=12))
    inputs = [torch.rand(1, 8, 16, 16), torch.rand(1, 12)]
    before = head(*inputs)
    inputs[part] = torch.rand_like(inputs[part])
    after = head(*inputs)
    assert before.shape == (1, JOINT_COUNT, 3)
    assert (before - after).abs().max() > 1e-3


def test_the_network_gives_metres_about_the_root():
    network = ImagePoseNetwork(small_network(LITE), HEAD)
    lively(network.head)
    crops = torch.rand(3, 3, 64, 64)
    small, large = (ImagePose(network, size_m).estimate(crops) for size_m in (1.0, 2.0))
    assert small.shape == (3, JOINT_COUNT, 3) and (small[:, 0] == 0).all()
    np.testing.assert_allclose(large, 2 * small)
    assert np.abs(small[0] - small[1]).max() > 1e-3


def test_only_the_head_is_trained():
    network = ImagePoseNetwork(small_network(LITE), HEAD).train()
    network(torch.rand(2, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is None for p in network.trunk.parameters())
    assert all(p.grad is not None for p in network.head.parameters())
    assert not any(module.training for module in network.trunk.modules())
