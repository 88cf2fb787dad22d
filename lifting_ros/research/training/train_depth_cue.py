# SPDX-License-Identifier: Apache-2.0
"""Training of the depth cue (`lifting.depth_cue`) of a keypoint network, on rendered people, whose
joints are known. Network and detector stay as they are: their answers are its input."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lifting_ros.errors import DataError
from lifting_ros.estimator import EstimatorConfig
from lifting_ros.lifting.depth_cue import MOST_UNUSUAL
from lifting_ros.lifting.encoding import INPUTS, encode_views, views_of
from lifting_ros.lifting.observation import NONE
from lifting_ros.research.datasets.found_people import JOINTS_OF_KEYPOINTS, FoundPeople
from lifting_ros.research.training.beside_network import BesideNetworkConfig, batches, split
from lifting_ros.research.training.trainer import Trainer, run
from lifting_ros.skeleton import KEYPOINT_COUNT, limb_lengths

_USUAL_LOG_STD = -2.5
"""Logarithm of the std of a depth, in sizes, before training."""


@dataclass(frozen=True)
class DepthCueTrainConfig(BesideNetworkConfig):
    """The recipe of the depth cue; `config/train_depth-cue.yaml` is the one that ships."""

    samples: int = field(
        default=220_000, metadata={"description": "people seen in all", "range": (1, 10**9)}
    )
    warmup: float = field(
        default=0.2,
        metadata={"description": "share of the steps with a rising rate", "range": (0.0, 1.0)},
    )
    width: int = field(
        default=256,
        metadata={"description": "units that read the keypoints, and of both", "range": (4, 8192)},
    )
    deep_width: int = field(
        default=32,
        metadata={
            "description": "units that read the trunk at each keypoint",
            "range": (4, 8192),
        },
    )
    deep_dropout: float = field(
        default=0.4,
        metadata={"description": "share of the trunk's channels dropped", "range": (0.0, 0.9)},
    )
    dropout: float = field(
        default=0.2, metadata={"description": "share of other units dropped", "range": (0.0, 0.9)}
    )
    doubt: float = field(
        default=1.25,
        metadata={
            "description": (
                "factor on the std that is learnt: a person's depths err alike, and the lifter "
                "takes their errors as independent"
            ),
            "range": (0.1, 10.0),
        },
    )


class CueRows(NamedTuple):
    """N people, as the network finds them, and their true depths."""

    encoded: np.ndarray
    """(N, 44) keypoints, see `encoding`."""
    local: np.ndarray
    """(N, 14, c) the trunk's last layer at the keypoints; float16."""
    z: np.ndarray
    """(N, 14) of the keypoints' joints about their mean, along the line of sight to the person,
    divided by the person's size."""


def rows_of(people: FoundPeople, config: EstimatorConfig) -> CueRows:
    """What the cue learns from these people, without those whose keypoints are too few for a view
    frame.

    DataError for a network without a trunk.
    """
    if people.local.shape[-1] == 0:
        raise DataError("depth cue: expected a network on a pretrained trunk (full or lite)")

    chosen = []
    encoded = []
    relative = []
    for index in range(len(people.up)):
        seen = people.seen(index, config)
        views = views_of(seen, people.camera(index), people.up[index], config.lifting)
        if views.level[0] == NONE:
            continue

        joints_m = people.joints_m[index]
        z = joints_m[JOINTS_OF_KEYPOINTS] @ views.frame[0, 2].astype(float)
        size = np.sqrt((limb_lengths(joints_m) ** 2).sum())
        chosen.append(index)
        encoded.append(encode_views(views, metric=True)[0])
        relative.append((z - z.mean()) / size)

    z_of_each = np.array(relative, np.float32).reshape(-1, KEYPOINT_COUNT)
    return CueRows(np.array(encoded).reshape(-1, INPUTS), people.local[chosen], z_of_each)


class CueNetwork(nn.Module):
    """`lifting.depth_cue.DepthCue` in torch, with the same names of tensors.

    In training some channels of the trunk's layer are dropped, each at all keypoints at once.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: DepthCueTrainConfig, mean: np.ndarray, std: np.ndarray):
        """mean, std: (c,) of the trunk's last layer at the keypoints of the training people."""
        super().__init__()
        self.noise = config.noise
        self.keypoints = nn.Linear(INPUTS, config.width)
        self.deep = nn.Linear(len(mean), config.deep_width)
        of_trunk = KEYPOINT_COUNT * config.deep_width
        self.middle = nn.Linear(config.width + of_trunk, config.width)
        self.out = nn.Linear(config.width, 2 * KEYPOINT_COUNT)
        self.drop_deep = nn.Dropout(config.deep_dropout)
        self.drop = nn.Dropout(config.dropout)

        nn.init.normal_(self.out.weight, std=1e-3)
        nn.init.zeros_(self.out.bias)
        with torch.no_grad():
            self.out.bias[KEYPOINT_COUNT:] = _USUAL_LOG_STD
        self.register_buffer("mean", torch.from_numpy(mean).float())
        self.register_buffer("std", torch.from_numpy(std).float().clamp_min(1e-3))

    def forward(self, encoded: Tensor, local: Tensor) -> tuple[Tensor, Tensor]:
        """z about its mean and the logarithm of its std, (N, 14) each."""
        if self.training:
            encoded = encoded + self.noise * torch.randn_like(encoded)
        usual = ((local - self.mean) / self.std).clamp(-MOST_UNUSUAL, MOST_UNUSUAL)

        of_keypoints = self.drop(self.keypoints(encoded).relu())
        kept = self.drop_deep(torch.ones_like(usual[:, :1]))
        of_trunk = self.drop(self.deep(kept * usual).relu())
        middle = self.middle(torch.cat([of_keypoints, of_trunk.flatten(1)], 1)).relu()
        z, log_std = self.out(self.drop(middle)).chunk(2, dim=1)
        return z - z.mean(1, keepdim=True), log_std


class DepthCueTrainer(Trainer):
    """Training by the likelihood of a Laplace distribution, as large errors are frequent."""

    def __init__(self, config: DepthCueTrainConfig, rows: CueRows):
        torch.manual_seed(config.seed)
        self.moments = moments(rows.local)
        network = CueNetwork(config, *self.moments)
        optimiser = torch.optim.AdamW(
            network.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        super().__init__(config, network, optimiser)

    def train_step(self, batch: CueRows) -> dict[str, float]:
        """Take one optimiser step; returns the loss and the mean error, divided by the size."""
        self.begin_step()
        encoded, local, truth = (torch.from_numpy(values).float() for values in batch)
        z, log_std = self.network.train()(encoded, local)
        error = (z - truth).abs()
        loss = (math.sqrt(2) * error * torch.exp(-log_std) + log_std).mean()
        self.descend(loss)

        return {"loss": loss.item(), "error": error.mean().item()}


def moments(local: np.ndarray, most: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Mean and std (c,) of the trunk's last layer (N, 14, c) at the keypoints, from up to `most`
    people."""
    some = local[:most].astype(np.float32)
    return some.mean((0, 1)), some.std((0, 1))


def train_depth_cue(
    config: DepthCueTrainConfig, rows: CueRows, folder: Path, every: int = 500
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Train to the end of the recipe, resuming from the state in `folder`, if there is one.

    Returns the averaged weights, and what `measure` gives of every HELD_BACK-th person, who is not
    learnt from.
    """
    known, strangers = split(rows)
    trainer = DepthCueTrainer(config, known)
    trainer.resume(folder)

    def average() -> CueNetwork:
        network = CueNetwork(config, *trainer.moments)
        network.load_state_dict(trainer.average)
        return network.eval()

    def evaluate() -> dict[str, float]:
        return measure(average(), strangers)

    taught = batches(known, config, trainer.step)
    run(trainer, taught, folder, evaluate, every, people=len(known.z))

    weights = average().state_dict()
    weights["out.bias"][KEYPOINT_COUNT:] += math.log(config.doubt)
    return weights, evaluate()


def measure(network: CueNetwork, rows: CueRows) -> dict[str, float]:
    """Errors of the depths, divided by the size: mean, median, and mean square divided by the
    variance that was told; beside them the mean error of guessing that all joints are equally
    far."""
    with torch.inference_mode():
        z, log_std = network(torch.from_numpy(rows.encoded), torch.from_numpy(rows.local).float())

    error = np.abs(z.numpy() - rows.z)
    return {
        "mean": float(error.mean()),
        "median": float(np.median(error)),
        "normalised square": float(np.mean((error / log_std.exp().numpy()) ** 2)),
        "mean of no guess": float(np.abs(rows.z).mean()),
    }
