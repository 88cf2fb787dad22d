# SPDX-License-Identifier: Apache-2.0
"""What the trainings of the small networks beside a keypoint network share: the depth cue and the
joint offsets. They learn from rendered people (`datasets.found_people`)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from torch import Tensor

from lifting_ros.io.checkpoint import half_precision, load_tensors, save_tensors
from lifting_ros.research.training.network_packs import render_once

PEOPLE_PX = 256
"""Side of a rendered picture."""

POSED = 0.5
"""Share of people in generated poses, such as sitting and lying."""

HELD_BACK = 10
"""Every how many-th person is not learnt from, but measured on."""


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
