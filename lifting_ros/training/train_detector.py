# SPDX-License-Identifier: Apache-2.0
"""Training of the person detector: a focal loss on the centres, a log-distance loss on the sides; absences only where they are known."""
from __future__ import annotations

import math
import queue
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from lifting_ros.core.checkpoint import save_tensors
from lifting_ros.core.detector import STRIDE, DetectorNetwork, boxes_of, cell_centres
from lifting_ros.data.scenes import Scene, SceneSource
from lifting_ros.training.state import load_state, save_state
from lifting_ros.training.train_network import append_row


@dataclass(frozen=True)
class DetectorTrainConfig:
    """The recipe of the detector; `config/train_detector.yaml` is the one that ships."""

    samples: int = field(default=16_000, metadata={"description": "training scenes in all", "range": (1, 10**9)})
    batch: int = field(default=16, metadata={"description": "scenes a step", "range": (1, 1024)})
    learning_rate: float = field(default=2e-3, metadata={"description": "peak rate of AdamW", "range": (0.0, 1.0)})
    weight_decay: float = field(default=0.02, metadata={"description": "weight decay of AdamW", "range": (0.0, 1.0)})
    ema: float = field(default=0.995, metadata={"description": "decay of the averaged weights", "range": (0.0, 1.0)})
    widths: tuple[int, int, int, int] = field(default=(32, 64, 96, 128), metadata={"description": "channels"})
    seed: int = field(default=0, metadata={"description": "seed of weights and scenes", "range": (0, 2**31 - 1)})

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return math.ceil(self.samples / self.batch)


def targets(scene: Scene) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Heat (h, w) with ones at centres, known (h, w), log sides (4, h, w) and where sides count (h, w)."""
    h, w = scene.image.shape[0] // STRIDE, scene.image.shape[1] // STRIDE
    x, y = (a.numpy() for a in cell_centres(h, w))
    heat, sides, counted = np.zeros((h, w), np.float32), np.zeros((4, h, w), np.float32), np.zeros((h, w), bool)
    for box in sorted(scene.boxes, key=lambda b: -(b[2:] - b[:2]).prod()):  # the smaller person owns shared cells
        cx, cy = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        bw, bh = np.maximum(box[2:] - box[:2], STRIDE)
        gauss = np.exp(-0.5 * (((x - cx) / (0.08 * bw + 2)) ** 2 + ((y - cy) / (0.08 * bh + 2)) ** 2))
        row, column = int(np.clip((cy + 0.5) // STRIDE, 0, h - 1)), int(np.clip((cx + 0.5) // STRIDE, 0, w - 1))
        gauss[row, column] = 1
        near = gauss > 0.6
        distances = np.stack(np.broadcast_arrays(x - box[0], y - box[1], box[2] - x, box[3] - y))
        sides[:, near] = np.log(np.maximum(distances[:, near], 1.0) / STRIDE)
        counted |= near
        heat = np.maximum(heat, gauss)
    known = scene.known[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE][:h, :w]
    return heat.astype(np.float32), known | (heat > 0.3), sides, counted


def detector_loss(logits: Tensor, sides: Tensor, heat: Tensor, known: Tensor, target: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Focal loss of the centres (after Law and Deng 2018) and mean absolute log error plus 1 - IoU of the sides."""
    probability = logits.sigmoid()
    positive = heat >= 1
    hit = -((1 - probability) ** 2) * nn.functional.logsigmoid(logits) * positive
    miss = -((1 - heat) ** 4) * probability**2 * nn.functional.logsigmoid(-logits) * ~positive * known
    centre = (hit.sum() + miss.sum()) / positive.sum().clamp_min(1)
    error = ((sides - target).abs().sum(1) * counted).sum() / counted.sum().clamp_min(1)
    a, b = boxes_of(sides), boxes_of(target)
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp_min(0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - shared
    outside = ((1 - shared / union.clamp_min(1e-6)) * counted).sum() / counted.sum().clamp_min(1)
    return centre, 0.25 * error + outside


class DetectorTrainer:
    """Network, optimiser, averaged weights; `training.state` keeps and restores it."""

    def __init__(self, config: DetectorTrainConfig):
        torch.manual_seed(config.seed)
        self.config, self.step = config, 0
        self.network = DetectorNetwork(config.widths).to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True)
        self.average = {name: t.detach().clone() for name, t in self.network.state_dict().items()}

    def train_step(self, images: Tensor, heat: Tensor, known: Tensor, sides: Tensor, counted: Tensor) -> dict[str, float]:
        """One optimiser step; returns the losses by name."""
        done = self.step / self.config.steps
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * min(1.0, 30 * done + 0.01) * 0.5 * (1 + math.cos(math.pi * done))
        images = images.float().div_(255).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            logits, predicted = self.network.train()(images)
        centre, box = detector_loss(logits.float(), predicted.float(), heat, known, sides, counted)
        self.optimiser.zero_grad(set_to_none=True)
        (centre + box).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.step += 1
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            self.average[name].lerp_(value, 1 - decay) if value.is_floating_point() else self.average[name].copy_(value)
        return {"centre": centre.item(), "box": box.item()}


def _batches(config: DetectorTrainConfig, source: SceneSource, first: int):
    ahead: queue.Queue = queue.Queue(maxsize=4)

    def work() -> None:
        for step in range(first, config.steps):
            scenes = [source.draw(np.random.default_rng((config.seed, step, sample))) for sample in range(config.batch)]
            images = np.stack([s.image.transpose(2, 0, 1) for s in scenes])
            ahead.put([torch.from_numpy(a) for a in (images, *map(np.stack, zip(*map(targets, scenes))))])

    threading.Thread(target=work, daemon=True).start()
    for _ in range(first, config.steps):
        yield ahead.get()


def train_detector(config: DetectorTrainConfig, data: Path, folder: Path, every: int = 250) -> dict[str, Tensor]:
    """Train to the end of the recipe, going on from `folder` where a state is kept there; returns the averaged weights."""
    folder.mkdir(parents=True, exist_ok=True)
    trainer = DetectorTrainer(config)
    load_state(folder / "state.safetensors", trainer)
    progress = tqdm(total=config.steps, initial=trainer.step, desc="training detector", unit="step", mininterval=5)
    for batch in _batches(config, SceneSource(data), trainer.step):
        losses = trainer.train_step(*batch)
        progress.update()
        if trainer.step % 10 == 0:
            append_row(folder / "training.csv", {"step": trainer.step} | losses)
        if trainer.step % every == 0 or trainer.step == config.steps:
            save_state(folder / "state.safetensors", trainer)
    return trainer.average


def save_detector(path: Path, weights: dict[str, Tensor], config: DetectorTrainConfig, card: dict) -> None:
    """Write what ships: the averaged weights in fp16 with their recipe."""
    half = {name: t.half() if t.is_floating_point() else t for name, t in weights.items()}
    save_tensors(path, half, {"detector": {"widths": list(config.widths)}, "card": card})
