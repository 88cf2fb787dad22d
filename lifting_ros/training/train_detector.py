# SPDX-License-Identifier: Apache-2.0
"""Training of the person detector: centres learn how well their box fits, keypoints a focal loss, sides a log-distance loss; absences are
learnt only where they are known. At the end the scores are made probabilities on scenes that were held back."""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from lifting_ros.core.checkpoint import load_tensors, save_tensors
from lifting_ros.core.detector import STRIDE, DetectorNetwork, boxes_of, cell_centres
from lifting_ros.core.device import has_fast_bf16
from lifting_ros.data.crowd_pack import TUNE_PICTURES, CrowdPack, open_crowd_pack
from lifting_ros.data.scene_parts import Scene
from lifting_ros.data.scenes import SceneSource
from lifting_ros.training.calibrate_detector import calibrated
from lifting_ros.training.record import RunRecord
from lifting_ros.training.state import load_state, save_state

SIZE = (320, 256)
"""Width and height of a training scene, px."""


@dataclass(frozen=True)
class DetectorTrainConfig:
    """The recipe of the detector; `config/train_detector.yaml` is the one that ships."""

    samples: int = field(default=144_000, metadata={"description": "training scenes in all", "range": (1, 10**9)})
    batch: int = field(default=16, metadata={"description": "scenes a step", "range": (1, 1024)})
    learning_rate: float = field(default=1.5e-3, metadata={"description": "peak rate of AdamW", "range": (0.0, 1.0)})
    weight_decay: float = field(default=0.02, metadata={"description": "weight decay of AdamW", "range": (0.0, 1.0)})
    ema: float = field(default=0.998, metadata={"description": "decay of the averaged weights", "range": (0.0, 1.0)})
    widths: tuple[int, int, int, int] = field(default=(32, 64, 96, 128), metadata={"description": "channels"})
    init: str = field(default="", metadata={"description": "weights to begin with (.safetensors); empty: random ones"})
    crowds: int = field(default=5_000, metadata={"description": "rendered pictures with people", "range": (0, 10**6)})
    rooms: int = field(default=3_000, metadata={"description": "rendered pictures without people", "range": (0, 10**6)})
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
    weight: Tensor
    """(h, w) what a cell near a centre counts, one in all for a person; 0 elsewhere."""


def targets(scene: Scene) -> Targets:
    """Targets of one scene."""
    h, w = scene.image.shape[0] // STRIDE, scene.image.shape[1] // STRIDE
    x, y = (a.numpy() for a in cell_centres(h, w))
    heat, sides, owner = np.zeros((15, h, w), np.float32), np.zeros((4, h, w), np.float32), np.full((h, w), -1)
    known = np.repeat(scene.known[None, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE][:, :h, :w], 15, 0)
    for person in np.argsort([-(b[2:] - b[:2]).prod() for b in scene.boxes]):  # the smaller person owns shared cells
        box, keypoints = scene.boxes[person], scene.keypoints[person]
        width, height = np.maximum(box[2:] - box[:2], STRIDE)
        centre = _blob(x, y, (box[:2] + box[2:]) / 2, 0.08 * width + 3, 0.08 * height + 3)
        near = centre > 0.6
        distances = np.stack(np.broadcast_arrays(x - box[0], y - box[1], box[2] - x, box[3] - y))
        sides[:, near] = np.log(np.maximum(distances[:, near], 1.0) / STRIDE)
        owner[near] = person
        heat[0] = np.maximum(heat[0], centre)
        around = (x > box[0] - width) & (x < box[2] + width) & (y > box[1] - height) & (y < box[3] + height)
        for k, (px, py, labelled) in enumerate(keypoints, 1):
            if labelled:
                heat[k] = np.maximum(heat[k], _blob(x, y, (px, py), *[0.04 * max(width, height) + 3] * 2))
            else:
                known[k] &= ~around
    cells = np.bincount(owner[owner >= 0], minlength=len(scene.boxes))
    weight = np.where(owner >= 0, 1 / np.maximum(cells, 1)[owner], 0) if len(cells) else np.zeros((h, w))
    return Targets(*map(torch.from_numpy, (heat, known | (heat > 0.3), sides, weight.astype(np.float32))))


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


def centre_loss(logits: Tensor, sides: Tensor, target: Targets) -> Tensor:
    """Cells near a centre learn the overlap of their own box with the true one (after Zhang et al. 2021), all others to be silent.

    Every person counts the same however many cells it has; logits (N, h, w), sides (N, 4, h, w).
    """
    heat, known, near = target.heat[:, 0], target.known[:, 0], target.weight > 0
    quality = box_overlap(sides.detach(), target.sides)
    hit = nn.functional.binary_cross_entropy_with_logits(logits, quality, reduction="none") * target.weight
    miss = (1 - heat) ** 4 * logits.sigmoid() ** 2 * nn.functional.softplus(logits) * ~near * known
    return (2 * hit.sum() + miss.sum()) / target.weight.sum().clamp_min(1)


def side_loss(sides: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute log error and 1 - IoU of the boxes (N, 4, h, w), cells weighted (N, h, w)."""
    loss = 0.25 * (sides - target).abs().sum(1) + 1 - box_overlap(sides, target)
    return (loss * weight).sum() / weight.sum().clamp_min(1)


def box_overlap(sides: Tensor, target: Tensor) -> Tensor:
    """Intersection over union (N, h, w) of the boxes of log sides (N, 4, h, w), cell by cell."""
    a, b = boxes_of(sides), boxes_of(target)
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp_min(0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - shared
    return shared / union.clamp_min(1e-6)


class DetectorTrainer:
    """Network, optimiser, averaged weights; `training.state` keeps and restores it."""

    def __init__(self, config: DetectorTrainConfig):
        torch.manual_seed(config.seed)
        self.config, self.step = config, 0
        self.network = DetectorNetwork(config.widths)
        if config.init:
            self.network.load_state_dict(load_tensors(config.init)[0])
        self.network = self.network.to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True)
        self.average = {name: t.detach().clone() for name, t in self.network.state_dict().items()}

    def train_step(self, images: Tensor, target: Targets) -> dict[str, float]:
        """One optimiser step; returns the losses by name."""
        done = self.step / self.config.steps
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * min(1.0, 30 * done + 0.01) * 0.5 * (1 + math.cos(math.pi * done))
        images = images.float().div_(255).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bf16(torch.device("cpu"))):
            centres, sides, keypoints = (output.float() for output in self.network.train()(images))
        centre = centre_loss(centres, sides, target)
        box = side_loss(sides, target.sides, target.weight)
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


def train_detector(
    config: DetectorTrainConfig, data: Path, folder: Path, packs: Path, every: int = 250, start: Path | None = None
) -> dict[str, Tensor]:
    """Train to the end of the recipe, going on from `folder` where a state is kept there; returns the averaged, calibrated weights.

    Rendered pictures are kept in `packs`/crowds; a recipe without any needs no renderer. `folder` also gets recipe and curves. `start`: the
    state of another training to go on from, where `folder` holds none.
    """
    trainer = DetectorTrainer(config)
    load_state(folder / "state.safetensors", trainer)
    if trainer.step == 0 and start is not None:
        load_state(start, trainer, start=True)
    record = RunRecord(folder, config)
    record.forget(trainer.step + 1, 0)
    held_back = rendered(config, data, packs, "tune")
    progress = tqdm(total=config.steps, initial=trainer.step, desc="training detector", unit="step", mininterval=5)
    if trainer.step < config.steps:
        source = SceneSource(data, rendered(config, data, packs, "train"), *SIZE)
        if held_back:
            held_back()  # rendered now: a renderer that is missing is told before the training
        # a process, not a thread: drawing a scene is mostly interpreter work
        batches = DataLoader(Scenes(config, source, trainer.step), None, num_workers=1, prefetch_factor=4, worker_init_fn=_one_thread)
        for batch in batches:
            losses = trainer.train_step(*batch)
            progress.update()
            if trainer.step % 10 == 0:
                record.training(trainer.step, losses)
            if trainer.step % every == 0 or trainer.step == config.steps:
                save_state(folder / "state.safetensors", trainer)
    record.draw()
    return calibrated(trainer.average, config.widths, SceneSource(data, held_back, *SIZE, side="tune"))


def rendered(config: DetectorTrainConfig, data: Path, packs: Path, side: str) -> Callable[[], CrowdPack] | None:
    """Opens the rendered pictures of a side (`train`, `tune`), made where they are not there yet; None for a recipe without any."""
    if not config.crowds and not config.rooms:
        return None
    pictures = (config.crowds, config.rooms) if side == "train" else TUNE_PICTURES
    return partial(open_crowd_pack, packs / "crowds" / side, data, side, SIZE, *pictures)


def _one_thread(_worker: int) -> None:
    cv2.setNumThreads(0)


def save_detector(path: Path, weights: dict[str, Tensor], config: DetectorTrainConfig, card: dict) -> None:
    """Write what ships: the averaged weights in fp16 with their recipe."""
    half = {name: t.half() if t.is_floating_point() else t for name, t in weights.items()}
    save_tensors(path, half, {"detector": {"widths": list(config.widths)}, "card": card})
