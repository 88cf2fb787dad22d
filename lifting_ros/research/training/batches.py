# SPDX-License-Identifier: Apache-2.0
"""Training batches from packs. A batch depends on seed and step alone: not on interruptions, nor on
the number of processes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lifting_ros.config import ConfigError
from lifting_ros.errors import DataError
from lifting_ros.research.datasets.keypoints2d import PHOTO_SETS
from lifting_ros.research.datasets.pack import NOBODY, Pack
from lifting_ros.research.datasets.scene_parts import Cutout
from lifting_ros.research.datasets.splits import rows_of
from lifting_ros.research.training.augmentation import AugmentationConfig, Scenery, augment

PACKS = (*PHOTO_SETS, "synthetic", *NOBODY)
"""Names of the packs that a recipe may give a share."""


class Batch(NamedTuple):
    """Crops and their labels."""

    images: Tensor
    """(N, 3, S, S) uint8 RGB."""
    labels: Tensor
    """(N, 14, 3) x, y in px of the crop and the label's weight, 0 where there is none."""
    nobody: Tensor
    """(N,) bool: pictures known to show no person."""
    presence: Tensor
    """(N, 14) 1 where a keypoint is in the picture, 0 where it is not, NaN where that is unknown.
    """

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(*(t.to(device, non_blocking=True) for t in self))


class Batches(Dataset):
    """Item `step` is that step's Batch: the part of it that process `rank` of `world` trains on.

    A pack without training rows counts as absent. DataError if no pack with a share has training
    rows.
    """

    def __init__(  # noqa: PLR0913 - the recipe's values, and the place among processes
        self,
        packs: list[Pack],
        shares: tuple[str, ...],
        batch: int,
        size_px: int,
        augmentation: AugmentationConfig,
        seed: int,
        steps: int,
        rank: int = 0,
        world: int = 1,
        people: Sequence[Cutout] = (),
    ):
        share = parse_shares(shares)
        rows = [
            (p, np.flatnonzero(rows_of(p.validation, "train"))) for p in packs if p.name in share
        ]
        self.packs, self.training = (
            [p for p, chosen in rows if len(chosen)],
            [chosen for _, chosen in rows if len(chosen)],
        )
        if not self.packs:
            raise DataError(
                f"shares: none of {', '.join(share)} among the packs given with a row to train on"
            )
        weights = np.array([share[p.name] for p in self.packs])
        if not weights.sum() > 0:
            raise ConfigError(
                f"shares: expected one above 0 of {', '.join(p.name for p in self.packs)}, which "
                "have a row to train on"
            )
        if batch < world:
            raise ConfigError(
                f"batch: expected at least {world}, a crop for each process, got {batch}"
            )
        self.weights = weights / weights.sum()
        self.scenery = Scenery(
            people, [p.images[row] for p, chosen in rows if p.name == "negatives" for row in chosen]
        )
        self.samples, self.size_px, self.augmentation, self.seed, self.steps = (
            range(rank, batch, world),
            size_px,
            augmentation,
            seed,
            steps,
        )

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        drawn = (self._sample(np.random.default_rng((self.seed, step, n))) for n in self.samples)
        images, labels, nobody, presence = zip(*drawn)
        return Batch(
            torch.from_numpy(np.stack(images)),
            torch.from_numpy(np.stack(labels)).float(),
            torch.tensor(nobody),
            torch.from_numpy(np.stack(presence)).float(),
        )

    def _sample(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, bool, np.ndarray]:
        which = rng.choice(len(self.packs), p=self.weights)
        pack, index = self.packs[which], rng.choice(self.training[which])
        absent = None if pack.absent is None else pack.absent[index]
        sample = augment(
            pack.images[index],
            pack.keypoints[index],
            self.size_px,
            self.augmentation,
            rng,
            absent,
            self.scenery,
        )
        nobody = pack.name in NOBODY
        presence = np.zeros(14) if nobody else sample.presence
        return (
            np.ascontiguousarray(sample.image).transpose(2, 0, 1),
            sample.keypoints,
            nobody,
            presence,
        )

    def counts(self) -> dict[str, int]:
        """Training windows of every pack."""
        return {pack.name: len(rows) for pack, rows in zip(self.packs, self.training)}

    def stream(self, first: int, workers: int = 1) -> Iterator[Batch]:
        """The batches from step `first` on, made ahead by `workers` processes (0: none)."""
        steps = range(first, self.steps)
        ahead = {"prefetch_factor": 4, "worker_init_fn": _one_thread} if workers else {}
        yield from DataLoader(self, batch_size=None, sampler=steps, num_workers=workers, **ahead)


def parse_shares(shares: Sequence[str]) -> dict[str, float]:
    """Share by pack, from entries such as `lspet=0.3`. ConfigError for a malformed entry, for an
    unknown pack, and if all shares are 0."""
    values = {}
    for entry in shares:
        name, _, number = str(entry).partition("=")
        try:
            values[name] = float(number)
        except ValueError:
            values[name] = math.nan
        if name not in PACKS or not 0 <= values[name] < math.inf:
            raise ConfigError(
                "shares: expected PACK=NUMBER with a number of 0 or more and a pack of "
                f"{', '.join(PACKS)}, got {entry!r}"
            )
    if not sum(values.values()) > 0:
        raise ConfigError("shares: expected at least one above 0")
    return values


def _one_thread(_: int) -> None:
    cv2.setNumThreads(0)
