# SPDX-License-Identifier: Apache-2.0
"""The `full` and `lite` variants: stages of belief maps on a pretrained trunk.

The trunk answers for everybody in the crop. Its middle and regression heads say which of the
answers are those of the person in the middle, as in its published decoder; the stages read both. A
belief map is the softmax over its cells: a keypoint is in one place, and other people's keypoints
are answers not given, not answers punished.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lifting_ros.keypoints import belief_maps
from lifting_ros.keypoints.layers import Residual, conv, upsample
from lifting_ros.keypoints.trunk import BODY_KEYPOINTS, FEATURES, Trunk, TrunkOutput
from lifting_ros.skeleton import KEYPOINT_COUNT

TRUNK_WIDTHS = {"full": 1.75, "lite": 1.0}
"""Width multiplier of the trunk: that of MoveNet Thunder, and that of Lightning."""

OWNER_RADIUS = 1.8
"""Cells within which a keypoint counts as lying where the person in the middle is expected to have
it."""

_DEEP_UNITS = 32
_PRESENCE_UNITS = 64


class Code(NamedTuple):
    """What the presence of keypoints is read from, beside the belief maps."""

    deep: Tensor
    """(N, c) mean over the crop of the trunk's last layer."""
    heat: Tensor
    """(N, 17, h, w) the trunk's own maps, in [0, 1]."""
    own: Tensor
    """(N, 17, h, w) the same, of the person in the middle."""


class Features(nn.Module):
    """Image (N, 3, S, S) in [0, 1] to features F (N, features, S/4, S/4) and a Code."""

    def __init__(self, trunk_width: float, features: int):
        super().__init__()
        self.trunk = Trunk(trunk_width)
        self.mix = conv(FEATURES + 2 * BODY_KEYPOINTS + 1, features)

    def forward(self, image: Tensor) -> tuple[Tensor, Code]:
        out = self.trunk(image)
        heat = out.heat.sigmoid()
        nearness = (
            middle_weight(heat.shape[-2:], heat.device).to(heat.dtype).expand(len(heat), 1, -1, -1)
        )
        own = heat * ownership(out).to(heat.dtype)
        return self.mix(torch.cat([out.features, heat, own, nearness], 1)), Code(
            out.deep, heat, own
        )


def middle_weight(size: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
    """(1, 1, h, w) one at the crop's middle, falling with the distance from it as in MoveNet's
    decoder."""
    h, w = size
    y = torch.arange(h, device=device)[:, None] - h // 2
    x = torch.arange(w, device=device) - w // 2
    return (OWNER_RADIUS / ((y**2 + x**2).sqrt() + OWNER_RADIUS))[None, None]


def ownership(out: TrunkOutput) -> Tensor:
    """(N, 17, h, w) in (0, 1]: one where the person in the middle is expected to have a keypoint,
    falling with the distance from there.

    As in MoveNet's decoder: of all middles of persons the one that is most certain and nearest to
    the crop's middle counts, and the regression at that cell says where its keypoints are.
    """
    n, _, h, w = out.centre.shape
    score = out.centre.float().sigmoid() * middle_weight((h, w), out.centre.device)
    cell = score.flatten(1).argmax(1)  # (N,)
    offset = (
        out.regression.float()
        .flatten(2)
        .gather(2, cell[:, None, None].expand(-1, 2 * BODY_KEYPOINTS, 1))
    )
    offset = offset.view(n, BODY_KEYPOINTS, 2, 1, 1)
    row = (cell // w).view(n, 1, 1, 1) + offset[:, :, 0]  # (N, 17, 1, 1)
    column = (cell % w).view(n, 1, 1, 1) + offset[:, :, 1]
    y = torch.arange(h, device=cell.device).view(h, 1) - row  # (N, 17, h, 1)
    x = torch.arange(w, device=cell.device) - column  # (N, 17, 1, w)
    return OWNER_RADIUS / ((y**2 + x**2).sqrt() + OWNER_RADIUS)


class FirstStage(nn.Module):
    """Belief maps from features alone."""

    def __init__(self, features: int):
        super().__init__()
        self.body = nn.Sequential(conv(features, features), nn.Conv2d(features, KEYPOINT_COUNT, 1))

    def forward(self, features: Tensor, previous: None) -> Tensor:
        return self.body(features)


class RefinementStage(nn.Module):
    """Belief maps from features and the fused maps of the stage before, with a view as wide as the
    crop at half the resolution."""

    def __init__(self, widths: tuple[int, ...], features: int):
        super().__init__()
        fine, coarse = widths
        self.enter = conv(features + KEYPOINT_COUNT + 1, fine)
        self.wide = nn.Sequential(
            conv(fine, coarse, 3, 2), Residual(coarse), Residual(coarse), conv(coarse, fine, 1)
        )
        self.leave = nn.Sequential(conv(fine, fine), nn.Conv2d(fine, KEYPOINT_COUNT, 1))

    def forward(self, features: Tensor, previous: Tensor) -> Tensor:
        x = self.enter(torch.cat([features, previous.to(features.dtype)], 1))
        return self.leave(x + upsample(self.wide(x)))


class Presence(nn.Module):
    """Logits (N, J) of each keypoint being in the crop and in view.

    Read from the trunk's last layer, from how sharp each belief is, and from what the trunk's own
    maps hold where the belief lies: a keypoint that is nowhere has a belief somewhere, but the
    trunk sees nothing there.
    """

    def __init__(self, deep: int):
        super().__init__()
        self.deep = nn.Linear(deep, _DEEP_UNITS)
        inputs = _DEEP_UNITS + KEYPOINT_COUNT + KEYPOINT_COUNT * BODY_KEYPOINTS
        self.out = nn.Sequential(
            nn.Linear(inputs, _PRESENCE_UNITS),
            nn.ReLU(inplace=True),
            nn.Linear(_PRESENCE_UNITS, KEYPOINT_COUNT),
        )

    def forward(self, code: Code, belief: Tensor) -> Tensor:
        """belief: (N, J, h, w) the last stage's fused maps; nothing is learnt through them."""
        flat = belief.detach().flatten(2)  # (N, J, h w)
        seen = flat @ code.heat.flatten(2).transpose(1, 2).to(flat.dtype)  # (N, J, 17)
        sharpness = flat.square().sum(-1).clamp_min(1e-6).log()  # (N, J)
        evidence = [torch.relu(self.deep(code.deep)), sharpness, seen.flatten(1)]
        dtype = self.deep.weight.dtype
        return self.out(torch.cat([part.to(dtype) for part in evidence], 1))


class SoftmaxMaps:
    """A stage's raw maps are logits of where the keypoint is."""

    @staticmethod
    def belief(raw: Tensor) -> Tensor:
        """(N, J, h, w) logits to probabilities."""
        return raw.flatten(2).softmax(-1).view_as(raw)

    @staticmethod
    def following(
        raw: Tensor, fused: Tensor, projected: Tensor | None, weight: Tensor | None
    ) -> Tensor:
        """What the next stage sees, (N, J+1, h, w): fused maps in which a Gaussian of one cell
        peaks at one, and their background."""
        return torch.cat([fused * 2 * math.pi, belief_maps.background(fused)], 1)
