# SPDX-License-Identifier: Apache-2.0
"""Training of the network from image to 3D on labels that `lifting label` made; nothing else tells it what people look like in 3D."""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from lifting_ros.core.image_pose import ImagePose, ImagePoseConfig, ImagePoseNetwork
from lifting_ros.core.network import MultistageNetwork
from lifting_ros.data.label_crops import LabelCrops, LabelSet
from lifting_ros.training.record import RunRecord
from lifting_ros.training.state import load_state, save_state


@dataclass(frozen=True)
class ImageTrainConfig:
    """The recipe of the network from image to 3D; `config/train_image.yaml` is the one that ships."""

    network: ImagePoseConfig = field(default=ImagePoseConfig(), metadata={"description": "architecture of the head"})
    samples: int = field(default=60_000, metadata={"description": "training crops in all", "range": (1, 10**9)})
    batch: int = field(default=32, metadata={"description": "crops a step", "range": (2, 65536)})
    learning_rate: float = field(default=1e-3, metadata={"description": "peak rate of AdamW", "range": (0.0, 1.0)})
    weight_decay: float = field(default=0.02, metadata={"description": "pull of the weights to zero", "range": (0.0, 10.0)})
    warmup: float = field(default=0.05, metadata={"description": "share of the steps with a rising rate", "range": (0.0, 1.0)})
    ema: float = field(default=0.99, metadata={"description": "decay of the averaged weights", "range": (0.0, 1.0)})
    mirror: float = field(default=0.5, metadata={"description": "share of mirrored crops", "range": (0.0, 1.0)})
    turn_deg: float = field(default=25.0, metadata={"description": "largest roll of a crop", "unit": "deg", "range": (0.0, 180.0)})
    seed: int = field(default=0, metadata={"description": "seed of weights and crops", "range": (0, 2**31 - 1)})

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return math.ceil(self.samples / self.batch)


class ImageTrainer:
    """Head, optimiser, averaged weights; `training.state` keeps and restores it."""

    def __init__(self, config: ImageTrainConfig, trunk: MultistageNetwork):
        torch.manual_seed(config.seed)
        self.config, self.step, self.whole = config, 0, ImagePoseNetwork(trunk, config.network)
        self.network = self.whole.head
        self.optimiser = torch.optim.AdamW(self.network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        self.average = {name: t.detach().clone() for name, t in self.network.state_dict().items()}

    def learning_rate(self) -> float:
        """Linear warm-up, then half a cosine down to zero."""
        done = self.step / self.config.steps
        rising = min(1.0, (self.step + 1) / max(1.0, self.config.warmup * self.config.steps))
        return self.config.learning_rate * rising * 0.5 * (1 + math.cos(math.pi * done))

    def make(self, labels: LabelSet) -> LabelCrops:
        """The batch of this step: always the same for a seed, so that a resumed training sees what an unbroken one would have seen."""
        config, rng = self.config, np.random.default_rng((self.config.seed, self.step))
        return labels.disturbed(rng.integers(0, len(labels), config.batch), self.whole.input_px, rng, config.mirror, config.turn_deg)

    def train_step(self, batch: LabelCrops) -> float:
        """One optimiser step; returns the mean distance of a joint from its label, over the person's size."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)  # dropout of a resumed training goes on as well
        joints = self.whole.train()(torch.from_numpy(batch.crops))
        loss = ((joints - torch.from_numpy(batch.joints).float()).square().sum(-1) + 1e-8).sqrt().mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.step += 1
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            self.average[name].lerp_(value, 1 - decay) if value.is_floating_point() else self.average[name].copy_(value)
        return loss.item()

    def averaged(self, trunk: MultistageNetwork, size_m: float) -> ImagePose:
        """A network of the averaged weights."""
        network = ImagePoseNetwork(trunk, self.config.network)
        network.head.load_state_dict(self.average)
        return ImagePose(network.eval(), size_m)


def train_image(
    config: ImageTrainConfig, labels: LabelSet, trunk: MultistageNetwork, folder: Path,
    evaluate: Callable[[ImagePose], dict[str, float]] | None = None, every: int = 500,
) -> ImagePose:  # fmt: skip
    """Train to the end of the recipe, going on from `folder` where a state is kept there; ValueError where there are no labels.

    `evaluate` gets the averaged network every `every` steps; what it returns goes into `folder/validation.csv`.
    """
    if not len(labels):
        raise ValueError("labels: expected at least one good label to train on")
    trainer, size_m = ImageTrainer(config, trunk), float(np.median(labels.size_m))
    load_state(folder / "state.safetensors", trainer)
    record = RunRecord(folder, config, labels=len(labels))
    record.forget(trainer.step + 1, trainer.step + 1)
    progress = tqdm(total=config.steps, initial=trainer.step, desc="training image", unit="step", mininterval=5)
    while trainer.step < config.steps:
        distance = trainer.train_step(trainer.make(labels))
        progress.update()
        if trainer.step % 50 == 0:
            record.training(trainer.step, {"rate": trainer.learning_rate(), "distance": distance})
        if trainer.step % every == 0 or trainer.step == config.steps:
            if evaluate is not None:
                record.validation(trainer.step, evaluate(trainer.averaged(trunk, size_m)))
            save_state(folder / "state.safetensors", trainer)  # after the validation: what goes on from it lacks no row
    progress.close()
    return trainer.averaged(trunk, size_m)
