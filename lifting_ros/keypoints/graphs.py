# SPDX-License-Identifier: Apache-2.0
"""Networks cut into graphs that other runtimes can run.

The fusion stays outside, between the graphs (`compiled_fusion`): it solves linear systems, for
which ONNX has no operator.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lifting_ros.config import ConfigError
from lifting_ros.keypoints.graph_runner import OPENING, PRESENCE, stage_name
from lifting_ros.keypoints.inference import folded
from lifting_ros.keypoints.network import MultistageNetwork
from lifting_ros.keypoints.network_trunk import TRUNK_WIDTHS, Code, SoftmaxMaps
from lifting_ros.keypoints.network_weights import load_without_fusion


class GraphSource(NamedTuple):
    """A module to convert."""

    module: nn.Module
    example: tuple[Tensor, ...]
    """Inputs to trace it with."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    """Their names."""
    free_axes: tuple[int, ...]
    """Axes of all inputs whose length is free: that of the batch, or height and width."""


class Opening(nn.Module):
    """Trunk, features and first stage."""

    def __init__(self, network: MultistageNetwork):
        super().__init__()
        self.features = network.features
        self.stage = network.stages[0]

    def forward(self, crops: Tensor) -> tuple[Tensor | None, ...]:
        """crops: (N, S, S, 3) uint8 RGB. Returns logits (N, J, h, w) of the first stage, features
        (N, c, h, w), and `deep`, `heat` and `last_layer` of a `Code`."""
        images = planes(crops)
        features, code = self.features(images)
        logits = self.stage(features, None)
        return logits, features, code.deep, code.heat, code.last_layer


class Refinement(nn.Module):
    """A later stage."""

    def __init__(self, network: MultistageNetwork, index: int):
        super().__init__()
        self.stage = network.stages[index]

    def forward(self, features: Tensor, fused: Tensor) -> Tensor:
        """Logits (N, J, h, w), from the features and the fused maps (N, J, h, w) of the stage
        before."""
        previous = SoftmaxMaps.following(fused, fused, None, None)
        return self.stage(features, previous)


class PresenceOf(nn.Module):
    """Which keypoints are in view."""

    def __init__(self, presence: nn.Module):
        super().__init__()
        self.presence = presence

    def forward(self, deep: Tensor, heat: Tensor, fused: Tensor) -> Tensor:
        """Logits (N, J), from the outputs of `Opening` and the last stage's fused maps."""
        code = Code(deep, heat, heat)
        return self.presence(code, fused)


class PersonMapsOf(nn.Module):
    """The person detector."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """image: (1, H, W, 3) uint8 RGB. Returns `PersonMaps`."""
        images = planes(image)
        maps = self.network(images)
        return maps.centre, maps.size, maps.offset


def planes(images: Tensor) -> Tensor:
    """Images (N, H, W, 3) uint8 as (N, 3, H, W) float in [0, 1]."""
    return images.permute(0, 3, 1, 2).float() / 255


def network_graphs(path: Path) -> dict[str, GraphSource]:
    """The keypoint network of a weights file, by name of the graph; CheckpointError where it
    cannot be loaded.

    ConfigError for a network that is not on a trunk.
    """
    network = folded(load_without_fusion(path))
    variant = network.config.variant
    presence = network.presence
    if variant not in TRUNK_WIDTHS or presence is None:
        raise ConfigError(
            f"{path}: the network {variant} cannot be cut into graphs; expected one of "
            f"{', '.join(TRUNK_WIDTHS)}"
        )

    side = network.config.input_px
    crops = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    opening = Opening(network)
    with torch.inference_mode():
        logits, features, deep, heat, _ = opening(crops)

    sources = {
        OPENING: GraphSource(
            opening,
            (crops,),
            ("crops",),
            ("logits", "features", "deep", "heat", "last_layer"),
            (0,),
        ),
        PRESENCE: GraphSource(
            PresenceOf(presence),
            (deep, heat, logits),
            ("deep", "heat", "fused"),
            ("presence",),
            (0,),
        ),
    }
    for index in range(1, len(network.stages)):
        sources[stage_name(index + 1)] = GraphSource(
            Refinement(network, index), (features, logits), ("features", "fused"), ("logits",), (0,)
        )

    return sources


def detector_graphs(path: Path) -> dict[str, GraphSource]:
    """The person detector of a weights file; CheckpointError where it cannot be loaded."""
    from lifting_ros.detection.multipose_detector import load_multipose

    image = torch.zeros(1, 64, 96, 3, dtype=torch.uint8)
    module = PersonMapsOf(load_multipose(path))
    return {
        "detector": GraphSource(module, (image,), ("image",), ("centre", "size", "offset"), (1, 2))
    }


SOURCES = {"network": network_graphs, "detector": detector_graphs}
"""Functions from a weights file to its graphs, by what the file holds."""
