# SPDX-License-Identifier: Apache-2.0
"""Networks of a few channels on a narrow trunk of random weights, quick enough for tests."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor, nn

from lifting_ros.keypoints import network_trunk
from lifting_ros.keypoints.network import MultistageNetwork, NetworkConfig
from lifting_ros.keypoints.network_weights import build_network
from lifting_ros.keypoints.trunk import Trunk

TRUNK_WIDTH = 0.25
"""Width multiplier of the trunk in tests."""

LITE = NetworkConfig(variant="lite", input_px=64, stages=2, widths=(8, 16), features=8)
PAPER = NetworkConfig(
    variant="paper", input_px=64, stages=3, widths=(4, 4, 8, 8), features=8, stride=8
)


def narrow_trunk(monkeypatch) -> None:
    """Networks of the variant `lite` have a trunk of TRUNK_WIDTH until the end of the test."""
    monkeypatch.setitem(network_trunk.TRUNK_WIDTHS, "lite", TRUNK_WIDTH)


def crops(count: int) -> np.ndarray:
    """Crops (count, 64, 64, 3) uint8 of noise."""
    return np.random.default_rng(3).integers(0, 256, (count, 64, 64, 3), np.uint8)


def small_network(config: NetworkConfig, prior=None) -> MultistageNetwork:
    """A network whose trunk, if it has one, answers each image differently."""
    network = build_network(config, prior)
    if config.variant != "paper":
        liven(network.features.trunk)
    return network


@functools.cache
def trunk_weights() -> dict[str, Tensor]:
    """Weights of a narrow trunk that answers each image differently; do not change them."""
    torch.manual_seed(0)
    return liven(Trunk(TRUNK_WIDTH)).state_dict()


def liven(trunk: Trunk) -> Trunk:
    """The trunk with random weights that keep the size of what goes through: torch's own let it
    fade."""
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return trunk
