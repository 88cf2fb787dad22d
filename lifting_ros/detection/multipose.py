# SPDX-License-Identifier: Apache-2.0
"""MoveNet MultiPose as a person detector (CenterNet, Zhou et al. 2019): the trunk, and
heads for the centre and the size of each person's box.

The keypoint heads are left out. Training starts from the published weights.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from lifting_ros.keypoints.trunk import Backbone, Head, Pyramid, mobilenet_shape

WIDTH = 1.5
"""Width multiplier of the published MobileNetV2."""


class PersonMaps(NamedTuple):
    """Output for N images; maps have a quarter of their resolution (h, w). Distances are in
    cells, y before x."""

    centre: Tensor
    """(N, h, w) logits of the centre of a person's box."""
    size: Tensor
    """(N, 2, h, w) height and width of the box of a person whose centre is in the cell."""
    offset: Tensor
    """(N, 2, h, w) from the cell to the exact centre of that box."""


class MultiPose(nn.Module):
    """From images to maps of persons."""

    def __init__(self, width: float = WIDTH):
        super().__init__()
        shape = mobilenet_shape(width)
        self.backbone = Backbone(shape)
        self.pyramid = Pyramid(shape)
        self.centre = Head(1)
        self.size = Head(2)
        self.offset = Head(2)

    def forward(self, image: Tensor) -> PersonMaps:
        """image: (N, 3, H, W) in [0, 1] RGB, H and W multiples of 32."""
        features = self.pyramid(self.backbone(image))
        return PersonMaps(
            centre=self.centre(features)[:, 0],
            size=self.size(features),
            offset=self.offset(features),
        )
