# SPDX-License-Identifier: Apache-2.0
"""A network from the crop of a person straight to 17 joints, trained on labelled photographs: a
baseline for comparison (ICCV workshop 2019), not a lifter of the node.

A small head reads the features F and the trunk's last layer of a `full` or `lite` network, of which
nothing, a part or everything is trained with it. It uses neither keypoints nor geometry.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lifting_ros.config import from_mapping
from lifting_ros.io.checkpoint import CheckpointError, load_tensors, reason, save_tensors, sha256_of
from lifting_ros.keypoints.layers import conv
from lifting_ros.keypoints.network import MultistageNetwork
from lifting_ros.keypoints.network_weights import load_network
from lifting_ros.research.training.state import with_prefix
from lifting_ros.research.training.trunk_parts import freeze_features
from lifting_ros.skeleton import JOINT_COUNT, JOINT_PARENTS


@dataclass(frozen=True)
class ImagePoseConfig:
    """Architecture of the head."""

    widths: tuple[int, ...] = field(
        default=(64, 96, 128),
        metadata={"description": "channels of its convolutions, each halves the features' side"},
    )
    hidden: int = field(
        default=256, metadata={"description": "units of its last layer", "range": (8, 4096)}
    )
    dropout: float = field(
        default=0.2,
        metadata={"description": "share of these dropped in training", "range": (0.0, 0.9)},
    )


class ImagePoseHead(nn.Module):
    """From features (N, F, h, h) and the trunk's last layer (N, c) to joints (N, 17, 3) about the
    root, divided by the person's size.

    The head predicts limbs, each joint relative to its parent: limbs are of similar length, joint
    positions are not.
    """

    def __init__(
        self,
        config: ImagePoseConfig,
        features: int,
        side: int,
        deep: int,
    ):
        """features, side: F and h; deep: c."""
        super().__init__()
        self.config = config
        layers = []
        channels = features
        for width in config.widths:
            layers.append(conv(channels, width, 3, 2))
            channels = width
            side = (side + 1) // 2

        self.body = nn.Sequential(*layers, nn.Flatten())
        self.out = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(channels * side * side + deep, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, 3 * JOINT_COUNT - 3),
        )
        nn.init.normal_(self.out[-1].weight, std=1e-3)

    def forward(self, features: Tensor, deep: Tensor) -> Tensor:
        both = torch.cat([self.body(features), deep], 1)
        limbs = self.out(both).float().unflatten(-1, (JOINT_COUNT - 1, 3))  # (N, 16, 3)

        joints = [torch.zeros_like(limbs[:, 0])]
        for joint in range(1, JOINT_COUNT):
            parent = joints[JOINT_PARENTS[joint]]
            joints.append(parent + limbs[:, joint - 1])

        return torch.stack(joints, 1)  # (N, 17, 3)


class ImagePoseNetwork(nn.Module):
    """The features of a `full` or `lite` network, and the head."""

    def __init__(
        self,
        trunk: MultistageNetwork,
        config: ImagePoseConfig = ImagePoseConfig(),
        trained: str = "frozen",
    ):
        """trunk: stays as it is, the features are copied; trained: which part of them is trained,
        one of `trunk_parts.TRAINED`."""
        super().__init__()
        self.trunk = copy.deepcopy(trunk.features).eval()
        self.trunk_trained = trained
        freeze_features(self.trunk, trained)

        self.input_px = trunk.config.input_px
        with torch.inference_mode():
            features, code = self.trunk(torch.zeros(1, 3, self.input_px, self.input_px))

        _, channels, side, _ = features.shape
        self.head = ImagePoseHead(config, channels, side, code.deep.shape[1])

    @property
    def learnt(self) -> nn.Module:
        """What a training changes: the head, or all where a part of the trunk is trained."""
        return self.head if self.trunk_trained == "frozen" else self

    def trunk_tensors(self) -> dict[str, Tensor]:
        """The tensors of the trunk that are trained, by name."""
        found = {}
        for name, value in self.trunk.named_parameters():
            if value.requires_grad:
                found[name] = value.detach()
        return found

    def train(self, mode: bool = True) -> ImagePoseNetwork:
        """Set the head's mode; the batch norms of the trunk never learn."""
        self.training = mode
        self.head.train(mode)
        return self

    def forward(self, crops: Tensor) -> Tensor:
        """From crops (N, 3, input_px, input_px) in [0, 1] RGB to joints (N, 17, 3) about the root,
        in the frame that looks at the middle of the crop, divided by the person's size."""
        features, code = self.trunk(crops)
        return self.head(features, code.deep)


@dataclass(frozen=True)
class ImagePose:
    """The trained network, and the mean size (metres) of the people in its training set."""

    network: ImagePoseNetwork
    size_m: float

    def estimate(self, crops: Tensor) -> np.ndarray:
        """Joints (N, 17, 3) about the root, metres, of crops (N, 3, S, S) in [0, 1] RGB; in the
        optical frame, turned to the middle of the crop."""
        with torch.inference_mode():
            joints = self.network.eval()(crops)
            return self.size_m * joints.double().numpy()

    def save(
        self,
        path: str | Path,
        trunk: str | Path,
        card: dict,
    ) -> None:
        """Write the head and what is trained of the trunk in fp16, whole or not at all, with the
        SHA-256 of the weights file `trunk`, which has the rest."""
        tensors = dict(self.network.head.state_dict())
        for name, value in self.network.trunk_tensors().items():
            tensors[_TRUNK + name] = value

        half = {}
        for name, value in tensors.items():
            half[name] = value.half() if value.is_floating_point() else value

        header = {
            "image_pose": dataclasses.asdict(self.network.head.config),
            "trunk_trained": self.network.trunk_trained,
            "trunk_sha256": sha256_of(trunk),
            "size_m": self.size_m,
            "card": card,
        }
        save_tensors(path, half, header)

    @classmethod
    def load(
        cls,
        path: str | Path,
        trunk: str | Path,
        prior=None,
    ) -> ImagePose:
        """Read what `save` wrote.

        trunk: the weights file it was trained on; prior: their MixturePPCA, if they are fused.
        CheckpointError in one line where that cannot be done.
        """
        tensors, header = load_tensors(path)
        if header.get("trunk_sha256") not in (None, sha256_of(trunk)):
            raise CheckpointError(
                f"{path}: was trained on the features of other weights than {trunk}"
            )

        try:
            config = from_mapping(ImagePoseConfig, header["image_pose"])
            trained = header.get("trunk_trained", "frozen")  # earlier versions trained none of it
            network = ImagePoseNetwork(load_network(trunk, prior), config, trained)
            _restore(network, tensors)
            size = float(header["size_m"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{path}: holds no network from image to 3D ({reason(error)})"
            ) from None

        return cls(network.eval(), size)


_TRUNK = "trunk."
"""Prefix of the trunk's tensors in a file."""


def _restore(network: ImagePoseNetwork, tensors: dict[str, Tensor]) -> None:
    """Copy the tensors of a file; KeyError or RuntimeError where they are not the network's."""
    head = {name: value for name, value in tensors.items() if not name.startswith(_TRUNK)}
    network.head.load_state_dict(head)

    own = with_prefix(tensors, _TRUNK)
    if own.keys() != network.trunk_tensors().keys():
        raise KeyError("tensors of the trunk")
    network.trunk.load_state_dict(network.trunk.state_dict() | own)
