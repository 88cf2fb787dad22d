# SPDX-License-Identifier: Apache-2.0
"""Training batches from packs: batch `step` of a seed is always the same, however often a training was stopped and however many processes
share it."""
from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lifting_ros.data.pack import NOBODY, Pack
from lifting_ros.training.augmentation import AugmentationConfig, augment


class Batch(NamedTuple):
    """Crops and what is known of them."""

    images: Tensor
    """(N, 3, S, S) uint8 RGB."""
    labels: Tensor
    """(N, 14, 3) x, y in px of the crop and the label's weight, 0 where there is none."""
    nobody: Tensor
    """(N,) bool: pictures known to show no person."""

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(*(t.to(device, non_blocking=True) for t in self))


class Batches(Dataset):
    """Item `step` is that step's Batch: the part of it that process `rank` of `world` trains on."""

    def __init__(self, packs: list[Pack], shares: tuple[str, ...], batch: int, size_px: int, augmentation: AugmentationConfig, seed: int,
                 steps: int, rank: int = 0, world: int = 1):  # fmt: skip
        share = dict(entry.split("=") for entry in shares)
        self.packs = [p for p in packs if p.name in share]
        if not self.packs:
            raise ValueError(f"shares: none of {', '.join(share)} among the packs given")
        weights = np.array([float(share[p.name]) for p in self.packs])
        self.weights, self.training = weights / weights.sum(), [np.flatnonzero(~p.validation) for p in self.packs]
        self.samples, self.size_px, self.augmentation, self.seed, self.steps = range(rank, batch, world), size_px, augmentation, seed, steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        images, labels, nobody = zip(*(self._sample(np.random.default_rng((self.seed, step, n))) for n in self.samples))
        return Batch(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels)).float(), torch.tensor(nobody))

    def _sample(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, bool]:
        which = rng.choice(len(self.packs), p=self.weights)
        pack, index = self.packs[which], rng.choice(self.training[which])
        image, keypoints = augment(pack.images[index], pack.keypoints[index], self.size_px, self.augmentation, rng)
        return np.ascontiguousarray(image).transpose(2, 0, 1), keypoints, pack.name in NOBODY

    def counts(self) -> dict[str, int]:
        """Training windows of every pack."""
        return {pack.name: len(rows) for pack, rows in zip(self.packs, self.training)}

    def stream(self, first: int, workers: int = 1) -> Iterator[tuple[int, Batch]]:
        """(step, Batch) from step `first` to the last, made ahead by `workers` processes (0: none)."""
        steps = range(first, self.steps)
        ahead = {"prefetch_factor": 4, "worker_init_fn": _one_thread} if workers else {}
        yield from zip(steps, DataLoader(self, batch_size=None, sampler=steps, num_workers=workers, **ahead))


def _one_thread(_: int) -> None:
    cv2.setNumThreads(0)
