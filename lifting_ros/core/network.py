# SPDX-License-Identifier: Apache-2.0
"""The multistage network (section 5, figure 1): image features, then stages that each predict, lift, project and fuse belief maps.

Stage t sees the features F and the fused maps of stage t-1 and predicts belief maps b_t; the fusion layer lifts them to 3D, projects the
skeleton back to maps and returns f_t = w_t b_t + (1 - w_t) b_hat_t (equation (8)), which the next stage sees instead of b_t.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lifting_ros.core import belief_maps
from lifting_ros.core.skeleton import KEYPOINT_COUNT


@dataclass(frozen=True)
class NetworkConfig:
    """Shape of the network; stored in the weights file, so that a file says what it holds."""

    variant: str = field(default="lite", metadata={"description": "architecture"})
    input_px: int = field(default=128, metadata={"description": "side of the square crop", "unit": "px"})
    stages: int = field(default=3, metadata={"description": "number of stages"})
    widths: tuple[int, int, int] = field(default=(64, 128, 256), metadata={"description": "channels at stride 4, 8, 16"})
    features: int = field(default=64, metadata={"description": "channels of the features F"})
    stride: int = field(default=4, metadata={"description": "input pixels a belief-map cell", "unit": "px"})
    log_noise_px: float = field(
        default=3.73, metadata={"description": "ln of a keypoint's standard deviation at confidence 0, measured on validation photographs"}
    )
    log_noise_slope: float = field(default=-3.65, metadata={"description": "what confidence 1 adds to it"})


class StageOutput(NamedTuple):
    """What one stage returns; maps are probabilities (N, J, h, w)."""

    logits: Tensor
    belief: Tensor
    projected: Tensor | None
    fused: Tensor


class NetworkOutput(NamedTuple):
    """All stages, and the logit of each keypoint being in the crop at all, (N, J)."""

    stages: list[StageOutput]
    presence: Tensor


def conv(cin: int, cout: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU; padded to keep the size (over the stride)."""
    return nn.Sequential(
        nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(cout), nn.ReLU(inplace=True)
    )


class Residual(nn.Module):
    """Two 3x3 convolutions added to their input."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(conv(width, width), nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))


def upsample(x: Tensor) -> Tensor:
    """Twice the size, nearest neighbour."""
    return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")


class Features(nn.Module):
    """Image (N, 3, 128, 128) to features F (N, features, 32, 32) and a pooled code (N, widths[2]): an encoder with two skips back up."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        a, b, c = config.widths
        self.stem = nn.Sequential(conv(3, 32, 3, 2), conv(32, a, 3, 2), Residual(a))  # stride 4
        self.mid = nn.Sequential(conv(a, b, 3, 2), Residual(b), Residual(b), Residual(b))  # stride 8
        self.deep = nn.Sequential(conv(b, c, 3, 2), Residual(c), Residual(c))  # stride 16
        self.from_deep = conv(c, b, 1)
        self.merge_mid = Residual(b)
        self.from_mid, self.skip = conv(b, config.features, 1), conv(a, config.features, 1)
        self.out = conv(config.features, config.features)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.stem(image)
        mid = self.mid(fine)
        deep = self.deep(mid)
        mid = self.merge_mid(mid + upsample(self.from_deep(deep)))
        return self.out(self.skip(fine) + upsample(self.from_mid(mid))), deep.mean((-1, -2))


class FirstStage(nn.Module):
    """Belief maps from features alone."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.body = nn.Sequential(conv(config.features, config.features), nn.Conv2d(config.features, KEYPOINT_COUNT, 1))

    def forward(self, features: Tensor, previous: None) -> Tensor:
        return self.body(features)


class RefinementStage(nn.Module):
    """Belief maps from features and the fused maps of the stage before, with a view as wide as the crop at half the resolution."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        a, b, _ = config.widths
        self.enter = conv(config.features + KEYPOINT_COUNT + 1, a)
        self.wide = nn.Sequential(conv(a, b, 3, 2), Residual(b), Residual(b), conv(b, a, 1))
        self.leave = nn.Sequential(conv(a, a), nn.Conv2d(a, KEYPOINT_COUNT, 1))

    def forward(self, features: Tensor, previous: Tensor) -> Tensor:
        x = self.enter(torch.cat([features, previous.to(features.dtype)], 1))
        return self.leave(x + upsample(self.wide(x)))


class NoFusion(nn.Module):
    """f_t = b_t: the plain convolutional pose machine, and the first steps of a training, when there is nothing yet to lift."""

    def forward(self, belief: Tensor, stage: int) -> tuple[Tensor | None, Tensor]:
        return None, belief


class MultistageNetwork(nn.Module):
    """Features and S stages of belief maps, fused by `fusion` (a module called with (belief, stage) that returns (projected, fused))."""

    def __init__(self, config: NetworkConfig, fusion: nn.Module | None = None):
        super().__init__()
        if config.variant != "lite":
            raise ValueError(f"network.variant: expected 'lite', got {config.variant!r}")
        self.config = config
        self.features = Features(config)
        self.stages = nn.ModuleList([FirstStage(config)] + [RefinementStage(config) for _ in range(config.stages - 1)])
        self.presence = nn.Linear(config.widths[-1], KEYPOINT_COUNT)
        self.fusion = fusion if fusion is not None else NoFusion()

    def forward(self, image: Tensor) -> NetworkOutput:
        """image: (N, 3, input_px, input_px) in [0, 1] RGB."""
        features, code = self.features((image - 0.5) * 4)
        outputs: list[StageOutput] = []
        previous = None
        for index, stage in enumerate(self.stages):
            outputs.append(self._stage(index, stage, features, previous))
            fused = outputs[-1].fused
            scale = 2 * torch.pi  # a Gaussian of one cell then peaks at one
            previous = torch.cat([fused * scale, belief_maps.background(fused)], 1)  # (N, J+1, h, w)
        return NetworkOutput(outputs, self.presence(code))

    def _stage(self, index: int, stage: nn.Module, features: Tensor, previous: Tensor | None) -> StageOutput:
        logits = stage(features, previous).float()  # (N, J, h, w)
        belief = logits.flatten(2).softmax(-1).view_as(logits)
        with torch.autocast(logits.device.type, enabled=False):
            projected, fused = self.fusion(belief, index)
        return StageOutput(logits, belief, projected, fused)
