# SPDX-License-Identifier: Apache-2.0
"""The residual network of both systems that read one view (after Martinez et al. 2017): a person's
keypoints in, joints and a scale out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lifting_ros.config import from_mapping
from lifting_ros.io.checkpoint import CheckpointError, load_tensors, reason, save_tensors
from lifting_ros.lifting.learned_lifting import Guess, LearnedLifter
from lifting_ros.lifting.lifter_config import LifterConfig
from lifting_ros.lifting.observation import PITCH_STEP, Views
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT, KEYPOINT_TO_JOINT, LIMBS

INPUTS = 3 * KEYPOINT_COUNT + 2
"""Numbers that the network reads of a person."""

HALF_CERTAIN = 0.05
"""Deviation of a keypoint, over the root mean square distance of the keypoints from their mean, at
which it counts half."""
USUAL_EXTENT, MOST_EXTENT = 0.12, 1.2
"""That distance on the rays of somebody four metres away; the largest logarithm of a ratio to it
that the network is told."""


@dataclass(frozen=True)
class ResidualMLPConfig:
    """Architecture."""

    width: int = field(
        default=1024, metadata={"description": "units of a layer", "range": (8, 8192)}
    )
    blocks: int = field(
        default=1, metadata={"description": "residual blocks of two layers", "range": (1, 16)}
    )
    dropout: float = field(
        default=0.1,
        metadata={"description": "share of units dropped in training", "range": (0.0, 0.9)},
    )


def encode(
    points: np.ndarray, deviation: np.ndarray, visible: np.ndarray, pitch: np.ndarray, metric=True
) -> np.ndarray:
    """What the network reads of N persons, (N, 44) float32: places over extent, certainties, pitch
    and extent.

    points (N, 14, 2) on the rays of a view frame and their deviations (N, 14), anything where
    `visible` (N, 14) is false; pitch (N,) of the view, radians. Places are about the mean of the
    visible ones, over their root mean square distance from it; zero where not visible. Where no
    camera is known, not `metric` (a bool, or (N, 1) of them), that extent tells nothing.
    """
    seen = np.asarray(visible, bool)[..., None]  # N, 14, 1
    count = np.maximum(seen.sum(1, keepdims=True), 1)
    places = np.where(seen, points, 0.0)
    places = np.where(seen, places - places.sum(1, keepdims=True) / count, 0.0)
    extent = np.sqrt((places**2).sum((1, 2), keepdims=True) / count)  # N, 1, 1
    extent = np.where(extent > 0, extent, 1.0)
    certain = np.where(
        seen, 1.0 / (1.0 + np.where(seen, deviation[..., None], 0.0) / (HALF_CERTAIN * extent)), 0.0
    )
    wide = np.log(extent[:, 0] / USUAL_EXTENT).clip(-MOST_EXTENT, MOST_EXTENT) * metric  # N, 1
    columns = (
        (places / extent).reshape(-1, 2 * KEYPOINT_COUNT),
        certain[..., 0],
        np.sin(pitch)[:, None],
        wide,
    )
    return np.concatenate(columns, 1).astype(np.float32)  # N, 44


def encode_views(views: Views, metric: bool) -> np.ndarray:
    """`encode` of persons in view frames."""
    spread = (views.centred.astype(np.float64) ** 2).sum(1) / np.maximum(views.seen.sum(1), 1)
    deviation = np.sqrt(0.5 * (views.noise[..., 0] + views.noise[..., 2]) * spread[:, None])
    return encode(views.rays, deviation, views.seen, views.pitch * PITCH_STEP, metric)


def _layer(inputs: int, width: int, dropout: float) -> list[nn.Module]:
    return [nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout)]


class _Block(nn.Module):
    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.layers = nn.Sequential(*_layer(width, width, dropout), *_layer(width, width, dropout))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def residual_body(inputs: int, config) -> nn.Sequential:
    """A layer and residual blocks of a config with `width`, `blocks` and `dropout`."""
    blocks = [_Block(config.width, config.dropout) for _ in range(config.blocks)]
    return nn.Sequential(*_layer(inputs, config.width, config.dropout), *blocks)


class Pose(NamedTuple):
    """What the two heads say of N persons."""

    joints: Tensor
    """(N, J, 3) view frame, in the network's own unit, the root wherever it came to lie."""
    scale: Tensor
    """(N,) in (0, 1): of the scaled orthographic camera, or of one over the distance."""


class ResidualMLP(nn.Module):
    """Encoded persons (N, 44) to a `Pose`, and to the deviations of its errors."""

    def __init__(self, config: ResidualMLPConfig = ResidualMLPConfig(), joints: int = JOINT_COUNT):
        """joints: 17, or 14 where the keypoints' joints alone are learnt; the others are then
        linear in them (`completion`)."""
        super().__init__()
        self.config, self.joints = config, joints
        self.layers = residual_body(INPUTS, config)
        self.pose, self.scale = nn.Linear(config.width, 3 * joints), nn.Linear(config.width, 1)
        self.spread = nn.Linear(config.width, 6 * JOINT_COUNT)
        self.unit = nn.Parameter(
            torch.ones(joints, 3)
        )  # undoes the standardisation, learned where there are no statistics
        self.register_buffer("middle", torch.zeros(joints, 3))
        self.register_buffer(
            "completion",
            torch.eye(JOINT_COUNT) if joints == JOINT_COUNT else torch.zeros(JOINT_COUNT, joints),
        )
        self.register_buffer("inflation", torch.ones(3))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        nn.init.zeros_(self.spread.weight)

    def forward(self, encoded: Tensor) -> Pose:
        features = self.layers(encoded)
        joints = self.pose(features).float().unflatten(-1, (self.joints, 3))  # N, J, 3
        return Pose(joints * self.unit + self.middle, self.scale(features).float().sigmoid()[:, 0])

    def shape(self, joints: Tensor, normalised: bool) -> Tensor:
        """All 17 joints about the root (N, 17, 3) of the heads' (N, J, 3); normalised: divided by
        their own size."""
        whole = torch.einsum("jk,nka->nja", self.completion, joints)  # N, 17, 3
        whole = whole - whole[:, :1]
        return whole / size_of(whole)[:, None, None] if normalised else whole

    def factors(self, features: Tensor) -> Tensor:
        """Lower triangular factors (N, 17, 3, 3) of the covariances of `shape`, in units of the
        size."""
        raw = self.spread(features).float().unflatten(-1, (JOINT_COUNT, 6))  # N, 17, 6
        factors = raw.new_zeros(*raw.shape[:-1], 3, 3)
        diagonal = 0.05 * torch.exp(raw[..., :3].clamp(-4.0, 3.0))
        factors[..., [0, 1, 2], [0, 1, 2]] = diagonal
        factors[..., [1, 2, 2], [0, 0, 1]] = 0.05 * raw[..., 3:]
        return factors


_PARENTS, _CHILDREN = (list(ends) for ends in zip(*LIMBS))


def size_of(joints: Tensor) -> Tensor:
    """Root of the sum of squared limb lengths (N,) of joints (N, 17, 3)."""
    return (joints[:, _CHILDREN] - joints[:, _PARENTS]).square().sum((1, 2)).sqrt().clamp_min(1e-6)


class MLPLifter(LearnedLifter):
    """A trained `ResidualMLP` as a lifter."""

    normalised = False
    """Whether poses come in a unit of their own, without a size."""

    def __init__(
        self, network: ResidualMLP, size: tuple[float, float], config: LifterConfig | None = None
    ):
        super().__init__(size, config)
        self.network = network.float().eval()

    def guess(self, views: Views, metric: bool) -> Guess:
        network = self.network
        with torch.inference_mode():
            features = network.layers(torch.from_numpy(encode_views(views, metric)))
            joints = (
                network.pose(features).unflatten(-1, (network.joints, 3)) * network.unit
                + network.middle
            )
            shape = network.shape(joints, self.normalised).double().numpy()
            factors = network.factors(features).double().numpy()
        inferred, observed, root = network.inflation.tolist()
        scale = np.full(shape.shape[:2], inferred)
        scale[:, list(KEYPOINT_TO_JOINT)] = np.where(views.seen, observed, inferred)
        covariance = scale[..., None, None] * np.einsum("vjab,vjcb->vjac", factors, factors)
        covariance[:, 0] = 0.0
        return Guess(shape, covariance, root)

    def save(self, path: str | Path, card: dict) -> None:
        """Write weights in fp16 with method, architecture, sizes and a short card, whole or not at
        all."""
        half = {
            name: t.half() if t.is_floating_point() else t
            for name, t in self.network.state_dict().items()
        }
        made_of = {
            "residual_mlp": dataclasses.asdict(self.network.config),
            "joints": self.network.joints,
        }
        save_tensors(
            path,
            half,
            {"lifter": self.method, **made_of, "size_m": list(self.learned_size), "card": card},
        )

    @classmethod
    def load(cls, path: str | Path, config: LifterConfig | None = None) -> MLPLifter:
        """Read what `save` wrote; CheckpointError in one line where that cannot be done."""
        tensors, header = load_tensors(path)
        if header.get("lifter") != cls.method:
            raise CheckpointError(
                f"{path}: expected weights of {cls.method}, got those of {header.get('lifter', 'something else')}"
            )
        try:
            network = ResidualMLP(
                from_mapping(ResidualMLPConfig, header["residual_mlp"]), int(header["joints"])
            )
            network.load_state_dict(tensors)
            mean, deviation = map(float, header["size_m"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{path}: holds no {cls.method} lifter ({reason(error)})"
            ) from None
        return cls(network, (mean, deviation), config)


class SupervisedLifter(MLPLifter):
    """Learned from joints in metres by plain regression: the baseline."""

    method = "supervised"


class RelativeLifter(MLPLifter):
    """Learned from which of two joints is farther away ("It's all Relative", BMVC 2018); its poses
    have no size of their own."""

    method, normalised = "relative", True
