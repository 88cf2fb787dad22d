# SPDX-License-Identifier: Apache-2.0
"""The multistage network (section 5, figure 1): image features, then stages that each predict,
lift, project and fuse belief maps.

Stage t sees the features F and the fused maps of stage t-1, and predicts belief maps b_t. The
fusion layer lifts them to 3D, projects the skeleton back to maps b_hat_t and returns
f_t = w_t b_t + (1 - w_t) b_hat_t (equation (8)), which the next stage sees instead of b_t.
"""

from __future__ import annotations

from dataclasses import fields
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from lifting_ros.config import check
from lifting_ros.keypoints import network_paper, network_trunk
from lifting_ros.keypoints.network_config import LITE as LITE
from lifting_ros.keypoints.network_config import PAPER as PAPER
from lifting_ros.keypoints.network_config import NetworkConfig as NetworkConfig


class StageOutput(NamedTuple):
    """Output of one stage; all maps but `raw` are probabilities (N, J, h, w)."""

    raw: Tensor
    """Output of the stage's last convolution: logits (on a trunk), or J+1 maps that peak at one
    (paper)."""
    belief: Tensor
    projected: Tensor | None
    """None without fusion."""
    fused: Tensor


class NetworkOutput(NamedTuple):
    """Output for N crops."""

    stages: list[StageOutput]
    presence: Tensor | None
    """(N, J) logits of each keypoint being in the crop and in view; None where the variant has
    none."""
    trunk: Tensor | None = None
    """(N, 17, h, w) the pretrained trunk's own maps of the person in the middle, in [0, 1]; None
    without a trunk."""
    highest: Tensor | None = None
    """(N, 17) the largest value of each of the trunk's maps of all persons; None without a
    trunk."""
    deep: Tensor | None = None
    """(N, c) the trunk's last layer, averaged over the crop; None without a trunk."""
    last_layer: Tensor | None = None
    """(N, c, h/8, w/8) the same layer."""


class NoFusion(nn.Module):
    """f_t = b_t: a plain convolutional pose machine. Training starts with it too, before there is
    anything to lift."""

    def forward(self, belief: Tensor, stage: int) -> tuple[None, Tensor]:
        return None, belief

    def weight_of(self, stage: int) -> None:
        """No weight, as there is nothing to weigh."""


class Fusion(Protocol):
    """The layers between two stages: `NoFusion`, or `fusion.PriorFusion`."""

    def __call__(self, belief: Tensor, stage: int) -> tuple[Tensor | None, Tensor]:
        """Projected maps, None where nothing is lifted, and fused maps, both (N, J, h, w)."""

    def weight_of(self, stage: int) -> Tensor | None:
        """w_t of a stage, a scalar; None where nothing is lifted."""


class MapMeaning(Protocol):
    """What a stage's raw maps mean."""

    def belief(self, raw: Tensor) -> Tensor:
        """Probabilities (N, J, h, w) of raw maps."""

    def following(
        self, raw: Tensor, fused: Tensor, projected: Tensor | None, weight: Tensor | None
    ) -> Tensor:
        """The maps (N, J+1, h, w) that the next stage sees: keypoints and background."""


class _Parts(NamedTuple):
    """Parts of a variant."""

    features: nn.Module
    stages: list[nn.Module]
    presence: nn.Module | None
    maps: MapMeaning


class MultistageNetwork(nn.Module):
    """Features and S stages of belief maps, fused with the prior."""

    fusion: Fusion
    presence: nn.Module | None

    def __init__(self, config: NetworkConfig, fusion: Fusion | None = None):
        """fusion: a module, None: no fusion. ConfigError for a variant that does not exist."""
        super().__init__()
        _check_variant(config)
        self.config = config

        build = _build_paper if config.variant == "paper" else _build_on_trunk
        parts = build(config)
        self.features = parts.features
        self.maps = parts.maps
        self.stages = nn.ModuleList(parts.stages)
        self.presence = parts.presence
        self.fusion = fusion if fusion is not None else NoFusion()

    def forward(self, image: Tensor, stages: int | None = None) -> NetworkOutput:
        """image: (N, 3, input_px, input_px) in [0, 1] RGB; stages: how many to run, None: all."""
        features, code = self.features(image)
        outputs: list[StageOutput] = []
        previous = None
        for index, stage in enumerate(self.stages[:stages]):
            output = self._stage(index, stage, features, previous)
            outputs.append(output)

            # What the next stage sees
            previous = self.maps.following(
                output.raw,
                output.fused,
                output.projected,
                self.fusion.weight_of(index),
            )

        # Which keypoints are in view
        if code is None or self.presence is None:
            return NetworkOutput(outputs, presence=None)

        presence = self.presence(code, outputs[-1].fused)
        highest = code.heat.flatten(2).amax(-1)
        return NetworkOutput(outputs, presence, code.own, highest, code.deep, code.last_layer)

    def _stage(
        self, index: int, stage: nn.Module, features: Tensor, previous: Tensor | None
    ) -> StageOutput:
        """Predict belief maps, lift, project and fuse them."""
        raw = stage(features, previous)
        raw = raw.float()
        belief = self.maps.belief(raw)  # (N, J, h, w)

        device_type = raw.device.type
        with torch.autocast(device_type, enabled=False):
            projected, fused = self.fusion(belief, index)

        return StageOutput(raw, belief, projected, fused)


def _check_variant(config: NetworkConfig) -> None:
    by_name = {field.name: field for field in fields(config)}
    check(
        by_name["variant"].metadata,
        default="",
        value=config.variant,
        name="network.variant",
    )


def _build_on_trunk(config: NetworkConfig) -> _Parts:
    trunk_width = network_trunk.TRUNK_WIDTHS[config.variant]
    features = network_trunk.Features(trunk_width, config.features)

    stages: list[nn.Module] = []
    stages.append(network_trunk.FirstStage(config.features))
    for _ in range(config.stages - 1):
        stage = network_trunk.RefinementStage(config.widths, config.features)
        stages.append(stage)

    deep = features.trunk.backbone.last.out_channels
    return _Parts(
        features=features,
        stages=stages,
        presence=network_trunk.Presence(deep),
        maps=network_trunk.SoftmaxMaps(),
    )


def _build_paper(config: NetworkConfig) -> _Parts:
    features = network_paper.Features(config.widths, config.features)

    stages: list[nn.Module] = []
    stages.append(network_paper.FirstStage(config.widths, config.features))
    for _ in range(config.stages - 1):
        stage = network_paper.RefinementStage(
            config.features,
            config.input_px,
            config.stride,
        )
        stages.append(stage)

    return _Parts(
        features=features,
        stages=stages,
        presence=None,
        maps=network_paper.PeakMaps(),
    )
