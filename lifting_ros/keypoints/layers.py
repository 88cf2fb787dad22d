# SPDX-License-Identifier: Apache-2.0
"""Convolution blocks that the networks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def conv(cin: int, cout: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm and ReLU; padded to keep the size, divided by the stride."""
    return nn.Sequential(
        nn.Conv2d(cin, cout, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(cout),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Two 3x3 convolutions added to their input."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(
            conv(width, width),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        change = self.body(x)
        return torch.relu(x + change)


def upsample(x: Tensor) -> Tensor:
    """Twice the size, nearest neighbour."""
    return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
