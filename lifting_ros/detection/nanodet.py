# SPDX-License-Identifier: Apache-2.0
"""NanoDet-g with a single class, person; its training starts from the published weights.

A small backbone of blocks that concatenate instead of adding, a pyramid that goes down and up
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
"""Bins of the distribution of a box side: 0 to 10 cells from the cell's centre."""

_WIDTH = 128
"""Channels of the pyramid."""

_LEAK = 0.1
"""Slope of the leaky ReLU below zero."""


class Conv(nn.Sequential):
    """A 3x3 convolution and a leaky ReLU; the batch norm is folded in, as published."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1):
        super().__init__(
            nn.Conv2d(
                channels_in,
                channels_out,
                kernel_size=3,
                stride=stride,
                padding=1,
            ),
            nn.LeakyReLU(_LEAK, inplace=True),
        )


class ConcatBlock(nn.Module):
    """Two convolutions in a row with half the channels each; returns both outputs, concatenated."""

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.first = Conv(channels, half)
        self.second = Conv(half, half)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        second = self.second(first)
        return torch.cat([second, first], 1)


class Level(nn.Module):
    """A level of the backbone: a strided convolution, `blocks` blocks and one more convolution.

    Returns the first and the last convolution's outputs, concatenated: twice `channels`.
    """

    def __init__(self, channels_in: int, channels: int, blocks: int, stride: int = 2):
        super().__init__()
        self.enter = Conv(channels_in, channels, stride)
        self.blocks = nn.Sequential()
        for _ in range(blocks):
            self.blocks.append(ConcatBlock(channels))
        self.leave = Conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        entered = self.enter(x)
        inner = self.blocks(entered)
        left = self.leave(inner)
        return torch.cat([left, entered], 1)


class Head(nn.Module):
    """From the features of a level to the logits of a person and of the bins of the four sides."""

    def __init__(self):
        super().__init__()
        self.body = Conv(_WIDTH, _WIDTH)
        self.out = nn.Conv2d(_WIDTH, 1 + 4 * SIDE_BINS, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.body(x))


class NanoDet(nn.Module):
    """From an image (N, 3, H, W) in [0, 1] RGB, H and W multiples of 32, to persons at every cell
    of three levels."""

    mean: Tensor
    std: Tensor

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.levels = nn.ModuleList(
            (
                Level(32, 32, blocks=1, stride=1),
                Level(64, 64, blocks=2),
                Level(128, 128, blocks=2),
                Level(256, 256, blocks=3),
            )
        )
        self.lateral = nn.ModuleList(nn.Conv2d(channels, _WIDTH, 1) for channels in (128, 256, 512))
        self.heads = nn.ModuleList(Head() for _ in STRIDES)

        # Mean and standard deviation (std) of ImageNet's colours
        mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1) / 255
        std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1) / 255
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, image: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Per level: logits of a person (N, h, w), and distances (N, 4, h, w) in px from the cell's
        centre to the left, top, right and bottom side of the box."""
        x = (image - self.mean) / self.std
        x = self.stem(x)
        x = functional.leaky_relu(x, _LEAK)
        x = functional.max_pool2d(x, kernel_size=3, stride=2, padding=1)

        # Backbone
        x = self.levels[0](x)
        pyramid = []
        for level, lateral in zip(self.levels[1:], self.lateral):
            x = level(x)
            pyramid.append(lateral(x))

        # Pyramid: down to the finest level, and up again
        for fine in (1, 0):
            coarser = _resize(pyramid[fine + 1], like=pyramid[fine])
            pyramid[fine] = pyramid[fine] + coarser

        for coarse in (1, 2):
            finer = _resize(pyramid[coarse - 1], like=pyramid[coarse])
            pyramid[coarse] = pyramid[coarse] + finer

        # Heads
        levels = []
        for head, features, stride in zip(self.heads, pyramid, STRIDES):
            output = head(features)
            levels.append(_decode(output, stride))

        return levels


def _resize(x: Tensor, like: Tensor) -> Tensor:
    size = like.shape[-2:]
    return functional.interpolate(
        x,
        size,
        mode="bilinear",
    )


def _decode(output: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Logits (N, h, w) of a person and distances (N, 4, h, w) px, from a head's output."""
    logits = output[:, 0].float()

    bins = output[:, 1:].float()
    bins = bins.unflatten(1, (4, SIDE_BINS))  # (N, 4, SIDE_BINS, h, w)
    bins = bins.softmax(2)
    distance = torch.arange(SIDE_BINS, device=output.device, dtype=bins.dtype)
    distance = distance * stride

    return logits, torch.einsum("nsbhw,b->nshw", bins, distance)
