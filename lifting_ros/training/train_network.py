# SPDX-License-Identifier: Apache-2.0
"""Training of the multistage network on packs of photographs: end to end, resumable, the same samples for the same seed.

The first `fusion_from` of the samples train the plain network: belief maps must mean something before they can be lifted. Then the fusion
layers join and everything, their weights w_t included, is trained together.
"""
from __future__ import annotations

import csv
import dataclasses
import math
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from lifting_ros.core import checkpoint
from lifting_ros.core.network import MultistageNetwork, NetworkConfig, NoFusion
from lifting_ros.data.pack import Pack
from lifting_ros.training.augmentation import AugmentationConfig, augment
from lifting_ros.training.losses import presence_loss, stage_losses, target_maps
from lifting_ros.training.state import load_state, save_state


@dataclass(frozen=True)
class TrainConfig:
    """The recipe of a network; `config/train_lite.yaml` is the one that ships."""

    network: NetworkConfig = field(default=NetworkConfig(), metadata={"description": "architecture"})
    augmentation: AugmentationConfig = field(default=AugmentationConfig(), metadata={"description": "augmentation"})
    samples: int = field(default=96_000, metadata={"description": "training crops in all", "range": (1, 10**9)})
    batch: int = field(default=32, metadata={"description": "crops a step", "range": (1, 4096)})
    learning_rate: float = field(default=1.5e-3, metadata={"description": "peak rate of AdamW", "range": (0.0, 1.0)})
    warmup: float = field(default=0.03, metadata={"description": "share of the steps with a rising rate", "range": (0.0, 1.0)})
    weight_decay: float = field(default=0.02, metadata={"description": "weight decay of AdamW", "range": (0.0, 1.0)})
    ema: float = field(default=0.998, metadata={"description": "decay of the averaged weights", "range": (0.0, 1.0)})
    sigma: float = field(default=1.0, metadata={"description": "width of the target belief", "unit": "cells", "range": (0.3, 5.0)})
    fusion_from: float = field(default=0.25, metadata={"description": "share of the samples before fusion starts", "range": (0.0, 1.0)})
    presence_weight: float = field(default=0.5, metadata={"description": "weight of the presence loss", "range": (0.0, 10.0)})
    shares: tuple[str, ...] = field(
        default=("lspet=0.45", "street=0.15", "gym=0.14", "people=0.14", "synthetic=0.08", "negatives=0.04"),
        metadata={"description": "share of every pack in a batch; packs that are absent give theirs to the others"},
    )
    seed: int = field(default=0, metadata={"description": "seed of weights, order and augmentation", "range": (0, 2**31 - 1)})

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return math.ceil(self.samples / self.batch)


class Batches:
    """Batch `step` of a seed is always the same, so that a resumed training sees what an unbroken one would have seen."""

    def __init__(self, packs: list[Pack], config: TrainConfig):
        shares = dict(entry.split("=") for entry in config.shares)
        self.packs = [p for p in packs if p.name in shares]
        if not self.packs:
            raise ValueError(f"shares: none of {', '.join(shares)} among the packs given")
        weights = np.array([float(shares[p.name]) for p in self.packs])
        self.weights, self.config = weights / weights.sum(), config
        self.training = [np.flatnonzero(~p.validation) for p in self.packs]

    def make(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Images (B, 3, S, S) uint8, keypoints (B, 14, 3) and `nobody` (B,) bool of one step."""
        size = self.config.network.input_px
        images, labels, nobody = [], [], []
        for sample in range(self.config.batch):
            rng = np.random.default_rng((self.config.seed, step, sample))
            which = rng.choice(len(self.packs), p=self.weights)
            pack, index = self.packs[which], rng.choice(self.training[which])
            image, keypoints = augment(pack.images[index], pack.keypoints[index], size, self.config.augmentation, rng)
            images.append(np.ascontiguousarray(image).transpose(2, 0, 1))
            labels.append(keypoints)
            nobody.append(pack.name == "negatives")
        return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels)).float(), torch.tensor(nobody)

    def stream(self, first: int, last: int):
        """Batches first..last-1, made ahead in a thread (OpenCV and NumPy let go of the interpreter)."""
        ahead: queue.Queue = queue.Queue(maxsize=4)

        def work() -> None:
            for step in range(first, last):
                ahead.put(self.make(step))

        threading.Thread(target=work, daemon=True).start()
        for step in range(first, last):
            yield step, ahead.get()


class Trainer:
    """Network, optimiser and averaged weights, and one step of them."""

    def __init__(self, config: TrainConfig, fusion: nn.Module, device: str = "cpu"):
        torch.manual_seed(config.seed)
        self.config, self.device, self.step = config, torch.device(device), 0
        self.network = MultistageNetwork(config.network, fusion).to(self.device, memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.average = {name: t.detach().clone() for name, t in self.network.state_dict().items()}
        self._no_fusion = NoFusion()

    def learning_rate(self) -> float:
        """Linear warm-up, then half a cosine down to zero."""
        done = self.step / self.config.steps
        if done < self.config.warmup:
            return self.config.learning_rate * (self.step + 1) / (self.config.warmup * self.config.steps)
        return self.config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def train_step(self, images: Tensor, labels: Tensor, nobody: Tensor) -> dict[str, float]:
        """One optimiser step; returns the losses by name."""
        config = self.config
        images = images.to(self.device).float().div_(255).contiguous(memory_format=torch.channels_last)
        labels, nobody = labels.to(self.device), nobody.to(self.device)
        output = self._forward(images)
        keypoints, labelled = labels[..., :2], labels[..., 2] > 0
        size = output.stages[0].logits.shape[-2:]
        target, counted = target_maps(keypoints, labelled, config.network.stride, size, config.sigma)
        stages = stage_losses(output, target, counted)
        presence = presence_loss(output, keypoints, labelled, nobody, config.network.input_px)
        loss = stages.mean(1).sum() + config.presence_weight * presence
        self._update(loss)
        return {"loss": loss.item(), "presence": presence.item()} | {
            f"stage{s + 1}_{kind}": v for s, row in enumerate(stages.tolist()) for kind, v in zip(("belief", "fused"), row)
        }

    def _forward(self, images: Tensor):
        fusion = self.network.fusion
        if self.step < self.config.fusion_from * self.config.steps:
            self.network.fusion = self._no_fusion
        try:
            with torch.autocast(self.device.type, torch.bfloat16):
                return self.network.train()(images)
        finally:
            self.network.fusion = fusion

    def _update(self, loss: Tensor) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.step += 1
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)


def train(
    config: TrainConfig, packs: list[Pack], fusion: nn.Module, folder: Path, device: str = "cpu",
    evaluate: Callable[[dict[str, Tensor]], dict[str, float]] | None = None, every: int = 500,
) -> dict[str, Tensor]:  # fmt: skip
    """Train to the end of the recipe, going on from `folder` where a state is kept there; returns the averaged weights.

    `evaluate` gets the averaged weights every `every` steps; what it returns goes into `folder/validation.csv`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, fusion, device)
    load_state(folder / "state.safetensors", trainer)
    progress = tqdm(total=config.steps, initial=trainer.step, desc="training", unit="step", smoothing=0.05, mininterval=5)
    for step, batch in Batches(packs, config).stream(trainer.step, config.steps):
        losses = trainer.train_step(*batch)
        progress.update()
        if step % 20 == 0:
            progress.set_postfix(loss=f"{losses['loss']:.3f}", refresh=False)
            append_row(folder / "training.csv", {"step": step, "rate": trainer.learning_rate()} | losses)
        if trainer.step % every == 0 or trainer.step == config.steps:
            save_state(folder / "state.safetensors", trainer)
            if evaluate is not None:
                append_row(folder / "validation.csv", {"step": trainer.step} | evaluate(trainer.average))
    return trainer.average


def append_row(path: Path, row: dict[str, float]) -> None:
    """Add one line to a CSV, with a heading where the file is new."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row.keys())
        if new:
            writer.writeheader()
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})


def save_trained(path: Path, weights: dict[str, Tensor], config: TrainConfig, card: dict) -> None:
    """Write what ships: the averaged weights in fp16 with their recipe."""
    checkpoint.save_network(path, weights, config.network, {"recipe": dataclasses.asdict(config)} | card)
