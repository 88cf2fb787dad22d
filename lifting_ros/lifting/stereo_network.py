# SPDX-License-Identifier: Apache-2.0
"""Two regressions in a row (ICCV workshop 2019): keypoints to those of a second camera, and both
views to 17 joints with deviations.

The second camera is the first one shifted to its right, in the frame that looks at the person, by a
stated baseline. Unit of length is the person's size (root of the sum of squared limb lengths), of
the picture the keypoints' extent about their centre in the first view. Means and deviations by
which inputs and outputs are normalised come from the training set and stay with the weights, and
nowhere else are any. In the paper the second network reads the two views alone; here also what the
first has made of the first view in its last layer, without which the whole was worse than a single
network from one view.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lifting_ros.lifting.person_view import CONTEXT
from lifting_ros.lifting.residual_mlp import residual_body
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT


@dataclass(frozen=True)
class StereoConfig:
    """Architecture."""

    width: int = field(
        default=496, metadata={"description": "units of a layer", "range": (8, 4096)}
    )
    blocks: int = field(
        default=2,
        metadata={
            "description": "residual blocks of two layers, in each of the two networks",
            "range": (1, 16),
        },
    )
    dropout: float = field(
        default=0.05,
        metadata={"description": "share of units dropped in training", "range": (0.0, 0.9)},
    )
    baseline: float = field(
        default=1.0,
        metadata={
            "description": "shift of the second camera to the right, over the person's size",
            "range": (0.01, 10.0),
        },
    )
    synthesis: bool = field(
        default=True,
        metadata={"description": "whether there is a second view; without, one view to joints"},
    )


class StereoOutput(NamedTuple):
    """Of N persons."""

    right: Tensor | None
    """(N, 14, 2) keypoints in the second view, in the units of the first; None without view
    synthesis."""
    joints: Tensor
    """(N, 17, 3) about the root, over the person's size."""
    deviation: Tensor
    """(N, 17, 3) of the joints' error along each axis; 0 at the root."""


class Statistics(NamedTuple):
    """What is normalised by, from the training set."""

    context: Tensor
    """(2, 4) mean and deviation."""
    shift: Tensor
    """(2,) mean of how far a keypoint is further right in the second view, and its deviation within
    a person: what tells depths apart."""
    joints: Tensor
    """(2, 17, 3) mean and deviation; 0 and 0 at the root."""


class StereoNetwork(nn.Module):
    """View synthesis and reconstruction."""

    def __init__(self, config: StereoConfig = StereoConfig()):
        super().__init__()
        self.config = config
        inputs, both = 3 * KEYPOINT_COUNT + len(CONTEXT), 2 * KEYPOINT_COUNT
        self.synthesis = residual_body(inputs, config) if config.synthesis else None
        self.moved = nn.Linear(config.width, both) if config.synthesis else None
        self.body = residual_body(inputs + (both + config.width if config.synthesis else 0), config)
        self.joints, self.deviation = (nn.Linear(config.width, 3 * JOINT_COUNT) for _ in range(2))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        nn.init.zeros_(
            self.deviation.weight
        )  # at first everybody's error is as large as people differ
        self.use(
            Statistics(
                torch.tensor([[0.0], [1.0]]).repeat(1, len(CONTEXT)),
                torch.tensor([0.0, 1.0]),
                torch.ones(2, JOINT_COUNT, 3),
            )
        )

    def use(self, statistics: Statistics) -> None:
        """Take over the training set's statistics."""
        for name, value in statistics._asdict().items():
            self.register_buffer(f"{name}_statistics", value.float())

    def forward(self, points: Tensor, seen: Tensor, context: Tensor) -> StereoOutput:
        """points (N, 14, 2), seen (N, 14) and context (N, 4), as `PersonView.points` and
        `PersonView.context` have them."""
        mean, deviation = self.context_statistics
        known = torch.nan_to_num((context - mean) / deviation, 0.0).clamp(-4, 4)
        read = torch.cat([points.flatten(1), seen.to(points.dtype), known], 1)  # N, 46
        right = None
        if self.synthesis is not None:
            features = self.synthesis(read)
            moved = self.moved(features).unflatten(
                -1, (KEYPOINT_COUNT, 2)
            )  # N, 14, 2: right minus left, normalised
            mean, deviation = self.shift_statistics
            right = points + torch.stack([mean, torch.zeros_like(mean)]) + deviation * moved.float()
            read = torch.cat([read, moved.flatten(1), features], 1)
        features = self.body(read)
        mean, deviation = self.joints_statistics
        joints = mean + deviation * self.joints(features).float().unflatten(
            -1, (JOINT_COUNT, 3)
        )  # N, 17, 3
        log = (
            self.deviation(features.detach()).float().unflatten(-1, (JOINT_COUNT, 3))
        )  # what it says of errors does not make them
        return StereoOutput(right, joints - joints[:, :1], deviation * log.clamp(-6, 3).exp())
