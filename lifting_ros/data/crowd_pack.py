# SPDX-License-Identifier: Apache-2.0
"""Rendered crowds and rooms without people, made once and kept in a pack of `synthetic_pack`."""
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifting_ros.data.keypoints2d import decode_rgb, read_tar
from lifting_ros.data.synthetic_pack import crowd_labels, render_pictures, save_labels

HELD_BACK = 12  # of so many groups of eight training rows one is held back to set thresholds and the scores' calibration

TUNE_PICTURES = (60, 120)
"""Rendered pictures with and without people for that."""


class CrowdPack(NamedTuple):
    """Pictures, and the persons in all of them."""

    images: np.ndarray
    """(N, H, W, 3) uint8 RGB, memory-mapped."""
    picture: np.ndarray
    """(M,) which picture a person is in."""
    keypoints: np.ndarray
    """(M, 14, 3) x, y px, also where hidden or outside, and 1 where people would label it."""
    seen: np.ndarray
    """(M,) share of the person that is inside the picture and hidden by nothing else."""


def rows_of(validation: np.ndarray, side: str) -> np.ndarray:
    """Boolean (N,): the rows of a side, `train`, `tune` (held back from the training to set thresholds) or `validation`."""
    if side not in ("train", "tune", "validation"):
        raise ValueError(f"side: expected train, tune or validation, got {side!r}")
    if side == "validation":
        return validation
    rest = np.flatnonzero(~validation)
    rows = np.zeros(len(validation), bool)
    rows[rest[(np.arange(len(rest)) // 8 % HELD_BACK == 5) == (side == "tune")]] = True
    return rows


def read_empty(data: Path, side: str) -> list[np.ndarray]:
    """The photographs without people of a side, each (H, W, 3) uint8 RGB."""
    names = [str(n) for n in np.load(data / "negatives" / "names.npz", allow_pickle=False)["names"]]
    files = read_tar(data / "negatives" / "images.tar")
    rows = rows_of(np.arange(len(names)) % 9 == 8, side)
    return [decode_rgb(files[names[i]], names[i]) for i in np.flatnonzero(rows)]


def crowd_source(data: Path, side: str, size: tuple[int, int]):
    """The renderer of a side's pictures: backgrounds and, for `validation`, subjects and clothes that no other side has; size (W, H) px."""
    from lifting_ros.data.synthetic import SyntheticPeople  # its packages are needed by those who render alone

    seed = {"train": 11, "tune": 12, "validation": 13}[side]
    subjects = "validation" if side == "validation" else "training"
    mocap = data / "mocap" / "cmu17_10fps_dev.npz"
    return SyntheticPeople(data / "body", mocap, read_empty(data, side), seed, size, subjects)


def write_crowd_pack(
    folder: Path, make_source: Callable, size: tuple[int, int], crowds: int, empty: int, workers: int | None = None
) -> None:
    """Render `crowds` pictures with and then `empty` pictures without people; make_source() is called in each process."""
    samples = render_pictures(folder, make_source, partial(_crowd_or_room, crowds), crowds + empty, size, workers)
    save_labels(folder, crowd_labels(samples, False))


def _crowd_or_room(crowds: int, source, index: int):
    return source.crowd(index) if index < crowds else source.empty(index)


def open_crowd_pack(folder: Path, data: Path, side: str, size: tuple[int, int], crowds: int, empty: int) -> CrowdPack:
    """The pack in `folder`, rendered where it is not there yet."""
    if not (folder / "labels.npz").is_file():
        write_crowd_pack(folder, partial(crowd_source, data, side, size), size, crowds, empty)
    labels = np.load(folder / "labels.npz", allow_pickle=False)
    images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    if images.shape != (crowds + empty, size[1], size[0], 3):
        raise ValueError(f"{folder}: holds pictures {images.shape}, expected {(crowds + empty, size[1], size[0], 3)}: remove it")
    return CrowdPack(images, labels["picture"], labels["keypoints"], labels["seen"])
