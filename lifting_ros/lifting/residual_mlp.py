# SPDX-License-Identifier: Apache-2.0
"""The residual network of the lifters that read one view (after Martinez et al. 2017).

It reads a person's keypoints and returns joints and a scale.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lifting_ros.config import from_mapping
from lifting_ros.io.checkpoint import (
    CheckpointError,
    half_precision,
    load_tensors,
    reason,
    save_tensors,
)
from lifting_ros.lifting.encoding import INPUTS, encode_views
from lifting_ros.lifting.learned_lifting import Guess, LearnedLifter
from lifting_ros.lifting.lifter_config import LifterConfig
from lifting_ros.lifting.observation import Views
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_TO_JOINT, LIMBS

_USUAL_STD = 0.05
"""Std of a joint, in units of the person's size, where the covariance head's output is zero."""


@dataclass(frozen=True)
class ResidualMLPConfig:
    """Architecture."""

    width: int = field(
        default=1024,
        metadata={
            "description": "units of a layer",
            "range": (8, 8192),
        },
    )
    blocks: int = field(
        default=1,
        metadata={
            "description": "residual blocks of two layers",
            "range": (1, 16),
        },
    )
    dropout: float = field(
        default=0.1,
        metadata={
            "description": "share of units dropped in training",
            "range": (0.0, 0.9),
        },
    )


def _layer(
    inputs: int,
    width: int,
    dropout: float,
) -> list[nn.Module]:
    return [
        nn.Linear(inputs, width),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.Dropout(dropout),
    ]


class _Block(nn.Module):
    def __init__(self, width: int, dropout: float):
        super().__init__()
        first = _layer(width, width, dropout)
        second = _layer(width, width, dropout)
        self.layers = nn.Sequential(*first, *second)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def residual_body(inputs: int, config) -> nn.Sequential:
    """Return a layer and residual blocks; config: with `width`, `blocks` and `dropout`."""
    width = config.width
    dropout = config.dropout
    layers = []
    for _ in range(config.blocks):
        layers.append(_Block(width, dropout))
    first = _layer(inputs, width, dropout)

    return nn.Sequential(*first, *layers)


class Pose(NamedTuple):
    """Joints and scale of N persons."""

    joints: Tensor
    """(N, J, 3) view frame, in the network's own unit, about an arbitrary origin."""
    scale: Tensor
    """(N,) in (0, 1): of the scaled orthographic camera, or 1 divided by the distance."""


class ResidualMLP(nn.Module):
    """Encoded persons (N, 44) to a `Pose`, and to the covariances of its errors."""

    middle: Tensor
    completion: Tensor
    inflation: Tensor

    def __init__(
        self,
        config: ResidualMLPConfig = ResidualMLPConfig(),
        joints: int = JOINT_COUNT,
    ):
        """joints: 17, or 14 if only the keypoints' joints are learnt.

        In that case `completion` makes the others from them, linearly.
        """
        super().__init__()
        self.config = config
        self.joints = joints

        # Layers; the order decides the random weights that each gets.
        self.layers = residual_body(INPUTS, config)
        self.pose = nn.Linear(config.width, 3 * joints)
        self.scale = nn.Linear(config.width, 1)
        self.spread = nn.Linear(config.width, 6 * JOINT_COUNT)

        # Undo the standardisation of joints; `unit` is learned if there are no statistics.
        self.unit = nn.Parameter(torch.ones(joints, 3))
        self.register_buffer("middle", torch.zeros(joints, 3))

        completion = torch.zeros(JOINT_COUNT, joints)
        if joints == JOINT_COUNT:
            completion = torch.eye(JOINT_COUNT)
        self.register_buffer("completion", completion)
        self.register_buffer("inflation", torch.ones(3))

        initialise_linear(self)
        nn.init.zeros_(self.spread.weight)

    def forward(self, encoded: Tensor) -> Pose:
        features = self.layers(encoded)
        joints = self.joints_of(features)
        scale = self.scale(features).float().sigmoid()
        return Pose(joints, scale[:, 0])

    def joints_of(self, features: Tensor) -> Tensor:
        """Return the joints (N, J, 3) of `Pose`, from features (N, width)."""
        standard = self.pose(features).float()
        standard = standard.unflatten(-1, (self.joints, 3))
        scaled = standard * self.unit
        return scaled + self.middle

    def shape(
        self,
        joints: Tensor,
        normalised: bool,
    ) -> Tensor:
        """Return all 17 joints about the root (N, 17, 3), from those of `Pose` (N, J, 3).

        normalised: divide them by their own size.
        """
        whole = torch.einsum("jk,nka->nja", self.completion, joints)  # (N, 17, 3)
        whole = whole - whole[:, :1]
        if not normalised:
            return whole

        return whole / size_of(whole)[:, None, None]

    def factors(self, features: Tensor) -> Tensor:
        """Return lower triangular factors (N, 17, 3, 3) of the covariances of `shape`.

        They are in units of the size.
        """
        raw = self.spread(features).float()
        raw = raw.unflatten(-1, (JOINT_COUNT, 6))  # (N, 17, 6)
        log_diagonal = raw[..., :3].clamp(-4.0, 3.0)
        diagonal = _USUAL_STD * torch.exp(log_diagonal)
        below = _USUAL_STD * raw[..., 3:]

        leading = raw.shape[:-1]
        factors = raw.new_zeros(*leading, 3, 3)
        factors[..., _DIAGONAL, _DIAGONAL] = diagonal
        factors[..., _BELOW_ROWS, _BELOW_COLUMNS] = below

        return factors


def initialise_linear(network: nn.Module) -> None:
    """Give all linear layers random weights for ReLU (He et al. 2015), and no bias."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)


_DIAGONAL = [0, 1, 2]
_BELOW_ROWS = [1, 2, 2]
_BELOW_COLUMNS = [0, 0, 1]
"""Entries of a 3x3 matrix: the diagonal, and those below it."""

_PARENTS = [parent for parent, _ in LIMBS]
_CHILDREN = [child for _, child in LIMBS]


def size_of(joints: Tensor) -> Tensor:
    """Return the root of the sum of squared limb lengths (N,) of joints (N, 17, 3)."""
    starts = joints[:, _PARENTS]
    ends = joints[:, _CHILDREN]
    limbs = ends - starts
    square = limbs.square().sum((1, 2))
    size = square.sqrt()

    return size.clamp_min(1e-6)


class MLPLifter(LearnedLifter):
    """A trained `ResidualMLP` as a lifter."""

    normalised = False
    """Whether poses come without a size, in an arbitrary unit."""

    def __init__(
        self,
        network: ResidualMLP,
        size: tuple[float, float],
        config: LifterConfig | None = None,
    ):
        super().__init__(size, config)
        self.network = network.float().eval()

    def guess(
        self,
        views: Views,
        metric: bool,
    ) -> Guess:
        network = self.network
        encoded = torch.from_numpy(encode_views(views, metric))
        with torch.inference_mode():
            features = network.layers(encoded)
            shape = network.shape(network.joints_of(features), self.normalised)
            triangular = network.factors(features)

        joints = shape.double().numpy()
        factors = triangular.double().numpy()

        # Inflation as calibrated
        inferred, observed, root = network.inflation.tolist()
        scale = np.full(joints.shape[:2], inferred)
        scale[:, list(KEYPOINT_TO_JOINT)] = np.where(views.seen, observed, inferred)

        squared = np.einsum("vjab,vjcb->vjac", factors, factors)
        covariance = scale[..., None, None] * squared
        covariance[:, 0] = 0.0
        return Guess(joints, covariance, root)

    def save(
        self,
        path: str | Path,
        card: dict,
    ) -> None:
        """Write weights in fp16 with method, architecture, sizes and a short card.

        `path` is replaced only when the file is complete.
        """
        header = {
            "lifter": self.method,
            "residual_mlp": dataclasses.asdict(self.network.config),
            "joints": self.network.joints,
            "size_m": list(self.learned_size),
            "card": card,
        }
        save_tensors(path, half_precision(self.network.state_dict()), header)

    @classmethod
    def load(
        cls,
        path: str | Path,
        config: LifterConfig | None = None,
    ) -> MLPLifter:
        """Return a saved lifter; CheckpointError in one line if the file does not hold one."""
        tensors, header = load_tensors(path)
        found = header.get("lifter", "something else")
        if found != cls.method:
            raise CheckpointError(f"{path}: expected weights of {cls.method}, got those of {found}")

        try:
            architecture = from_mapping(ResidualMLPConfig, header["residual_mlp"])
            network = ResidualMLP(architecture, int(header["joints"]))
            network.load_state_dict(tensors)
            mean, std = map(float, header["size_m"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{path}: holds no {cls.method} lifter ({reason(error)})"
            ) from None

        return cls(network, (mean, std), config)


class SupervisedLifter(MLPLifter):
    """Learned from joints in metres by plain regression: the baseline."""

    method = "supervised"


class RelativeLifter(MLPLifter):
    """Learned from which of two joints is farther away ("It's all Relative", BMVC 2018).

    Its poses have no size of their own.
    """

    method = "relative"
    normalised = True
