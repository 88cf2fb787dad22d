# SPDX-License-Identifier: Apache-2.0
"""The multistage network (section 5, figure 1): image features, then stages that each predict,
lift, project and fuse belief maps.

Stage t sees the features F and the fused maps of stage t-1 and predicts belief maps b_t; the fusion
layer lifts them to 3D, projects the skeleton back to maps and returns f_t = w_t b_t + (1 - w_t)
b_hat_t (equation (8)), which the next stage sees instead of b_t.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lifting_ros.config import check
from lifting_ros.keypoints import network_paper, network_trunk


@dataclass(frozen=True)
class NetworkConfig:
    """Shape of the network; stored in the weights file, so that a file says what it holds."""

    variant: str = field(
        default="full",
        metadata={
            "description": "full or lite, on a pretrained trunk, or the paper's own",
            "choices": ("full", "lite", "paper"),
        },
    )
    input_px: int = field(
        default=256, metadata={"description": "side of the square crop", "unit": "px"}
    )
    stages: int = field(default=3, metadata={"description": "number of stages"})
    widths: tuple[int, ...] = field(
        default=(24, 48),
        metadata={
            "description": "channels of a stage at stride 4 and 8, or of the paper's layers at stride 1, 2, 4, 8"
        },
    )
    features: int = field(default=24, metadata={"description": "channels of the features F"})
    stride: int = field(
        default=4, metadata={"description": "input pixels a belief-map cell", "unit": "px"}
    )
    fusion: bool = field(
        default=True,
        metadata={
            "description": "whether the stages are fused with the prior; without, every w is 1"
        },
    )
    fusion_noise: float = field(
        default=0.02,
        metadata={
            "description": "standard deviation of a certain keypoint in the fusion, in units of the person's size"
        },
    )
    noise_scale: float = field(
        default=0.79,
        metadata={
            "description": "covariance of a keypoint over its belief's, both without the blur",
            "range": (0.0, 100.0),
        },
    )
    noise_blur: float = field(
        default=1.07,
        metadata={
            "description": "deviation of the Gaussians beliefs are taught as",
            "unit": "cells",
            "range": (0.0, 9.0),
        },
    )
    noise_floor: float = field(
        default=0.25,
        metadata={
            "description": "deviation of the surest keypoints",
            "unit": "cells",
            "range": (0.01, 10.0),
        },
    )


LITE = NetworkConfig(variant="lite", input_px=192)
"""The shape for small CPUs."""

PAPER = NetworkConfig(
    variant="paper", input_px=368, stages=6, widths=(64, 128, 256, 512), features=128, stride=8
)
"""The paper's own shape (its 29.85 M parameters, 88.4 GMAC a crop are tested)."""


class StageOutput(NamedTuple):
    """What one stage returns; maps are probabilities (N, J, h, w), but for the raw ones."""

    raw: Tensor
    """What the stage's last convolution gives: logits (on a trunk), or J+1 maps that peak at one
    (paper)."""
    belief: Tensor
    projected: Tensor | None
    fused: Tensor


class NetworkOutput(NamedTuple):
    """What the network gives of N crops."""

    stages: list[StageOutput]
    presence: Tensor | None
    """(N, J) logits of each keypoint being in the crop and in view, where the variant tells."""
    trunk: Tensor | None = None
    """(N, 17, h, w) the pretrained trunk's own maps of the person in the middle, in [0, 1], where
    there is one."""


class NoFusion(nn.Module):
    """f_t = b_t: the plain convolutional pose machine, and the first steps of a training, when
    there is nothing yet to lift."""

    def forward(self, belief: Tensor, stage: int) -> tuple[Tensor | None, Tensor]:
        return None, belief


class MultistageNetwork(nn.Module):
    """Features and S stages of belief maps, fused by `fusion` (a module called with (belief, stage)
    that returns (projected, fused), with the stages' `weights`). ConfigError for a variant that
    does not exist."""

    def __init__(self, config: NetworkConfig, fusion: nn.Module | None = None):
        super().__init__()
        check(
            next(f for f in fields(config) if f.name == "variant").metadata,
            "",
            config.variant,
            "network.variant",
        )
        self.config = config
        build = _paper if config.variant == "paper" else _on_trunk
        self.features, stages, presence, self.maps = build(config)
        self.stages, self.presence = nn.ModuleList(stages), presence
        self.fusion = fusion if fusion is not None else NoFusion()

    def forward(self, image: Tensor, stages: int | None = None) -> NetworkOutput:
        """image: (N, 3, input_px, input_px) in [0, 1] RGB; stages: how many to run, all by default."""
        features, code = self.features(image)
        outputs: list[StageOutput] = []
        previous = None
        for index, stage in enumerate(self.stages[:stages]):
            outputs.append(self._stage(index, stage, features, previous))
            raw, _, projected, fused = outputs[-1]
            weight = None if projected is None else self.fusion.weights[index]
            previous = self.maps.following(raw, fused, projected, weight)  # (N, J+1, h, w)
        if code is None:
            return NetworkOutput(outputs, None)
        return NetworkOutput(outputs, self.presence(code, outputs[-1].fused), code.own)

    def _stage(
        self, index: int, stage: nn.Module, features: Tensor, previous: Tensor | None
    ) -> StageOutput:
        raw = stage(features, previous).float()
        belief = self.maps.belief(raw)  # (N, J, h, w)
        with torch.autocast(raw.device.type, enabled=False):
            projected, fused = self.fusion(belief, index)
        return StageOutput(raw, belief, projected, fused)


def _on_trunk(config: NetworkConfig):
    """Features, stages, presence and the meaning of the maps."""
    features = network_trunk.Features(network_trunk.TRUNK_WIDTHS[config.variant], config.features)
    first = network_trunk.FirstStage(config.features)
    later = [
        network_trunk.RefinementStage(config.widths, config.features)
        for _ in range(config.stages - 1)
    ]
    presence = network_trunk.Presence(features.trunk.backbone.last.out_channels)
    return features, [first, *later], presence, network_trunk.SoftmaxMaps()


def _paper(config: NetworkConfig):
    """Features, stages, no presence, and the meaning of the maps."""
    features = network_paper.Features(config.widths, config.features)
    first = network_paper.FirstStage(config.widths, config.features)
    later = [
        network_paper.RefinementStage(config.features, config.input_px, config.stride)
        for _ in range(config.stages - 1)
    ]
    return features, [first, *later], None, network_paper.PeakMaps()
