# SPDX-License-Identifier: Apache-2.0
"""The trunk: MobileNetV2 with a feature pyramid and the heads of MoveNet.

Training starts from the published weights. Layers and their order follow the published graphs, so
that the weights can be read by name (`research/graph_model.py`). Batch norms are folded into the
convolutions, as published. Images are RGB in [0, 1]; all maps have a quarter of the resolution.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

STRIDE = 4
"""Input pixels per cell of the trunk's maps."""

FEATURES = 24
"""Channels of the trunk's features."""

BODY_KEYPOINTS = 17
"""Keypoints of the trunk's own heads, in the order of COCO: nose, eyes, ears, shoulders, elbows,
wrists, hips, knees, ankles."""

_HEAD_WIDTH = 96
_PYRAMID = (64, 32, FEATURES, FEATURES)
"""Channels of the pyramid, coarse to fine."""

_HALVING_BLOCKS = (1, 3, 6, 13)
"""Blocks of the backbone with stride 2."""

_TAPPED_BLOCKS = (2, 5, 9)
"""Blocks whose outputs the pyramid reads."""


class TrunkShape(NamedTuple):
    """Channels of a MobileNetV2: of its stem, inside its 17 blocks, between them, and of its last
    layer."""

    stem: int
    inner: tuple[int, ...]
    outer: tuple[int, ...]
    last: int = 1280


def mobilenet_shape(width: float) -> TrunkShape:
    """The shape of a MobileNetV2 with that width multiplier (Sandler et al. 2018, table 2)."""
    plan = ((16, 1), (24, 2), (32, 3), (64, 4), (96, 3), (160, 3), (320, 1))
    stem = _divisible(32 * width)

    outer: list[int] = []
    for channels, count in plan:
        outer += [_divisible(channels * width)] * count

    inner = (stem, *(6 * channels for channels in outer[:-1]))
    return TrunkShape(stem, inner, tuple(outer))


def _divisible(channels: float) -> int:
    """The nearest multiple of 8 that is at most a tenth below `channels`."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    if nearest >= 0.9 * channels:
        return nearest

    return nearest + 8


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME: an even input with stride 2 is padded only at its
    end."""

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] == 2:
            x = functional.pad(x, (0, 1, 0, 1))
        return super().forward(x)


def _conv(
    channels_in: int, channels_out: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> SameConv:
    padding = kernel // 2 if stride == 1 else 0
    return SameConv(channels_in, channels_out, kernel, stride, padding, groups=groups)


class InvertedResidual(nn.Module):
    """A block of MobileNetV2: expand, filter each channel, project; added to its input if the
    shapes are equal."""

    def __init__(
        self, channels_in: int, inner: int, channels_out: int, stride: int, expanded: bool = True
    ):
        super().__init__()
        self.expand = _conv(channels_in, inner) if expanded else None
        self.depthwise = _conv(inner, inner, 3, stride, groups=inner)
        self.project = _conv(inner, channels_out)
        self.residual = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        inner = x
        if self.expand is not None:
            inner = functional.relu6(self.expand(x))

        inner = functional.relu6(self.depthwise(inner))
        projected = self.project(inner)
        if self.residual:
            return x + projected

        return projected


class SeparableConv(nn.Module):
    """A 3x3 filter per channel, a 1x1 convolution, a ReLU."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.depthwise = nn.Conv2d(
            channels_in, channels_in, 3, padding=1, groups=channels_in, bias=False
        )
        self.pointwise = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        filtered = self.depthwise(x)
        return functional.relu(self.pointwise(filtered))


class Head(nn.Sequential):
    """A head of MoveNet: features to `outputs` maps."""

    def __init__(self, outputs: int):
        super().__init__(
            SeparableConv(FEATURES, _HEAD_WIDTH),
            nn.Conv2d(_HEAD_WIDTH, outputs, 1),
        )


class Backbone(nn.Module):
    """MobileNetV2: image (N, 3, H, W) in [0, 1] to features at strides 4, 8, 16 and 32."""

    def __init__(self, shape: TrunkShape):
        super().__init__()
        self.stem = _conv(3, shape.stem, 3, 2)
        self.blocks = nn.ModuleList()
        channels = shape.stem
        for index, (inner, outer) in enumerate(zip(shape.inner, shape.outer)):
            stride = 2 if index in _HALVING_BLOCKS else 1
            block = InvertedResidual(channels, inner, outer, stride, expanded=index > 0)
            self.blocks.append(block)
            channels = outer

        self.last = _conv(shape.outer[-1], shape.last)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = functional.relu6(self.stem(2 * image - 1))
        levels = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in _TAPPED_BLOCKS:
                levels.append(x)

        levels.append(functional.relu6(self.last(x)))
        return levels


class Pyramid(nn.Module):
    """Feature pyramid: features at strides 4, 8, 16 and 32 to FEATURES channels at stride 4."""

    def __init__(self, shape: TrunkShape):
        super().__init__()
        coarse, mid, fine, finest = _PYRAMID
        widths = (coarse, coarse, mid, fine)
        sources = (shape.last, *(shape.outer[index] for index in reversed(_TAPPED_BLOCKS)))
        self.lateral = nn.ModuleList(
            nn.Conv2d(channels, width, 1) for channels, width in zip(sources, widths)
        )
        self.merge = nn.ModuleList(
            (
                SeparableConv(coarse, mid),
                SeparableConv(mid, fine),
                SeparableConv(fine, finest),
            )
        )

    def forward(self, levels: list[Tensor]) -> Tensor:
        x = self.lateral[0](levels[-1])
        for lateral, merge, level in zip(self.lateral[1:], self.merge, reversed(levels[:-1])):
            upsampled = functional.interpolate(x, scale_factor=2.0, mode="bilinear")
            x = merge(upsampled + lateral(level))

        return x


def _initialise(module: nn.Module) -> None:
    """Set weights that keep the variance constant through the layers (He et al. 2015), as there is
    no batch norm."""
    if not isinstance(module, nn.Conv2d):
        return

    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if module.bias is not None:
        nn.init.zeros_(module.bias)


class TrunkOutput(NamedTuple):
    """Output for N images; maps have a quarter of their resolution (h, w)."""

    features: Tensor
    """(N, 24, h, w)."""
    heat: Tensor
    """(N, 17, h, w) logits of BODY_KEYPOINTS, of all persons."""
    centre: Tensor
    """(N, 1, h, w) logits of the centre of a person."""
    regression: Tensor
    """(N, 34, h, w) offsets in cells from a person's centre to their keypoints: 17 pairs y, x."""
    deep: Tensor
    """(N, last) the backbone's last layer, averaged over the image."""
    last_layer: Tensor
    """(N, last, H/32, W/32) the same layer."""


class Trunk(nn.Module):
    """Backbone, pyramid and three heads of MoveNet SinglePose."""

    def __init__(self, width: float):
        super().__init__()
        shape = mobilenet_shape(width)
        self.backbone = Backbone(shape)
        self.pyramid = Pyramid(shape)
        self.heat = Head(BODY_KEYPOINTS)
        self.centre = Head(1)
        self.regression = Head(2 * BODY_KEYPOINTS)
        self.apply(_initialise)

    def forward(self, image: Tensor) -> TrunkOutput:
        """image: (N, 3, H, W) in [0, 1] RGB, H and W multiples of 32."""
        levels = self.backbone(image)
        features = self.pyramid(levels)
        return TrunkOutput(
            features=features,
            heat=self.heat(features),
            centre=self.centre(features),
            regression=self.regression(features),
            deep=levels[-1].mean((-1, -2)),
            last_layer=levels[-1],
        )
