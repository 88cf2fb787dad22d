# SPDX-License-Identifier: Apache-2.0
"""Training of the person detector on montages, from published weights. It can be resumed; the seed
determines the samples.

The published network finds people who fill the picture. It marks them in photographs, and learns to
find them in montages, where they are small. The backbone is frozen; pyramid and heads are trained.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lifting_ros.detection.detector import DetectorConfig
from lifting_ros.detection.multipose import MultiPose, PersonMaps
from lifting_ros.detection.multipose_detector import Detector
from lifting_ros.keypoints.trunk import STRIDE
from lifting_ros.research.datasets.montage import DOUBT, Montages, Picture, open_montages
from lifting_ros.research.evaluation.montages import montage_row
from lifting_ros.research.training.trainer import Schedule, Trainer, run

SIZES = ((320, 256), (256, 320), (320, 192), (320, 320), (256, 256))
"""Widths and heights of the montages, px; one for each batch."""

_SPREAD = 0.06
"""Standard deviation (std) of a person's target, divided by the root of the box's area."""

_LEAST_SPREAD = 0.6
"""Least std of a target, cells."""

_IGNORED = 0.6
"""Central part of a doubtful box, divided by its width and height, that the loss ignores."""


@dataclass(frozen=True)
class DetectorTrainConfig(Schedule):
    """The recipe of the detector; `config/train_detector.yaml` is the one that ships."""

    samples: int = field(
        default=12_000, metadata={"description": "montages in all", "range": (1, 10**9)}
    )
    batch: int = field(
        default=8, metadata={"description": "montages per step", "range": (1, 65536)}
    )
    learning_rate: float = field(
        default=3e-5, metadata={"description": "largest rate", "range": (0.0, 10.0)}
    )
    warmup: int = field(
        default=800, metadata={"description": "montages with a rising rate", "range": (0, 10**9)}
    )
    weight_decay: float = field(
        default=1e-3, metadata={"description": "weight decay", "range": (0.0, 1.0)}
    )
    clip: float = field(
        default=2.0,
        metadata={"description": "largest norm of a step's gradient; 0: any", "range": (0.0, 1e6)},
    )
    ema: float = field(
        default=0.998,
        metadata={"description": "decay of the averaged weights", "range": (0.0, 1.0)},
    )
    size_weight: float = field(
        default=0.1,
        metadata={"description": "weight of the loss of the boxes' sizes", "range": (0.0, 10.0)},
    )
    offset_weight: float = field(
        default=1.0,
        metadata={"description": "weight of the loss of the boxes' centres", "range": (0.0, 10.0)},
    )
    photographs: int = field(
        default=400,
        metadata={"description": "largest number of photographs per data set", "range": (1, 10**7)},
    )
    empty_share: float = field(
        default=0.2,
        metadata={
            "description": "share of cells that show a photograph without people",
            "range": (0.0, 1.0),
        },
    )
    seed: int = field(
        default=0,
        metadata={"description": "seed of order and montages", "range": (0, 2**31 - 1)},
    )

    def rate_at(self, step: int) -> float:
        """Linear rise, then a half cosine to zero."""
        rise = (step + 1) * self.batch / max(self.warmup, 1)
        angle = math.pi * step / self.steps
        fall = 0.5 * (1 + math.cos(angle))
        return self.learning_rate * min(1.0, rise) * fall


TEACHER_SIDE_PX = 256
"""Long side of the photographs that the published network marks; it was trained at that size."""

VALIDATION_MONTAGES = 100
"""Number of montages of a validation."""

VALIDATION_SCORE = 0.2
"""Least score of a person in the validation."""


def open_training_montages(
    config: DetectorTrainConfig,
    published: MultiPose,
    data: Path,
    side: str,
) -> Montages:
    """Montages of a side (see `splits.rows_of`), with people marked by the published network."""
    marks = DetectorConfig(
        score=DOUBT,
        long_side_px=TEACHER_SIDE_PX,
        coarse_px=0,
        overlap=0.6,
    )
    teacher = Detector(copy.deepcopy(published), marks)
    return open_montages(data, side, teacher, config.photographs, config.empty_share, config.seed)


def detector_of(weights: dict[str, Tensor]) -> MultiPose:
    """A network with these weights."""
    network = MultiPose()
    network.load_state_dict(weights)
    return network


def validate(weights: dict[str, Tensor], montages: Montages) -> dict[str, float]:
    """The row of `montage_row` at VALIDATION_SCORE, with one size of the image."""
    config = DetectorConfig(score=VALIDATION_SCORE, long_side_px=SIZES[0][0], coarse_px=0)
    detector = Detector(detector_of(weights), config)
    return montage_row(detector, montages, VALIDATION_MONTAGES)


class Targets(NamedTuple):
    """Targets of N montages; maps have a quarter of their resolution (h, w)."""

    centre: Tensor
    """(N, h, w) 1 at the centre of a person, falling to 0 around it."""
    counted: Tensor
    """(N, h, w) bool: cells that the loss of false alarms counts; False in doubtful boxes."""
    peaks: Tensor
    """(M, 3) montage, row and column of every person's centre."""
    size: Tensor
    """(M, 2) height and width, cells."""
    offset: Tensor
    """(M, 2) from the cell to the exact centre, y, x, cells."""


def make_targets(pictures: list[Picture]) -> Targets:
    """Targets of montages of one size."""
    height, width = pictures[0].image.shape[:2]
    grid = (height // STRIDE, width // STRIDE)
    centre = np.zeros((len(pictures), *grid), np.float32)
    counted = np.ones((len(pictures), *grid), bool)
    peaks = []
    sizes = []
    offsets = []

    for number, picture in enumerate(pictures):
        # Cells are measured from the image's corner, pixels from the centre of the first one
        boxes = (picture.boxes + 0.5) / STRIDE
        for (left, top, right, bottom), sure in zip(boxes, picture.sure):
            x = (left + right) / 2
            y = (top + bottom) / 2
            size = np.array([bottom - top, right - left])
            if not sure:
                counted[number] &= ~_central_part(grid, y, x, size)
                continue

            row = min(int(y), grid[0] - 1)
            column = min(int(x), grid[1] - 1)
            belief = _belief(grid, row, column, size)
            centre[number] = np.maximum(centre[number], belief)
            peaks.append((number, row, column))
            sizes.append(size)
            offsets.append((y - row, x - column))

    return Targets(
        centre=torch.from_numpy(centre),
        counted=torch.from_numpy(counted),
        peaks=torch.tensor(peaks, dtype=torch.long).reshape(-1, 3),
        size=torch.tensor(np.array(sizes), dtype=torch.float32).reshape(-1, 2),
        offset=torch.tensor(offsets, dtype=torch.float32).reshape(-1, 2),
    )


def _central_part(
    grid: tuple[int, int],
    y: float,
    x: float,
    size: np.ndarray,
) -> np.ndarray:
    """(h, w) bool: the cells in the central part of a box with its centre at y, x."""
    rows = np.arange(grid[0])[:, None]
    columns = np.arange(grid[1])
    near_row = np.abs(rows + 0.5 - y) <= _IGNORED / 2 * size[0] + 1
    near_column = np.abs(columns + 0.5 - x) <= _IGNORED / 2 * size[1] + 1
    return near_row & near_column


def _belief(
    grid: tuple[int, int],
    row: int,
    column: int,
    size: np.ndarray,
) -> np.ndarray:
    """(h, w) float32: a Gaussian about a cell, 1 there."""
    rows = np.arange(grid[0])[:, None]
    columns = np.arange(grid[1])
    spread = max(_LEAST_SPREAD, _SPREAD * math.sqrt(size.prod()))
    squared = (rows - row) ** 2 + (columns - column) ** 2
    return np.exp(-squared / (2 * spread**2)).astype(np.float32)


def detector_losses(maps: PersonMaps, targets: Targets) -> dict[str, Tensor]:
    """Losses per person: of the centre (penalty-reduced focal loss, CornerNet, Law and Deng 2018,
    equation 1), and L1 of size and offset in cells at the centres."""
    persons = max(len(targets.peaks), 1)
    number, row, column = targets.peaks.T

    likely = nn.functional.logsigmoid(maps.centre)
    unlikely = nn.functional.logsigmoid(-maps.centre)
    probability = maps.centre.sigmoid()
    is_peak = torch.zeros_like(targets.counted)
    is_peak[number, row, column] = True
    found = likely * (1 - probability) ** 2
    alarm = unlikely * probability**2 * (1 - targets.centre) ** 4
    centre = torch.where(is_peak, found, alarm * targets.counted)

    size = maps.size[number, :, row, column]
    offset = maps.offset[number, :, row, column]
    return {
        "centre": -centre.sum() / persons,
        "size": (size - targets.size).abs().sum() / persons,
        "offset": (offset - targets.offset).abs().sum() / persons,
    }


class DetectorTrainer(Trainer):
    """Training of the pyramid and the heads; the backbone stays as it is."""

    def __init__(self, config: DetectorTrainConfig, network: MultiPose):
        """network: with the initial weights."""
        network = network.to(memory_format=torch.channels_last)
        network.backbone.requires_grad_(False)
        learnt = [value for value in network.parameters() if value.requires_grad]
        optimiser = torch.optim.AdamW(
            learnt, config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        super().__init__(config, network, optimiser)

    def make(self, montages: Montages, step: int) -> list[Picture]:
        """The batch of a step, the same at each call."""
        size = SIZES[step % len(SIZES)]
        count = self.config.batch
        numbers = range(step * count, (step + 1) * count)
        return [montages.make(number, size) for number in numbers]

    def train_step(self, pictures: list[Picture]) -> dict[str, float]:
        """Take one optimiser step; returns the losses by name."""
        self.begin_step()
        stacked = torch.from_numpy(np.stack([picture.image for picture in pictures]))
        images = stacked.permute(0, 3, 1, 2).float().div_(255)
        images = images.contiguous(memory_format=torch.channels_last)
        targets = make_targets(pictures)

        config = self.config
        maps = self.network.train()(images)
        losses = detector_losses(maps, targets)
        of_size = config.size_weight * losses["size"]
        of_offset = config.offset_weight * losses["offset"]
        loss = losses["centre"] + of_size + of_offset

        self.descend(loss, config.clip)

        values = {name: value.item() for name, value in losses.items()}
        return {"loss": loss.item()} | values


def train_detector(
    config: DetectorTrainConfig,
    network: MultiPose,
    montages: Montages,
    folder: Path,
    evaluate: Callable[[dict[str, Tensor]], dict[str, float]],
    every: int = 500,
) -> dict[str, Tensor]:
    """Train to the end of the recipe, resuming from the state in `folder`, if there is one; returns
    the averaged weights.

    evaluate: called with the averaged weights every `every` steps and at the end; what it returns
    goes into `folder`/validation.csv.
    """
    trainer = DetectorTrainer(config, network)
    trainer.resume(folder)
    steps = range(trainer.step, config.steps)
    batches = (trainer.make(montages, step) for step in steps)

    run(trainer, batches, folder, partial(evaluate, trainer.average), every)

    return trainer.average
