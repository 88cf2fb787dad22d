# SPDX-License-Identifier: Apache-2.0
"""Two regressions in a row (ICCV workshop 2019).

The first predicts the keypoints in a second camera; the second predicts 17 joints and their stds
from both views. The second camera is the first one moved to its right by a stated baseline, in the
frame that looks at the person. Lengths are divided by the person's size (root of the sum of squared
limb lengths), picture coordinates by the keypoints' extent about their centre in the first view.
The means and stds that normalise inputs and outputs come from the training set and are stored with
the weights.

In the paper the second network reads only the two views. Here it also reads the last hidden layer
of the first network; without that layer the two networks were worse than a single one that reads
one view.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lifting_ros.lifting.person_view import CONTEXT
from lifting_ros.lifting.residual_mlp import initialise_linear, residual_body
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT


@dataclass(frozen=True)
class StereoConfig:
    """Architecture."""

    width: int = field(
        default=496,
        metadata={
            "description": "units of a layer",
            "range": (8, 4096),
        },
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
        metadata={
            "description": "share of units dropped in training",
            "range": (0.0, 0.9),
        },
    )
    baseline: float = field(
        default=1.0,
        metadata={
            "description": "shift of the second camera to the right, divided by the person's size",
            "range": (0.01, 10.0),
        },
    )
    synthesis: bool = field(
        default=True,
        metadata={
            "description": "whether a second view is predicted; if not, joints come from one view",
        },
    )


class StereoOutput(NamedTuple):
    """The prediction for N persons."""

    right: Tensor | None
    """(N, 14, 2) keypoints in the second view, in the units of the first; None without view
    synthesis."""
    joints: Tensor
    """(N, 17, 3) about the root, divided by the person's size."""
    deviation: Tensor
    """(N, 17, 3) std of the joints' error along each axis; 0 at the root."""


class Statistics(NamedTuple):
    """The normalisation, from the training set."""

    context: Tensor
    """(2, 4) mean and std."""
    shift: Tensor
    """(2,) of how far a keypoint is further right in the second view: its mean, and its std within
    a person, which carries the depths."""
    joints: Tensor
    """(2, 17, 3) mean and std; both 0 at the root."""


class StereoNetwork(nn.Module):
    """View synthesis and reconstruction."""

    context_statistics: Tensor
    shift_statistics: Tensor
    joints_statistics: Tensor
    """As `Statistics`."""

    synthesis: nn.Module | None
    moved: nn.Module | None
    """None without view synthesis."""

    def __init__(self, config: StereoConfig = StereoConfig()):
        super().__init__()
        self.config = config
        inputs = 3 * KEYPOINT_COUNT + len(CONTEXT)
        both = 2 * KEYPOINT_COUNT

        # Layers; the order decides the random weights that each gets.
        self.synthesis = None
        self.moved = None
        second_inputs = inputs
        if config.synthesis:
            self.synthesis = residual_body(inputs, config)
            self.moved = nn.Linear(config.width, both)
            second_inputs += both + config.width

        self.body = residual_body(second_inputs, config)
        self.joints = nn.Linear(config.width, 3 * JOINT_COUNT)
        self.deviation = nn.Linear(config.width, 3 * JOINT_COUNT)

        # At first the predicted std of an error is the std of the joint in the training set.
        initialise_linear(self)
        nn.init.zeros_(self.deviation.weight)
        self.use(_identity_statistics())

    def use(self, statistics: Statistics) -> None:
        """Take over the training set's statistics."""
        for name, value in statistics._asdict().items():
            self.register_buffer(f"{name}_statistics", value.float())

    def forward(
        self,
        points: Tensor,
        seen: Tensor,
        context: Tensor,
    ) -> StereoOutput:
        """Return the prediction for N persons.

        points (N, 14, 2), seen (N, 14) and context (N, 4) are those of a `PersonView`.
        """
        mean, std = self.context_statistics
        standard = torch.nan_to_num((context - mean) / std, 0.0)
        known = standard.clamp(-4, 4)
        read = torch.cat([points.flatten(1), seen.to(points.dtype), known], 1)  # (N, 46)

        right = None
        if self.synthesis is not None and self.moved is not None:
            features = self.synthesis(read)
            moved = self.moved(features)
            moved = moved.unflatten(-1, (KEYPOINT_COUNT, 2))  # (N, 14, 2) right minus left
            right = self._right(points, moved)
            read = torch.cat([read, moved.flatten(1), features], 1)

        features = self.body(read)
        joints, deviation = self._joints(features)
        return StereoOutput(right, joints, deviation)

    def _right(
        self,
        points: Tensor,
        moved: Tensor,
    ) -> Tensor:
        """Return the keypoints in the second view (N, 14, 2), from their normalised shift."""
        mean, std = self.shift_statistics
        shift = torch.stack([mean, torch.zeros_like(mean)])
        return points + shift + std * moved.float()

    def _joints(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return joints about the root and the stds of their errors (N, 17, 3)."""
        mean, std = self.joints_statistics
        shape = (JOINT_COUNT, 3)
        standard = self.joints(features).float()
        standard = standard.unflatten(-1, shape)
        joints = mean + std * standard

        # The loss of the stds must not change the features.
        fixed = features.detach()
        log = self.deviation(fixed).float()
        log = log.unflatten(-1, shape)
        factor = log.clamp(-6, 3).exp()
        deviation = std * factor

        return joints - joints[:, :1], deviation


def _identity_statistics() -> Statistics:
    """Return statistics that leave the context and the joints about the root unchanged."""
    mean_and_std = torch.tensor([[0.0], [1.0]])
    return Statistics(
        context=mean_and_std.repeat(1, len(CONTEXT)),
        shift=torch.tensor([0.0, 1.0]),
        joints=torch.ones(2, JOINT_COUNT, 3),
    )
