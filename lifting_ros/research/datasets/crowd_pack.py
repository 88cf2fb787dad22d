# SPDX-License-Identifier: Apache-2.0
"""Rendered crowds and rooms without people, rendered once and kept in a pack of
`synthetic_pack`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifting_ros.errors import DataError
from lifting_ros.io.arrays import read_arrays, read_images
from lifting_ros.research.datasets.made_once import make_once
from lifting_ros.research.datasets.mocap import find_mocap
from lifting_ros.research.datasets.negatives import read_negatives
from lifting_ros.research.rendering.synthetic_pack import (
    VERSION,
    crowd_labels,
    render_pictures,
    save_labels,
)

TUNE_PICTURES = (60, 120)
"""Rendered pictures with and without people to set thresholds."""


class CrowdPack(NamedTuple):
    """N pictures with M persons in all."""

    images: np.ndarray
    """(N, H, W, 3) uint8 RGB, memory-mapped."""
    picture: np.ndarray
    """(M,) number of the picture of each person."""
    keypoints: np.ndarray
    """(M, 14, 3) x, y px, also where hidden or outside, and 1 where an annotator would label it."""
    seen: np.ndarray
    """(M,) share of the person that is visible: inside the picture and not hidden."""


def crowd_source(
    data: Path,
    side: str,
    size: tuple[int, int],
    seed: int | None = None,
):
    """The renderer of the pictures of a side, of `size` (W, H) px; seed: None for that of the side.
    No other side has its backgrounds; the subjects and clothes of `validation` are its own too."""
    # Only rendering requires the packages that this imports
    from lifting_ros.research.rendering.synthetic import SyntheticPeople

    if seed is None:
        seed = {"train": 11, "tune": 12, "validation": 13}[side]
    subjects = "validation" if side == "validation" else "training"
    mocap = find_mocap(data)
    backgrounds = read_negatives(data / "negatives", side)
    return SyntheticPeople(data / "body", mocap, backgrounds, seed, size, subjects)


def write_crowd_pack(
    folder: Path,
    make_source: Callable,
    size: tuple[int, int],
    crowds: int,
    empty: int,
    workers: int | None = None,
) -> None:
    """Render `crowds` pictures with people and then `empty` ones without; make_source() is called
    in each process."""
    make = partial(_crowd_or_room, crowds)
    samples = render_pictures(folder, make_source, make, crowds + empty, size, workers)
    save_labels(folder, crowd_labels(samples, False))


def _crowd_or_room(
    crowds: int,
    source,
    index: int,
):
    return source.crowd(index) if index < crowds else source.empty(index)


def open_crowd_pack(  # noqa: PLR0913 - what to render, and where it is kept
    folder: Path,
    data: Path,
    side: str,
    size: tuple[int, int],
    crowds: int,
    empty: int,
    seed: int | None = None,
) -> CrowdPack:
    """The pack in `folder`, which is rendered first if it does not exist or has another version;
    DataError in one line for a damaged or other one. seed: as in `crowd_source`."""
    source = partial(crowd_source, data, side, size, seed)
    make_once(folder, VERSION, lambda folder: write_crowd_pack(folder, source, size, crowds, empty))

    expected = {"picture": ("M",), "keypoints": ("M", 14, 3), "seen": ("M",)}
    labels = read_arrays(folder / "labels.npz", expected)
    images = read_images(folder / "images.npy")
    shape = (crowds + empty, size[1], size[0], 3)
    if images.shape != shape:
        raise DataError(f"{folder}: holds pictures {images.shape}, expected {shape}: remove it")

    if labels["picture"].max(initial=-1) >= crowds:
        raise DataError(
            f"{folder}: shows people after picture {crowds}, from which on nobody is expected: "
            "remove it"
        )

    return CrowdPack(images, labels["picture"], labels["keypoints"], labels["seen"])
