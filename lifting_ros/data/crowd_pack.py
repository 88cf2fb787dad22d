# SPDX-License-Identifier: Apache-2.0
"""Rendered crowds and rooms without people, made once and kept.

A pack is a folder with `images.npy` (N, H, W, 3) uint8 RGB and `labels.npz`, which is written last: a folder with it is whole.
"""
from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from lifting_ros.data.keypoints2d import decode_rgb, read_tar

HELD_BACK = 12  # of so many groups of eight training rows one is held back to set thresholds and the scores' calibration


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
    """The renderer of a side's pictures: backgrounds and, for `validation`, subjects that no other side has; size (W, H) px."""
    from lifting_ros.data.synthetic import SyntheticPeople  # its packages are needed by those who render alone

    seed = {"train": 11, "tune": 12, "validation": 13}[side]
    subjects = "validation" if side == "validation" else "training"
    mocap = data / "mocap" / "cmu17_10fps_dev.npz"
    return SyntheticPeople(data / "body", mocap, read_empty(data, side), seed, size, subjects)


def write_crowd_pack(folder: Path, source, crowds: int, empty: int) -> None:
    """Render `crowds` pictures with and then `empty` pictures without people."""
    folder.mkdir(parents=True, exist_ok=True)
    width, height = source.size
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (crowds + empty, height, width, 3))
    picture, keypoints, seen = [], [np.zeros((0, 14, 3), np.float32)], []
    for index in tqdm(range(crowds + empty), desc=f"rendering {folder.name}", unit="picture", mininterval=5):
        sample = source.crowd(index) if index < crowds else source.empty(index)
        images[index] = sample.image
        picture += [index] * len(sample.people)
        keypoints += [np.column_stack([p.keypoints_px, p.labelled]).astype(np.float32)[None] for p in sample.people]
        seen += [p.seen for p in sample.people]
    images.flush()
    beside = folder / "labels.partial.npz"
    np.savez(beside, picture=np.array(picture, int), keypoints=np.concatenate(keypoints), seen=np.array(seen, np.float32))
    os.replace(beside, folder / "labels.npz")


def open_crowd_pack(folder: Path, data: Path, side: str, size: tuple[int, int], crowds: int, empty: int) -> CrowdPack:
    """The pack in `folder`, rendered where it is not there yet."""
    if not (folder / "labels.npz").is_file():
        write_crowd_pack(folder, crowd_source(data, side, size), crowds, empty)
    labels = np.load(folder / "labels.npz", allow_pickle=False)
    images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    if images.shape != (crowds + empty, size[1], size[0], 3):
        raise ValueError(f"{folder}: holds pictures {images.shape}, expected {(crowds + empty, size[1], size[0], 3)}: remove it")
    return CrowdPack(images, labels["picture"], labels["keypoints"], labels["seen"])
