# SPDX-License-Identifier: Apache-2.0
"""The person detector's network: NanoDet-g, whose published weights it starts from, with the output
for persons alone.

A small residual network whose blocks concatenate what others add, a pyramid that goes down and up
again, and one head per level. A box side is the expectation of a distribution over SIDE_BINS
distances (generalised focal loss, Li et al. 2020).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDES = (8, 16, 32)
"""Input pixels per cell of the three levels."""

SIDE_BINS = 11
"""Distances that a box side is a mixture of: 0 to 10 cells."""

_WIDTH = 128


class Conv(nn.Sequential):
    """A 3x3 convolution and a leaky ReLU; the batch norm is folded in, as published."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1):
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, stride, 1), nn.LeakyReLU(0.1, inplace=True)
        )


class ConcatBlock(nn.Module):
    """Two convolutions to half the channels each, the second of the first; both are kept."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = Conv(channels, channels // 2)
        self.second = Conv(channels // 2, channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        return torch.cat([self.second(first), first], 1)


class Level(nn.Module):
    """A level of the backbone: halve, `blocks` blocks, one more convolution; its input is kept
    beside the result."""

    def __init__(self, channels_in: int, channels: int, blocks: int, stride: int = 2):
        super().__init__()
        self.enter = Conv(channels_in, channels, stride)
        self.blocks = nn.Sequential(*(ConcatBlock(channels) for _ in range(blocks)))
        self.leave = Conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return torch.cat([self.leave(self.blocks(x)), x], 1)


class Head(nn.Module):
    """Features of a level to the logit of a person and of the bins of the four sides."""

    def __init__(self):
        super().__init__()
        self.body = Conv(_WIDTH, _WIDTH)
        self.out = nn.Conv2d(_WIDTH, 1 + 4 * SIDE_BINS, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.body(x))


class NanoDet(nn.Module):
    """Image (N, 3, H, W) in [0, 1] RGB, H and W multiples of 32, to persons at every cell of three
    levels."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.levels = nn.ModuleList(
            (Level(32, 32, 1, stride=1), Level(64, 64, 2), Level(128, 128, 2), Level(256, 256, 3))
        )
        self.lateral = nn.ModuleList(nn.Conv2d(channels, _WIDTH, 1) for channels in (128, 256, 512))
        self.heads = nn.ModuleList(Head() for _ in STRIDES)
        self.register_buffer(
            "mean", torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1) / 255, persistent=False
        )
        self.register_buffer(
            "std", torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1) / 255, persistent=False
        )

    def forward(self, image: Tensor) -> list[tuple[Tensor, Tensor]]:
        """By level: logits of a person (N, h, w), and distances (N, 4, h, w) from the cell's centre
        to the left, top, right and bottom side of the box, px."""
        x = (image - self.mean) / self.std
        x = functional.max_pool2d(functional.leaky_relu(self.stem(x), 0.1), 3, 2, 1)

        x = self.levels[0](x)
        pyramid = []
        for level, lateral in zip(self.levels[1:], self.lateral):
            x = level(x)
            pyramid.append(lateral(x))

        for fine in (1, 0):
            pyramid[fine] = pyramid[fine] + _resized(pyramid[fine + 1], pyramid[fine])
        for coarse in (1, 2):
            pyramid[coarse] = pyramid[coarse] + _resized(pyramid[coarse - 1], pyramid[coarse])

        return [_decoded(head(x), stride) for head, x, stride in zip(self.heads, pyramid, STRIDES)]


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, like.shape[-2:], mode="bilinear")


def _decoded(output: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    bins = output[:, 1:].float().unflatten(1, (4, SIDE_BINS)).softmax(2)  # (N, 4, SIDE_BINS, h, w)
    distance = torch.arange(SIDE_BINS, device=output.device, dtype=bins.dtype) * stride
    return output[:, 0].float(), torch.einsum("nsbhw,b->nshw", bins, distance)
