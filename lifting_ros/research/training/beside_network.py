# SPDX-License-Identifier: Apache-2.0
"""Shared by the trainings of the depth cue and of the joint offsets: the small networks in the
weights file of a keypoint network. Both learn from rendered people (`datasets.found_people`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from torch import Tensor

from lifting_ros.io.checkpoint import half_precision, load_tensors, save_tensors
from lifting_ros.research.training.network_packs import render_once
from lifting_ros.research.training.trainer import Schedule

R = TypeVar("R", bound=tuple)
"""Rows of people, a NamedTuple of arrays (N, ...)."""

PEOPLE_PX = 256
"""Side of a rendered picture."""

POSED = 0.5
"""Share of people in generated poses, such as sitting and lying."""

HELD_BACK = 10
"""Every how many-th person is not learnt from, but measured on."""


@dataclass(frozen=True)
class BesideNetworkConfig(Schedule):
    """What the recipes have in common."""

    people: int = field(
        default=6000, metadata={"description": "most rendered people", "range": (10, 10**9)}
    )
    batch: int = field(
        default=128, metadata={"description": "people per step", "range": (2, 65536)}
    )
    learning_rate: float = field(
        default=1e-3, metadata={"description": "peak rate of AdamW", "range": (0.0, 1.0)}
    )
    weight_decay: float = field(
        default=0.02, metadata={"description": "weight decay", "range": (0.0, 10.0)}
    )
    ema: float = field(
        default=0.99, metadata={"description": "decay of the averaged weights", "range": (0.0, 1.0)}
    )
    noise: float = field(
        default=0.03,
        metadata={"description": "std added to the encoded keypoints", "range": (0.0, 1.0)},
    )
    seed: int = field(
        default=0, metadata={"description": "seed of weights and order", "range": (0, 2**31 - 1)}
    )


def split(rows: R) -> tuple[R, R]:
    """Those who are learnt from, and every HELD_BACK-th person."""
    held = np.arange(len(rows[0])) % HELD_BACK == 0
    return select(rows, ~held), select(rows, held)


def select(rows: R, which: np.ndarray) -> R:
    """Some of the people."""
    return type(rows)(*(values[which] for values in rows))


def batches(rows: R, config: BesideNetworkConfig, first: int) -> Iterator[R]:
    """Random people for every step from the `first` one on; each step has a seed of its own."""
    for step in range(first, config.steps):
        rng = np.random.default_rng((config.seed, step))
        yield select(rows, rng.integers(0, len(rows[0]), config.batch))


def render_people(count: int, seed: int, data: Path, work: Path) -> Path:
    """The folder in `work` of `count` rendered people, one a picture; rendered where they are not
    there yet. RendererMissingError without the package that renders."""
    from lifting_ros.research.rendering import synthetic

    folder = work / f"people{count}_{PEOPLE_PX}px_seed{seed}"
    write = partial(synthetic.write_pack, n=count, size=PEOPLE_PX, seed=seed, posed=POSED)
    render_once(folder, write, data)
    return folder


def save_beside(
    network: Path, section: str, weights: dict[str, Tensor], card: dict, out: Path
) -> None:
    """Write the weights file of a network with another section: its tensors have that name and a
    dot before their own, its card is in the header. What else the file holds stays.

    CheckpointError where `network` cannot be read.
    """
    tensors, header = load_tensors(network)
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(f"{section}.")}
    added = {f"{section}.{name}": tensor for name, tensor in half_precision(weights).items()}
    save_tensors(out, kept | added, header | {section: card})
