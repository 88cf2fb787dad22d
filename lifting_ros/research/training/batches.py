# SPDX-License-Identifier: Apache-2.0
"""Training batches from packs. A batch depends only on the seed and the step, not on interruptions
or the number of processes."""

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
"""Names of the packs that may have a share in a recipe."""


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
        """The batch on another device."""
        moved = [tensor.to(device, non_blocking=True) for tensor in self]
        return Batch(*moved)


class Batches(Dataset):
    """Item `step` is the Batch of that step, or the part of it for process `rank` of `world`.

    A pack without training rows counts as absent. DataError if no pack with a share has training
    rows; ConfigError for shares that leave nothing, or for fewer crops than processes.
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
        self.packs = []
        self.training = []
        things = []
        for pack in packs:
            if pack.name not in share:
                continue
            rows = np.flatnonzero(rows_of(pack.validation, "train"))
            if not len(rows):
                continue

            self.packs.append(pack)
            self.training.append(rows)
            if pack.name == "negatives":
                things.extend(pack.images[row] for row in rows)

        if not self.packs:
            raise DataError(
                f"shares: none of {', '.join(share)} among the packs given with a row to train on"
            )

        weights = np.array([share[pack.name] for pack in self.packs])
        if not weights.sum() > 0:
            names = ", ".join(pack.name for pack in self.packs)
            raise ConfigError(
                f"shares: expected one above 0 of {names}, which have a row to train on"
            )
        if batch < world:
            raise ConfigError(
                f"batch: expected at least {world}, a crop for each process, got {batch}"
            )

        self.weights = weights / weights.sum()
        self.scenery = Scenery(people, things)
        self.samples = range(rank, batch, world)
        self.size_px = size_px
        self.augmentation = augmentation
        self.seed = seed
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        samples = [
            self._sample(np.random.default_rng((self.seed, step, number)))
            for number in self.samples
        ]
        images, labels, nobody, presence = zip(*samples)
        return Batch(
            images=torch.from_numpy(np.stack(images)),
            labels=torch.from_numpy(np.stack(labels)).float(),
            nobody=torch.tensor(nobody),
            presence=torch.from_numpy(np.stack(presence)).float(),
        )

    def _sample(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, bool, np.ndarray]:
        """A crop (3, S, S), its labels (14, 3), whether nobody is in it, and the presence (14,)."""
        which = rng.choice(len(self.packs), p=self.weights)
        pack = self.packs[which]
        index = rng.choice(self.training[which])
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
        crop = np.ascontiguousarray(sample.image).transpose(2, 0, 1)
        return crop, sample.keypoints, nobody, presence

    def counts(self) -> dict[str, int]:
        """Number of training windows of each pack."""
        names = [pack.name for pack in self.packs]
        return dict(zip(names, map(len, self.training)))

    def stream(self, first: int, workers: int = 1) -> Iterator[Batch]:
        """The batches from step `first` on, prepared by `workers` processes (0: by this one)."""
        options = {}
        if workers:
            options = {"prefetch_factor": 4, "worker_init_fn": _one_thread}
        yield from DataLoader(
            self,
            batch_size=None,
            sampler=range(first, self.steps),
            num_workers=workers,
            **options,
        )


def parse_shares(shares: Sequence[str]) -> dict[str, float]:
    """Share of each pack by name, from entries such as `lspet=0.3`.

    ConfigError for a malformed entry, for an unknown pack, and if all shares are 0.
    """
    values = {}
    for entry in shares:
        name, _, number = str(entry).partition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan

        if name not in PACKS or not 0 <= value < math.inf:
            raise ConfigError(
                "shares: expected PACK=NUMBER with a number of 0 or more and a pack of "
                f"{', '.join(PACKS)}, got {entry!r}"
            )
        values[name] = value

    if not sum(values.values()) > 0:
        raise ConfigError("shares: expected at least one above 0")
    return values


def _one_thread(_: int) -> None:
    cv2.setNumThreads(0)
