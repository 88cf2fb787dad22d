# SPDX-License-Identifier: Apache-2.0
"""Training of the person detector: focal losses on centres and keypoints, a log-distance loss on the sides; absences only where known."""
from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from lifting_ros.core.checkpoint import save_tensors
from lifting_ros.core.detector import STRIDE, DetectorNetwork, boxes_of, cell_centres
from lifting_ros.data.scenes import Scene, SceneSource
from lifting_ros.training.state import load_state, save_state
from lifting_ros.training.train_network import append_row


@dataclass(frozen=True)
class DetectorTrainConfig:
    """The recipe of the detector; `config/train_detector.yaml` is the one that ships."""

    samples: int = field(default=60_000, metadata={"description": "training scenes in all", "range": (1, 10**9)})
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


class Targets(NamedTuple):
    """What the network should say of a scene (or of a batch, with N in front)."""

    heat: Tensor
    """(15, h, w) one at the centre of a person (first) and at each keypoint, falling off around."""
    known: Tensor
    """(15, h, w) bool: where an absence may be learnt."""
    sides: Tensor
    """(4, h, w) log distances."""
    counted: Tensor
    """(h, w) bool: where sides count."""


def targets(scene: Scene) -> Targets:
    """Targets of one scene."""
    h, w = scene.image.shape[0] // STRIDE, scene.image.shape[1] // STRIDE
    x, y = (a.numpy() for a in cell_centres(h, w))
    heat, sides, counted = np.zeros((15, h, w), np.float32), np.zeros((4, h, w), np.float32), np.zeros((h, w), bool)
    known = np.repeat(scene.known[None, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE][:, :h, :w], 15, 0)
    for person in np.argsort([-(b[2:] - b[:2]).prod() for b in scene.boxes]):  # the smaller person owns shared cells
        box, keypoints = scene.boxes[person], scene.keypoints[person]
        width, height = np.maximum(box[2:] - box[:2], STRIDE)
        centre = _blob(x, y, (box[:2] + box[2:]) / 2, 0.08 * width + 2, 0.08 * height + 2)
        near = centre > 0.6
        distances = np.stack(np.broadcast_arrays(x - box[0], y - box[1], box[2] - x, box[3] - y))
        sides[:, near] = np.log(np.maximum(distances[:, near], 1.0) / STRIDE)
        counted |= near
        heat[0] = np.maximum(heat[0], centre)
        around = (x > box[0] - width) & (x < box[2] + width) & (y > box[1] - height) & (y < box[3] + height)
        for k, (px, py, labelled) in enumerate(keypoints, 1):
            if labelled:
                heat[k] = np.maximum(heat[k], _blob(x, y, (px, py), *[0.04 * max(width, height) + 3] * 2))
            else:
                known[k] &= ~around
    return Targets(*map(torch.from_numpy, (heat, known | (heat > 0.3), sides, counted)))


def _blob(x: np.ndarray, y: np.ndarray, centre, sigma_x: float, sigma_y: float) -> np.ndarray:
    """A Gaussian (h, w) about a point in pixels whose own cell, where it lies in the grid, is one."""
    blob = np.exp(-0.5 * (((x - centre[0]) / sigma_x) ** 2 + ((y - centre[1]) / sigma_y) ** 2))
    row, column = int((centre[1] + 0.5) // STRIDE), int((centre[0] + 0.5) // STRIDE)
    if 0 <= row < blob.shape[0] and 0 <= column < blob.shape[1]:
        blob[row, column] = 1
    return blob


def focal_loss(logits: Tensor, heat: Tensor, known: Tensor) -> Tensor:
    """Focal loss of peaks (after Law and Deng 2018), over the number of peaks."""
    probability = logits.sigmoid()
    positive = heat >= 1
    hit = -((1 - probability) ** 2) * nn.functional.logsigmoid(logits) * positive
    miss = -((1 - heat) ** 4) * probability**2 * nn.functional.logsigmoid(-logits) * ~positive * known
    return (hit.sum() + miss.sum()) / positive.sum().clamp_min(1)


def side_loss(sides: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Mean absolute log error and 1 - IoU of the boxes (N, 4, h, w) where they count (N, h, w)."""
    error = ((sides - target).abs().sum(1) * counted).sum() / counted.sum().clamp_min(1)
    a, b = boxes_of(sides), boxes_of(target)
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp_min(0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - shared
    outside = ((1 - shared / union.clamp_min(1e-6)) * counted).sum() / counted.sum().clamp_min(1)
    return 0.25 * error + outside


class DetectorTrainer:
    """Network, optimiser, averaged weights; `training.state` keeps and restores it."""

    def __init__(self, config: DetectorTrainConfig):
        torch.manual_seed(config.seed)
        self.config, self.step = config, 0
        self.network = DetectorNetwork(config.widths).to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True)
        self.average = {name: t.detach().clone() for name, t in self.network.state_dict().items()}

    def train_step(self, images: Tensor, target: Targets) -> dict[str, float]:
        """One optimiser step; returns the losses by name."""
        done = self.step / self.config.steps
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * min(1.0, 30 * done + 0.01) * 0.5 * (1 + math.cos(math.pi * done))
        images = images.float().div_(255).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            centres, sides, keypoints = (output.float() for output in self.network.train()(images))
        centre = focal_loss(centres, target.heat[:, 0], target.known[:, 0])
        box = side_loss(sides, target.sides, target.counted)
        limbs = focal_loss(keypoints, target.heat[:, 1:], target.known[:, 1:])
        self.optimiser.zero_grad(set_to_none=True)
        (centre + box + 0.5 * limbs).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.step += 1
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            self.average[name].lerp_(value, 1 - decay) if value.is_floating_point() else self.average[name].copy_(value)
        return {"centre": centre.item(), "box": box.item(), "keypoints": limbs.item()}


class Scenes(Dataset):
    """Batch `step` of a seed is always the same scenes."""

    def __init__(self, config: DetectorTrainConfig, source: SceneSource, first: int):
        self.config, self.source, self.first = config, source, first

    def __len__(self) -> int:
        return self.config.steps - self.first

    def __getitem__(self, index: int) -> tuple[Tensor, Targets]:
        step = self.first + index
        scenes = [self.source.draw(np.random.default_rng((self.config.seed, step, n))) for n in range(self.config.batch)]
        images = torch.from_numpy(np.stack([s.image.transpose(2, 0, 1) for s in scenes]))
        return images, Targets(*map(torch.stack, zip(*map(targets, scenes))))


def train_detector(config: DetectorTrainConfig, data: Path, folder: Path, every: int = 250) -> dict[str, Tensor]:
    """Train to the end of the recipe, going on from `folder` where a state is kept there; returns the averaged weights."""
    folder.mkdir(parents=True, exist_ok=True)
    trainer = DetectorTrainer(config)
    load_state(folder / "state.safetensors", trainer)
    progress = tqdm(total=config.steps, initial=trainer.step, desc="training detector", unit="step", mininterval=5)
    # processes, not threads: drawing a scene is mostly interpreter work
    for batch in DataLoader(Scenes(config, SceneSource(data), trainer.step), batch_size=None, num_workers=2, prefetch_factor=4):
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
