# SPDX-License-Identifier: Apache-2.0
"""The `lite` variant: the paper's idea in 5.65 M parameters and 1.2 GMAC a crop of 128 px, for CPUs and small GPUs.

Features come from a residual encoder with skips back to stride 4; a stage sees the whole crop at half the maps' resolution. A belief map is
the softmax over its cells: a keypoint is in one place, and other people's keypoints are answers not given, not answers punished.
"""
from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lifting_ros.core import belief_maps
from lifting_ros.core.layers import Residual, conv, upsample
from lifting_ros.core.skeleton import KEYPOINT_COUNT


class Features(nn.Module):
    """Image (N, 3, S, S) in [0, 1] to features F (N, features, S/4, S/4) and a pooled code (N, widths[2])."""

    def __init__(self, widths: tuple[int, ...], features: int):
        super().__init__()
        a, b, c = widths
        self.stem = nn.Sequential(conv(3, 32, 3, 2), conv(32, a, 3, 2), Residual(a))  # stride 4
        self.mid = nn.Sequential(conv(a, b, 3, 2), Residual(b), Residual(b), Residual(b))  # stride 8
        self.deep = nn.Sequential(conv(b, c, 3, 2), Residual(c), Residual(c))  # stride 16
        self.from_deep = conv(c, b, 1)
        self.merge_mid = Residual(b)
        self.from_mid, self.skip = conv(b, features, 1), conv(a, features, 1)
        self.out = conv(features, features)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.stem((image - 0.5) * 4)
        mid = self.mid(fine)
        deep = self.deep(mid)
        mid = self.merge_mid(mid + upsample(self.from_deep(deep)))
        return self.out(self.skip(fine) + upsample(self.from_mid(mid))), deep.mean((-1, -2))


class FirstStage(nn.Module):
    """Belief maps from features alone."""

    def __init__(self, features: int):
        super().__init__()
        self.body = nn.Sequential(conv(features, features), nn.Conv2d(features, KEYPOINT_COUNT, 1))

    def forward(self, features: Tensor, previous: None) -> Tensor:
        return self.body(features)


class RefinementStage(nn.Module):
    """Belief maps from features and the fused maps of the stage before, with a view as wide as the crop at half the resolution."""

    def __init__(self, widths: tuple[int, ...], features: int):
        super().__init__()
        a, b, _ = widths
        self.enter = conv(features + KEYPOINT_COUNT + 1, a)
        self.wide = nn.Sequential(conv(a, b, 3, 2), Residual(b), Residual(b), conv(b, a, 1))
        self.leave = nn.Sequential(conv(a, a), nn.Conv2d(a, KEYPOINT_COUNT, 1))

    def forward(self, features: Tensor, previous: Tensor) -> Tensor:
        x = self.enter(torch.cat([features, previous.to(features.dtype)], 1))
        return self.leave(x + upsample(self.wide(x)))


class SoftmaxMaps:
    """A stage's raw maps are logits of where the keypoint is."""

    @staticmethod
    def belief(raw: Tensor) -> Tensor:
        """(N, J, h, w) logits to probabilities."""
        return raw.flatten(2).softmax(-1).view_as(raw)

    @staticmethod
    def following(raw: Tensor, fused: Tensor, projected: Tensor | None, weight: Tensor | None) -> Tensor:
        """What the next stage sees, (N, J+1, h, w): fused maps in which a Gaussian of one cell peaks at one, and their background."""
        return torch.cat([fused * 2 * math.pi, belief_maps.background(fused)], 1)
