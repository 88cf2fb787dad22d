# SPDX-License-Identifier: Apache-2.0
"""Training of the network from image to 3D. The labels of `lifting label` are its only 3D
supervision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from lifting_ros.errors import DataError
from lifting_ros.keypoints.network import MultistageNetwork
from lifting_ros.research.labels.label_crops import LabelCrops, LabelSet
from lifting_ros.research.training.image_pose import ImagePose, ImagePoseConfig, ImagePoseNetwork
from lifting_ros.research.training.trainer import Schedule, Trainer, run
from lifting_ros.research.training.trunk_parts import TRAINED, rate_groups


@dataclass(frozen=True)
class ImageTrainConfig(Schedule):
    """The recipe of the network from image to 3D; `config/train_image.yaml` has its defaults."""

    network: ImagePoseConfig = field(
        default=ImagePoseConfig(), metadata={"description": "architecture of the head"}
    )
    trunk_trained: str = field(
        default="deep",
        metadata={
            "description": (
                "what of the trunk is trained: nothing, its pyramid and heads, its deep blocks "
                "too, or all"
            ),
            "choices": TRAINED,
        },
    )
    trunk_rate: float = field(
        default=0.1,
        metadata={"description": "rate of the trunk, relative to the head's", "range": (0.0, 1.0)},
    )
    precision: str = field(
        default="float32",
        metadata={"description": "of the convolutions", "choices": ("bfloat16", "float32")},
    )
    samples: int = field(
        default=60_000, metadata={"description": "training crops in all", "range": (1, 10**9)}
    )
    batch: int = field(default=32, metadata={"description": "crops per step", "range": (2, 65536)})
    learning_rate: float = field(
        default=1e-3, metadata={"description": "peak rate of AdamW", "range": (0.0, 1.0)}
    )
    weight_decay: float = field(
        default=0.02, metadata={"description": "weight decay", "range": (0.0, 10.0)}
    )
    warmup: float = field(
        default=0.05,
        metadata={"description": "share of the steps with a rising rate", "range": (0.0, 1.0)},
    )
    ema: float = field(
        default=0.99, metadata={"description": "decay of the averaged weights", "range": (0.0, 1.0)}
    )
    mirror: float = field(
        default=0.5, metadata={"description": "share of mirrored crops", "range": (0.0, 1.0)}
    )
    turn_deg: float = field(
        default=25.0,
        metadata={"description": "largest roll of a crop", "unit": "deg", "range": (0.0, 180.0)},
    )
    seed: int = field(
        default=0, metadata={"description": "seed of weights and crops", "range": (0, 2**31 - 1)}
    )


class ImageTrainer(Trainer):
    """Training of the head, and of the part of the trunk that the recipe names."""

    def __init__(self, config: ImageTrainConfig, trunk: MultistageNetwork):
        """trunk: gives its features, and stays as it is."""
        torch.manual_seed(config.seed)
        self.whole = ImagePoseNetwork(trunk, config.network, config.trunk_trained)
        groups = rate_groups(self.whole, "trunk.", config.trunk_rate)
        optimiser = torch.optim.AdamW(
            groups, config.learning_rate, weight_decay=config.weight_decay
        )
        super().__init__(config, self.whole.learnt, optimiser)

    def make(self, labels: LabelSet) -> LabelCrops:
        """The batch of this step, which depends only on the seed and the step."""
        config = self.config
        rng = np.random.default_rng((config.seed, self.step))
        chosen = rng.integers(0, len(labels), config.batch)
        return labels.disturbed(chosen, self.whole.input_px, rng, config.mirror, config.turn_deg)

    def train_step(self, batch: LabelCrops) -> dict[str, float]:
        """Take one optimiser step; returns the mean distance of a joint from its label, divided by
        the person's size."""
        self.begin_step()
        truth = torch.from_numpy(batch.joints).float()
        half = self.config.precision == "bfloat16"
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            joints = self.whole.train()(torch.from_numpy(batch.crops))

        square = (joints - truth).square().sum(-1)
        loss = (square + 1e-8).sqrt().mean()
        self.descend(loss)

        return {"distance": loss.item()}

    def averaged(self, trunk: MultistageNetwork, size_m: float) -> ImagePose:
        """A network with the averaged weights; size_m: mean size of people, metres."""
        network = ImagePoseNetwork(trunk, self.config.network, self.config.trunk_trained)
        network.learnt.load_state_dict(self.average)
        return ImagePose(network.eval(), size_m)


def train_image(
    config: ImageTrainConfig,
    labels: LabelSet,
    trunk: MultistageNetwork,
    folder: Path,
    evaluate: Callable[[ImagePose], dict[str, float]] | None = None,
    every: int = 500,
) -> ImagePose:
    """Train to the end of the recipe, resuming from the state in `folder`, if there is one.

    evaluate: called with the averaged network every `every` steps; what it returns goes into
    `folder`/validation.csv. DataError if there are no labels.
    """
    if not len(labels):
        raise DataError("labels: expected at least one good label to train on")

    trainer = ImageTrainer(config, trunk)
    trainer.resume(folder)
    batches = (trainer.make(labels) for _ in range(trainer.step, config.steps))
    size_m = float(np.median(labels.size_m))

    def evaluate_average() -> dict[str, float]:
        return evaluate(trainer.averaged(trunk, size_m))

    validate = None if evaluate is None else evaluate_average
    run(trainer, batches, folder, validate, every, labels=len(labels))

    return trainer.averaged(trunk, size_m)
