# SPDX-License-Identifier: Apache-2.0
"""Training of the joint offsets (`lifting.joint_offsets`) of a keypoint network, on rendered
people, whose joints are known. Network and detector stay as they are: their answers are the
input."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lifting_ros.estimator import EstimatorConfig
from lifting_ros.lifting.encoding import INPUTS, encode_views, views_of
from lifting_ros.lifting.joint_offsets import OUTPUTS, axes_px, offsets_to
from lifting_ros.research.datasets.found_people import FoundPeople
from lifting_ros.research.training.beside_network import BesideNetworkConfig, batches, split
from lifting_ros.research.training.trainer import Trainer, run
from lifting_ros.skeleton import KEYPOINT_COUNT

FREEDOM = 3.0
"""Degrees of freedom of the Student t distribution of the errors, whose tails are heavy."""


@dataclass(frozen=True)
class JointOffsetsTrainConfig(BesideNetworkConfig):
    """The recipe of the joint offsets; `config/train_joint-offsets.yaml` is the one that ships."""

    samples: int = field(
        default=768_000, metadata={"description": "people seen in all", "range": (1, 10**9)}
    )
    warmup: float = field(
        default=0.05,
        metadata={"description": "share of the steps with a rising rate", "range": (0.0, 1.0)},
    )
    width: int = field(
        default=512, metadata={"description": "units of each layer", "range": (4, 8192)}
    )
    dropout: float = field(
        default=0.3, metadata={"description": "share of units dropped", "range": (0.0, 0.9)}
    )
    doubt: float = field(
        default=1.4,
        metadata={
            "description": (
                "factor on the std that is learnt: that of a Student t distribution, while the "
                "lifter's is Gaussian"
            ),
            "range": (0.1, 10.0),
        },
    )


class OffsetRows(NamedTuple):
    """N people, float32."""

    encoded: np.ndarray
    """(N, 44) keypoints, see `encoding`."""
    offset: np.ndarray
    """(N, 14, 2) from the keypoints to the true joints, as `JointOffsets.of_encoded` gives it; 0
    where not used."""
    log_std: np.ndarray
    """(N, 14) logarithm of the std that the network tells, in the same unit."""
    used: np.ndarray
    """(N, 14) bool: the keypoints that the lifter uses."""


def rows_of(people: FoundPeople, config: EstimatorConfig) -> OffsetRows:
    """What the offsets of these people are learnt from."""
    rows = []
    for index in range(len(people.up)):
        camera = people.camera(index)
        seen = people.seen(index, config)
        views = views_of(seen, camera, people.up[index], config.lifting)

        (axes,) = axes_px(views, seen)
        covariance = people.covariance_px2[index]
        variance = np.trace(covariance, axis1=1, axis2=2) / 2 / np.linalg.det(axes)
        (offset,) = offsets_to(people.joints_px(index)[None], views, seen)
        (encoded,) = encode_views(views, metric=True)
        (used,) = views.seen
        known_offset = np.where(used[:, None], offset, 0.0)
        log_std = np.log(np.where(used, variance, 1.0)) / 2
        rows.append(OffsetRows(encoded, known_offset, log_std, used))

    encoded, offset, log_std, used = (np.stack(values) for values in zip(*rows))
    return OffsetRows(encoded, offset.astype(np.float32), log_std.astype(np.float32), used)


class OffsetsNetwork(nn.Module):
    """`lifting.joint_offsets.JointOffsets` in torch, with the same names of tensors."""

    def __init__(self, config: JointOffsetsTrainConfig):
        super().__init__()
        self.noise = config.noise
        self.first = nn.Linear(INPUTS, config.width)
        self.second = nn.Linear(config.width, config.width)
        self.out = nn.Linear(config.width, OUTPUTS)
        self.drop = nn.Dropout(config.dropout)
        nn.init.normal_(self.out.weight, std=1e-3)
        nn.init.zeros_(self.out.bias)

    def forward(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets (N, 14, 2) and log factors (N, 14) on the stds."""
        if self.training:
            encoded = encoded + self.noise * torch.randn_like(encoded)
        first = self.drop(self.first(encoded).relu())
        second = self.drop(self.second(first).relu())
        x, y, log_factor = self.out(second).chunk(3, dim=1)
        return torch.stack([x, y], -1), log_factor


class JointOffsetsTrainer(Trainer):
    """Training by the likelihood of a Student t distribution in two dimensions."""

    def __init__(self, config: JointOffsetsTrainConfig):
        torch.manual_seed(config.seed)
        network = OffsetsNetwork(config)
        optimiser = torch.optim.AdamW(
            network.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        super().__init__(config, network, optimiser)

    def train_step(self, batch: OffsetRows) -> dict[str, float]:
        """Take one optimiser step; returns the loss and the mean distance from the joints."""
        self.begin_step()
        encoded, truth, log_told, used = (torch.from_numpy(values) for values in batch)
        offset, log_factor = self.network.train()(encoded)
        log_std = log_told + log_factor
        square = ((offset - truth) ** 2).sum(-1)
        surprise = torch.log1p(square * torch.exp(-2 * log_std) / FREEDOM)
        loss = (2 * log_std + (FREEDOM + 2) / 2 * surprise)[used].mean()
        self.descend(loss)

        return {"loss": loss.item(), "distance": square.sqrt()[used].mean().item()}


def train_joint_offsets(
    config: JointOffsetsTrainConfig, rows: OffsetRows, folder: Path, every: int = 1000
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Train to the end of the recipe, resuming from the state in `folder`, if there is one.

    Returns the averaged weights, and what `measure` gives of every HELD_BACK-th person, who is not
    learnt from.
    """
    known, strangers = split(rows)
    trainer = JointOffsetsTrainer(config)
    trainer.resume(folder)

    def doubtful_average() -> dict[str, Tensor]:
        weights = {name: value.clone() for name, value in trainer.average.items()}
        weights["out.bias"][2 * KEYPOINT_COUNT :] += math.log(config.doubt)
        return weights

    def evaluate() -> dict[str, float]:
        network = OffsetsNetwork(config)
        network.load_state_dict(doubtful_average())
        return measure(network.eval(), strangers)

    taught = batches(known, config, trainer.step)
    run(trainer, taught, folder, evaluate, every, people=len(known.used))
    return doubtful_average(), evaluate()


def measure(network: OffsetsNetwork, rows: OffsetRows) -> dict[str, float]:
    """Of the keypoints in use: distance from their joints, divided by the person's extent, mean and
    median, and the share inside the 50 and 90 % ellipses, in %; before and after."""
    with torch.inference_mode():
        offset, log_factor = network(torch.from_numpy(rows.encoded))

    figures = {}
    before = (np.zeros_like(rows.offset), np.zeros_like(rows.log_std))
    for name, (moved, factor) in {
        "before": before,
        "": (offset.numpy(), log_factor.numpy()),
    }.items():
        distance = np.linalg.norm(moved - rows.offset, axis=-1)[rows.used]
        square = (distance / np.exp(rows.log_std + factor)[rows.used]) ** 2
        for share in (50, 90):
            limit = -2 * math.log(1 - share / 100)
            figures[f"inside {share} % {name}".strip()] = 100 * float((square < limit).mean())
        figures[f"mean {name}".strip()] = float(distance.mean())
        figures[f"median {name}".strip()] = float(np.median(distance))

    return figures
