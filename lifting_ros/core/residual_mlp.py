# SPDX-License-Identifier: Apache-2.0
"""A residual network from the keypoints of one person straight to 17 joints (after Martinez et al. 2017): the supervised baseline."""
from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lifting_ros.core.camera import Camera
from lifting_ros.core.checkpoint import CheckpointError, load_tensors, reason, save_tensors
from lifting_ros.core.config import from_mapping
from lifting_ros.core.skeleton import JOINT_COUNT, KEYPOINT_COUNT


@dataclass(frozen=True)
class ResidualMLPConfig:
    """Architecture."""

    width: int = field(default=1024, metadata={"description": "units of a layer", "range": (8, 8192)})
    blocks: int = field(default=2, metadata={"description": "residual blocks of two layers", "range": (1, 16)})
    dropout: float = field(default=0.1, metadata={"description": "share of units dropped in training", "range": (0.0, 0.9)})


def encode(keypoints: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """What the network reads of N persons, (N, 42) float32: place over extent, and visibility.

    keypoints (N, 14, 2) in pixels or on rays, anything where `visible` (N, 14) is false. Centred on the mean of the visible ones, divided
    by their root mean square distance from it; zero where not visible.
    """
    seen = np.asarray(visible, bool)[..., None]  # N, 14, 1
    count = np.maximum(seen.sum(1, keepdims=True), 1)
    points = np.where(seen, keypoints, 0.0)
    points = np.where(seen, points - points.sum(1, keepdims=True) / count, 0.0)
    extent = np.sqrt((points**2).sum((1, 2), keepdims=True) / count)
    points = points / np.where(extent > 0, extent, 1.0)
    return np.concatenate([points.reshape(-1, 2 * KEYPOINT_COUNT), seen[..., 0]], 1).astype(np.float32)  # N, 42


def _layer(inputs: int, width: int, dropout: float) -> list[nn.Module]:
    return [nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout)]


class _Block(nn.Module):
    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.layers = nn.Sequential(*_layer(width, width, dropout), *_layer(width, width, dropout))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class ResidualMLP(nn.Module):
    """Encoded persons (N, 42) to joints (N, 17, 3): optical frame, about the root, in units of the person's size."""

    def __init__(self, config: ResidualMLPConfig = ResidualMLPConfig()):
        super().__init__()
        self.config = config
        blocks = [_Block(config.width, config.dropout) for _ in range(config.blocks)]
        self.layers = nn.Sequential(
            *_layer(3 * KEYPOINT_COUNT, config.width, config.dropout), *blocks, nn.Linear(config.width, 3 * JOINT_COUNT)
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, encoded: Tensor) -> Tensor:
        joints = self.layers(encoded).float().unflatten(-1, (JOINT_COUNT, 3))  # N, 17, 3
        return joints - joints[:, :1]


@dataclass(frozen=True)
class SupervisedLifter:
    """The network with the mean size (root of the sum of squared limb lengths, m) of the people it learnt from."""

    network: ResidualMLP
    size_m: float

    def lift(self, keypoints_px: np.ndarray, confidence: np.ndarray, camera: Camera | None = None) -> np.ndarray:
        """Joints (N, 17, 3) about the root, metres, optical frame, of keypoints (N, 14, 2) and confidences (N, 14); 0 means not seen."""
        keypoints = camera.rays(keypoints_px) if camera is not None else np.asarray(keypoints_px, np.float64)
        visible = (np.asarray(confidence) > 0) & np.isfinite(keypoints).all(-1)
        with torch.inference_mode():
            joints = self.network(torch.from_numpy(encode(keypoints, visible)))
        return self.size_m * joints.double().numpy()

    def save(self, path: str | Path, card: dict) -> None:
        """Write weights in fp16 with architecture, size and a short card, whole or not at all."""
        half = {name: t.half() if t.is_floating_point() else t for name, t in self.network.state_dict().items()}
        header = {"residual_mlp": dataclasses.asdict(self.network.config), "size_m": self.size_m, "card": card}
        save_tensors(path, half, header)

    @classmethod
    def load(cls, path: str | Path) -> SupervisedLifter:
        """Read what `save` wrote; CheckpointError in one line where that cannot be done."""
        tensors, header = load_tensors(path)
        try:
            network = ResidualMLP(from_mapping(ResidualMLPConfig, header["residual_mlp"]))
            network.load_state_dict(tensors)
            size = float(header["size_m"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path}: holds no supervised lifter ({reason(error)})") from None
        return cls(network.float().eval(), size)
