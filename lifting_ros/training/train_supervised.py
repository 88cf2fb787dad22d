# SPDX-License-Identifier: Apache-2.0
"""Training of the supervised baseline: motion capture seen by virtual cameras drawn afresh every step, plain regression of the joints."""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lifting_ros.core.ppca import mirrored
from lifting_ros.core.residual_mlp import ResidualMLP, ResidualMLPConfig, SupervisedLifter, encode
from lifting_ros.core.skeleton import KEYPOINT_COUNT, limb_lengths
from lifting_ros.data.mocap import Mocap
from lifting_ros.data.virtual_cameras import make_views
from lifting_ros.training.fit_prior import balanced_weights, stature
from lifting_ros.training.record import RunRecord
from lifting_ros.training.state import load_state, save_state


@dataclass(frozen=True)
class SupervisedTrainConfig:
    """The recipe of the supervised baseline; `config/train_supervised.yaml` is the one that ships."""

    network: ResidualMLPConfig = field(default=ResidualMLPConfig(), metadata={"description": "architecture"})
    samples: int = field(default=3_000_000, metadata={"description": "training views in all", "range": (1, 10**9)})
    batch: int = field(default=256, metadata={"description": "views a step", "range": (2, 65536)})
    learning_rate: float = field(default=1e-3, metadata={"description": "peak rate of Adam", "range": (0.0, 1.0)})
    warmup: float = field(default=0.02, metadata={"description": "share of the steps with a rising rate", "range": (0.0, 1.0)})
    ema: float = field(default=0.999, metadata={"description": "decay of the averaged weights", "range": (0.0, 1.0)})
    mirror: float = field(default=0.5, metadata={"description": "share of mirrored poses", "range": (0.0, 1.0)})
    exact: float = field(default=0.33, metadata={"description": "share of views with all keypoints, exact", "range": (0.0, 1.0)})
    noise_px: float = field(
        default=8.0, metadata={"description": "largest deviation of the keypoints in the other views", "unit": "px", "range": (0.0, 100.0)}
    )
    missing: int = field(default=4, metadata={"description": "most keypoints missing in the other views", "range": (0, 12)})
    seed: int = field(default=0, metadata={"description": "seed of weights and views", "range": (0, 2**31 - 1)})

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return math.ceil(self.samples / self.batch)


class ViewSource:
    """Batch `step` of a seed is always the same views, so that a resumed training sees what an unbroken one would have seen."""

    def __init__(self, mocap: Mocap, config: SupervisedTrainConfig):
        self.positions_m, self.config = mocap.positions_m, config
        weight = balanced_weights(mocap, config.seed)
        self.share = np.cumsum(weight) / weight.sum()

    def make(self, step: int) -> tuple[Tensor, Tensor]:
        """Encoded keypoints (B, 42), and joints (B, 17, 3) about the root in units of the person's size."""
        config, rng = self.config, np.random.default_rng((self.config.seed, step))
        poses = self.positions_m[np.searchsorted(self.share, rng.random(config.batch)).clip(max=len(self.share) - 1)]
        flip = rng.random(config.batch) < config.mirror
        poses = np.where(flip[:, None, None], mirrored(poses), poses)
        views = make_views(poses, 1, (config.seed, step, 1))
        keypoints, visible = self._disturb(views.keypoints_px, rng)
        size = np.sqrt((limb_lengths(views.joints_m) ** 2).sum(-1))
        target = (views.joints_m - views.joints_m[:, :1]) / size[:, None, None]
        return torch.from_numpy(encode(keypoints, visible)), torch.from_numpy(target).float()

    def _disturb(self, keypoints_px: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Noisy keypoints and what is seen of them: both of another strength in every view, a share of the views left alone."""
        config, count = self.config, len(keypoints_px)
        touched = rng.random(count) >= config.exact
        noise = touched * rng.uniform(0, config.noise_px, count)
        missing = touched * rng.integers(0, config.missing + 1, count)
        visible = rng.random((count, KEYPOINT_COUNT)).argsort(1).argsort(1) >= missing[:, None]
        return keypoints_px + noise[:, None, None] * rng.standard_normal(keypoints_px.shape), visible


class SupervisedTrainer:
    """Network, optimiser, averaged weights; `training.state` keeps and restores it."""

    def __init__(self, config: SupervisedTrainConfig):
        torch.manual_seed(config.seed)
        self.config, self.step = config, 0
        self.network = ResidualMLP(config.network)
        self.optimiser = torch.optim.Adam(self.network.parameters(), config.learning_rate, fused=True)
        self.average = {name: t.detach().clone() for name, t in self.network.state_dict().items()}

    def learning_rate(self) -> float:
        """Linear warm-up, then half a cosine down to zero."""
        done = self.step / self.config.steps
        rising = min(1.0, (self.step + 1) / max(1.0, self.config.warmup * self.config.steps))
        return self.config.learning_rate * rising * 0.5 * (1 + math.cos(math.pi * done))

    def train_step(self, encoded: Tensor, target: Tensor) -> float:
        """One optimiser step; returns the mean distance of a joint from the truth, in units of the person's size."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)  # dropout of a resumed training goes on as well
        with torch.autocast("cpu", torch.bfloat16):
            joints = self.network.train()(encoded)
        loss = ((joints - target).square().sum(-1) + 1e-8).sqrt().mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.step += 1
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            self.average[name].lerp_(value, 1 - decay) if value.is_floating_point() else self.average[name].copy_(value)
        return loss.item()


def train_supervised(
    config: SupervisedTrainConfig, mocap: Mocap, folder: Path,
    evaluate: Callable[[SupervisedLifter], dict[str, float]] | None = None, every: int = 1000,
) -> SupervisedLifter:  # fmt: skip
    """Train on all poses of `mocap` to the end of the recipe, going on from `folder` where a state is kept there.

    `evaluate` gets the averaged network every `every` steps; what it returns goes into `folder/validation.csv`.
    """
    trainer, source, size_m = SupervisedTrainer(config), ViewSource(mocap, config), stature(mocap)[0]
    load_state(folder / "state.safetensors", trainer)
    record = RunRecord(folder, config, poses=len(mocap.positions_m))
    record.forget(trainer.step + 1, trainer.step + 1)
    progress = tqdm(total=config.steps, initial=trainer.step, desc="training supervised", unit="step", mininterval=5)
    while trainer.step < config.steps:
        loss = trainer.train_step(*source.make(trainer.step))
        progress.update()
        if trainer.step % 50 == 0:
            record.training(trainer.step, {"rate": trainer.learning_rate(), "distance": loss})
        if trainer.step % every == 0 or trainer.step == config.steps:
            if evaluate is not None:
                record.validation(trainer.step, evaluate(averaged(trainer, size_m)))
            save_state(folder / "state.safetensors", trainer)  # after the validation: what goes on from it lacks no row
    return averaged(trainer, size_m)


def averaged(trainer: SupervisedTrainer, size_m: float) -> SupervisedLifter:
    """A lifter of the averaged weights."""
    network = ResidualMLP(trainer.config.network)
    network.load_state_dict(trainer.average)
    return SupervisedLifter(network.eval(), size_m)
