# SPDX-License-Identifier: Apache-2.0
"""The `paper` variant: the convolutional pose machine of the paper's section 5, with six stages on
crops of 368 px.

29.85 M parameters, 88.4 GMAC per crop. Each stage predicts 14 keypoint maps and their background,
with peaks of one, by regression. Later stages also see a map of the crop's centre.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lifting_ros.keypoints import belief_maps
from lifting_ros.skeleton import KEYPOINT_COUNT

SIGMA_CELLS = 7 / 8
"""Standard deviation (std) of a belief: 7 px at the input."""

CENTRE_SIGMA_PX = 21.0
"""Standard deviation of the Gaussian about the crop's centre."""

PEAK = 2 * math.pi * SIGMA_CELLS**2
"""Height of a belief that peaks at one, divided by that of one that sums to one."""


def _conv(cin: int, cout: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(cin, cout, kernel, padding=kernel // 2),
        nn.ReLU(inplace=True),
    )


class Features(nn.Sequential):
    """From an image (N, 3, S, S) in [0, 1] to features F (N, features, S/8, S/8), and no code for
    the presence of keypoints."""

    def __init__(self, widths: tuple[int, ...], features: int):
        a, b, c, d = widths
        plan = [a, a, None, b, b, None, c, c, c, c, None, d, d, c, c, c, c, features]
        layers: list[nn.Module] = []
        cin = 3
        for cout in plan:
            if cout is None:
                layers.append(nn.MaxPool2d(2))
            else:
                layers.append(_conv(cin, cout))
                cin = cout

        super().__init__(*layers)
        initialise(self)

    def forward(self, image: Tensor) -> tuple[Tensor, None]:
        return super().forward(image - 0.5), None


class FirstStage(nn.Module):
    """Maps (N, 15, h, w) from features alone."""

    def __init__(self, widths: tuple[int, ...], features: int):
        super().__init__()
        width = widths[3]
        self.body = nn.Sequential(
            _conv(features, width, 1), nn.Conv2d(width, KEYPOINT_COUNT + 1, 1)
        )
        initialise(self)

    def forward(self, features: Tensor, previous: None) -> Tensor:
        return self.body(features)


class RefinementStage(nn.Module):
    """Maps (N, 15, h, w) from the fused maps of the previous stage, the features and the centre
    map: five 7x7 convolutions and two 1x1."""

    centre: Tensor

    def __init__(self, features: int, input_px: int, stride: int):
        super().__init__()
        inputs = KEYPOINT_COUNT + 1 + features + 1
        self.body = nn.Sequential(
            _conv(inputs, features, 7),
            *(_conv(features, features, 7) for _ in range(4)),
            _conv(features, features, 1),
            nn.Conv2d(features, KEYPOINT_COUNT + 1, 1),
        )
        self.register_buffer("centre", centre_map(input_px, stride), persistent=False)
        initialise(self)

    def forward(self, features: Tensor, previous: Tensor) -> Tensor:
        previous = previous.to(features.dtype)
        centre = self.centre.to(features.dtype)
        centre = centre.expand(len(features), -1, -1, -1)
        inputs = [previous, features, centre]

        return self.body(torch.cat(inputs, 1))


class PeakMaps:
    """Raw maps regress Gaussians of SIGMA_CELLS that peak at one; the last is the background."""

    @staticmethod
    def belief(raw: Tensor) -> Tensor:
        """Beliefs (N, J, h, w) of raw maps (N, J+1, h, w); they sum to one where the raw maps look
        like their labels."""
        return raw[:, :KEYPOINT_COUNT].relu() / PEAK

    @staticmethod
    def following(
        raw: Tensor, fused: Tensor, projected: Tensor | None, weight: Tensor | None
    ) -> Tensor:
        """The maps (N, J+1, h, w) that the next stage sees: keypoints and background, both fused by
        equation (8), in the unit of the labels' peaks.

        Projected beliefs are wider than labels, so their peaks are below one and the background is
        above zero there. Keypoints outside the crop leave only background.
        """
        background = raw[:, KEYPOINT_COUNT:]
        if projected is not None and weight is not None:
            projected_background = belief_maps.background(projected, SIGMA_CELLS)
            background = weight * background + (1 - weight) * projected_background

        return torch.cat([fused * PEAK, background], 1)


def centre_map(input_px: int, stride: int) -> Tensor:
    """A Gaussian (1, 1, h, w) about the crop's centre, averaged over 9 x 9 px at every cell."""
    away = torch.arange(input_px, dtype=torch.float32) - (input_px - 1) / 2
    line = torch.exp(-0.5 * (away / CENTRE_SIGMA_PX) ** 2)
    gaussian = (line[:, None] * line)[None, None]
    return nn.functional.avg_pool2d(gaussian, 9, stride, padding=4, count_include_pad=False)


def initialise(module: nn.Module) -> None:
    """Set weights that keep the variance constant through the ReLUs (He et al. 2015), as there is
    no batch norm."""
    convolutions = []
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            convolutions.append(layer)

    for layer in convolutions:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)

    # Maps start as background everywhere, which is almost right.
    last = convolutions[-1]
    if last.out_channels == KEYPOINT_COUNT + 1 and last.bias is not None:
        nn.init.normal_(last.weight, std=1e-3)
        nn.init.ones_(last.bias[KEYPOINT_COUNT:])
