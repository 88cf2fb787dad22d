# SPDX-License-Identifier: Apache-2.0
"""The `full` and `lite` variants: stages of belief maps on a pretrained trunk.

The trunk finds the keypoints of all persons in the crop. Its centre and regression heads tell which
of them belong to the person in the middle, as in its published decoder; the stages read both. A
belief map is the softmax over its cells, because a keypoint is in one place. Responses at other
people's keypoints are not penalised; the softmax only prefers the person in the middle.
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
"""Width multiplier of the trunk: as in MoveNet Thunder and in MoveNet Lightning."""

OWNER_RADIUS = 1.8
"""Distance in cells at which the weights of MoveNet's decoder fall to one half."""

_DEEP_UNITS = 32
_PRESENCE_UNITS = 64
"""Units of the layers of `Presence`."""


class Code(NamedTuple):
    """What the trunk tells of a crop. `Presence` reads all but `last_layer`."""

    deep: Tensor
    """(N, c) the trunk's last layer, averaged over the crop."""
    heat: Tensor
    """(N, 17, h, w) the trunk's own maps, in [0, 1]."""
    own: Tensor
    """(N, 17, h, w) the same, of the person in the middle."""
    last_layer: Tensor | None = None
    """(N, c, h/8, w/8) the trunk's last layer."""


class Features(nn.Module):
    """From an image (N, 3, S, S) in [0, 1] to features F (N, features, S/4, S/4) and a Code."""

    def __init__(self, trunk_width: float, features: int):
        super().__init__()
        self.trunk = Trunk(trunk_width)
        self.mix = conv(FEATURES + 2 * BODY_KEYPOINTS + 1, features)

    def forward(self, image: Tensor) -> tuple[Tensor, Code]:
        out = self.trunk(image)
        heat = out.heat.sigmoid()
        own = heat * ownership(out).to(heat.dtype)

        nearness = middle_weight(heat.shape[-2:], heat.device)
        nearness = nearness.to(heat.dtype)
        nearness = nearness.expand(heat.shape[0], 1, -1, -1)

        inputs = [out.features, heat, own, nearness]
        features = self.mix(torch.cat(inputs, 1))
        return features, Code(out.deep, heat, own, out.last_layer)


def middle_weight(size: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
    """Weights (1, 1, h, w), one in the middle of the crop and falling with the distance from it, as
    in MoveNet's decoder."""
    h, w = size
    rows = torch.arange(h, device=device)
    columns = torch.arange(w, device=device)
    y = rows[:, None] - h // 2
    x = columns - w // 2
    nearness = _nearness(y, x)
    return nearness[None, None]


def _nearness(y: Tensor, x: Tensor) -> Tensor:
    """One at distance zero, falling with the distance."""
    distance = (y**2 + x**2).sqrt()
    return OWNER_RADIUS / (distance + OWNER_RADIUS)


def ownership(out: TrunkOutput) -> Tensor:
    """Weights (N, 17, h, w) in (0, 1], one where the person in the middle is expected to have a
    keypoint and falling with the distance from there.

    As in MoveNet's decoder: the person is the one whose centre is most certain and closest to the
    middle of the crop; the regression at the centre's cell gives the expected keypoints.
    """
    # The person's centre
    n, _, h, w = out.centre.shape
    certainty = out.centre.float().sigmoid()
    score = certainty * middle_weight((h, w), out.centre.device)
    cell = score.flatten(1).argmax(1)  # (N,)

    # Expected keypoints
    index = cell[:, None, None].expand(-1, 2 * BODY_KEYPOINTS, 1)
    regression = out.regression.float().flatten(2)
    offset = regression.gather(2, index)
    offset = offset.view(n, BODY_KEYPOINTS, 2, 1, 1)

    cell = cell.view(n, 1, 1, 1)
    row = cell // w + offset[:, :, 0]  # (N, 17, 1, 1)
    column = cell % w + offset[:, :, 1]

    # Distances from them
    y = torch.arange(h, device=cell.device).view(h, 1) - row  # (N, 17, h, 1)
    x = torch.arange(w, device=cell.device) - column  # (N, 17, 1, w)
    return _nearness(y, x)


class FirstStage(nn.Module):
    """Belief maps from features alone."""

    def __init__(self, features: int):
        super().__init__()
        self.body = nn.Sequential(
            conv(features, features),
            nn.Conv2d(features, KEYPOINT_COUNT, 1),
        )

    def forward(self, features: Tensor, previous: None) -> Tensor:
        return self.body(features)


class RefinementStage(nn.Module):
    """Belief maps from features and the fused maps of the previous stage; a branch at half the
    resolution sees the whole crop."""

    def __init__(self, widths: tuple[int, ...], features: int):
        super().__init__()
        fine, coarse = widths
        self.enter = conv(features + KEYPOINT_COUNT + 1, fine)
        self.wide = nn.Sequential(
            conv(fine, coarse, 3, 2),
            Residual(coarse),
            Residual(coarse),
            conv(coarse, fine, 1),
        )
        self.leave = nn.Sequential(conv(fine, fine), nn.Conv2d(fine, KEYPOINT_COUNT, 1))

    def forward(self, features: Tensor, previous: Tensor) -> Tensor:
        previous = previous.to(features.dtype)
        inputs = torch.cat([features, previous], 1)

        x = self.enter(inputs)
        wide = self.wide(x)
        return self.leave(x + upsample(wide))


class Presence(nn.Module):
    """Logits (N, J) of each keypoint being in the crop and in view.

    Computed from the trunk's last layer, from the sharpness of each belief, and from the trunk's
    own maps where the belief lies. An absent keypoint has a belief somewhere, but the trunk sees
    nothing there.
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
        """belief: (N, J, h, w) the last stage's fused maps; no gradient flows through them."""
        flat = belief.detach()
        flat = flat.flatten(2)  # (N, J, h w)
        heat = code.heat.flatten(2).transpose(1, 2)  # (N, h w, 17)
        seen = flat @ heat.to(flat.dtype)  # (N, J, 17)
        squares = flat.square().sum(-1)
        sharpness = squares.clamp_min(1e-6).log()  # (N, J)
        deep = torch.relu(self.deep(code.deep))

        dtype = self.deep.weight.dtype
        evidence = [part.to(dtype) for part in (deep, sharpness, seen.flatten(1))]
        return self.out(torch.cat(evidence, 1))


class SoftmaxMaps:
    """Raw maps are logits of the keypoint's cell."""

    @staticmethod
    def belief(raw: Tensor) -> Tensor:
        """Probabilities (N, J, h, w) of logits (N, J, h, w)."""
        return raw.flatten(2).softmax(-1).view_as(raw)

    @staticmethod
    def following(
        raw: Tensor, fused: Tensor, projected: Tensor | None, weight: Tensor | None
    ) -> Tensor:
        """The maps (N, J+1, h, w) that the next stage sees: fused maps, scaled so that a Gaussian
        of one cell peaks at one, and their background."""
        return torch.cat([fused * 2 * math.pi, belief_maps.background(fused)], 1)
