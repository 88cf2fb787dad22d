# SPDX-License-Identifier: Apache-2.0
"""The `paper` variant: the convolutional pose machine of the paper's section 5, with six stages on
crops of 368 px.

29.85 M parameters, 88.4 GMAC a crop. Each stage predicts 14 keypoint maps and their background with
peaks of one, by regression. A map of the crop's centre goes with the features into every later
stage.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lifting_ros.keypoints import belief_maps
from lifting_ros.skeleton import KEYPOINT_COUNT

SIGMA_CELLS = 7 / 8
"""Width of a belief: 7 px at the input."""
CENTRE_SIGMA_PX = 21.0
PEAK = 2 * math.pi * SIGMA_CELLS**2
"""Height of a belief that peaks at one over that of one that sums to one."""


def _conv(cin: int, cout: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(cin, cout, kernel, padding=kernel // 2), nn.ReLU(inplace=True))


class Features(nn.Sequential):
    """Image (N, 3, S, S) in [0, 1] to features F (N, features, S/8, S/8); no code for the presence
    of keypoints."""

    def __init__(self, widths: tuple[int, ...], features: int):
        a, b, c, d = widths
        plan = [3, a, a, None, b, b, None, c, c, c, c, None, d, d, c, c, c, c, features]
        layers, cin = [], plan[0]
        for cout in plan[1:]:
            layers.append(nn.MaxPool2d(2) if cout is None else _conv(cin, cout))
            cin = cout or cin
        super().__init__(*layers)
        initialise(self)

    def forward(self, image: Tensor) -> tuple[Tensor, None]:
        return super().forward(image - 0.5), None


class FirstStage(nn.Module):
    """Maps (N, 15, h, w) from features alone."""

    def __init__(self, widths: tuple[int, ...], features: int):
        super().__init__()
        self.body = nn.Sequential(
            _conv(features, widths[3], 1), nn.Conv2d(widths[3], KEYPOINT_COUNT + 1, 1)
        )
        initialise(self)

    def forward(self, features: Tensor, previous: None) -> Tensor:
        return self.body(features)


class RefinementStage(nn.Module):
    """Maps (N, 15, h, w) from the fused maps of the stage before, features and the centre map: five
    7x7 convolutions and two 1x1."""

    def __init__(self, features: int, input_px: int, stride: int):
        super().__init__()
        seven = [
            _conv(KEYPOINT_COUNT + 1 + features + 1, features, 7),
            *(_conv(features, features, 7) for _ in range(4)),
        ]
        self.body = nn.Sequential(
            *seven, _conv(features, features, 1), nn.Conv2d(features, KEYPOINT_COUNT + 1, 1)
        )
        self.register_buffer("centre", centre_map(input_px, stride), persistent=False)
        initialise(self)

    def forward(self, features: Tensor, previous: Tensor) -> Tensor:
        centre = self.centre.to(features.dtype).expand(len(features), -1, -1, -1)
        return self.body(torch.cat([previous.to(features.dtype), features, centre], 1))


class PeakMaps:
    """A stage's raw maps regress Gaussians of SIGMA_CELLS that peak at one; the last is the
    background."""

    @staticmethod
    def belief(raw: Tensor) -> Tensor:
        """(N, J+1, h, w) raw maps to (N, J, h, w) that sum to one where they look as they were
        taught."""
        return raw[:, :KEYPOINT_COUNT].relu() / PEAK

    @staticmethod
    def following(
        raw: Tensor, fused: Tensor, projected: Tensor | None, weight: Tensor | None
    ) -> Tensor:
        """What the next stage sees, (N, J+1, h, w): fused maps and background, both as equation (8)
        has them, in the unit of the peaks taught. A skeleton's projected beliefs are wider, so
        their peaks are lower than one and their background higher than zero there; keypoints
        outside the crop leave background alone."""
        background = raw[:, KEYPOINT_COUNT:]
        if projected is not None:
            background = weight * background + (1 - weight) * belief_maps.background(
                projected, SIGMA_CELLS
            )
        return torch.cat([fused * PEAK, background], 1)


def centre_map(input_px: int, stride: int) -> Tensor:
    """(1, 1, h, w) Gaussian about the crop's centre, averaged over 9 x 9 px at every cell."""
    away = torch.arange(input_px, dtype=torch.float32) - (input_px - 1) / 2
    line = torch.exp(-0.5 * (away / CENTRE_SIGMA_PX) ** 2)
    return nn.functional.avg_pool2d(
        (line[:, None] * line)[None, None], 9, stride, padding=4, count_include_pad=False
    )


def initialise(module: nn.Module) -> None:
    """Weights whose outputs keep their size through the ReLUs (He et al. 2015); without batch norm
    nothing else would."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    last = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)][-1]
    if (
        last.out_channels == KEYPOINT_COUNT + 1
    ):  # maps begin as background everywhere, which is nearly the answer
        nn.init.normal_(last.weight, std=1e-3)
        nn.init.ones_(last.bias[KEYPOINT_COUNT:])
