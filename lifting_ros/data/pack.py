# SPDX-License-Identifier: Apache-2.0
"""Packs: square windows around one person each, decoded once, so that training never waits for a JPEG.

A pack is a folder with `images.npy` (N, S, S, 3) uint8 RGB, memory-mapped, and `labels.npz` with `keypoints` (N, 14, 3) x, y in px of the
window and 1 where labelled, and `validation` (N,) bool.
"""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from lifting_ros.data.keypoints2d import (
    PHOTO_SETS,
    PhotoSet,
    decode_rgb,
    is_validation,
    keypoint_box,
    read_photo_set,
    read_tar,
)

WINDOW_PX = 224
WINDOW_BOXES = 2.2  # side of the window over the longer side of the keypoints' box: room to shift, turn and shrink


class Pack(NamedTuple):
    """A pack in memory-mapped form; see the module's text."""

    name: str
    images: np.ndarray
    keypoints: np.ndarray
    validation: np.ndarray


def window_transform(keypoints: np.ndarray, side_px: int = WINDOW_PX, boxes: float = WINDOW_BOXES) -> np.ndarray:
    """Affine (2, 3) from photo pixels to the pixels of the window around one person's labelled keypoints (14, 3)."""
    x0, y0, x1, y1 = keypoint_box(keypoints)
    scale = side_px / (boxes * max(x1 - x0, y1 - y0, 1.0))
    shift = (side_px - 1) / 2 - scale * np.array([x0 + x1, y0 + y1]) / 2
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])


def cut_window(image: np.ndarray, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The window (S, S, 3) around one person and the keypoints (14, 3) in its pixels."""
    transform = window_transform(keypoints)
    if transform[0, 0] < 0.7:  # area averaging first, so that a strong reduction does not alias
        image = cv2.GaussianBlur(image, (0, 0), 0.4 / transform[0, 0])
    window = cv2.warpAffine(image, transform, (WINDOW_PX, WINDOW_PX), flags=cv2.INTER_LINEAR, borderValue=(128, 128, 128))
    moved = keypoints.copy()
    moved[:, :2] = keypoints[:, :2] @ transform[:, :2].T + transform[:, 2]
    moved[keypoints[:, 2] == 0] = 0
    return window, moved


def write_pack(folder: Path, photos: PhotoSet) -> None:
    """Write the pack of a photo set; `labels.npz` last, so that a folder with it is whole."""
    make = (cut_window(photos.image(i), photos.keypoints[i]) for i in range(len(photos.files)))
    _write(folder, make, len(photos.files), is_validation(photos))


def write_negative_pack(folder: Path, root: Path) -> None:
    """Write the pack of photographs without people: the middle square of each, no keypoint labelled."""
    names = [str(n) for n in np.load(root / "names.npz", allow_pickle=False)["names"]]
    images = read_tar(root / "images.tar")
    nobody = np.zeros((14, 3), np.float32)
    make = ((cv2.resize(_middle(decode_rgb(images[n], n)), (WINDOW_PX, WINDOW_PX)), nobody) for n in names)
    _write(folder, make, len(names), np.arange(len(names)) % 9 == 8)


def _middle(image: np.ndarray) -> np.ndarray:
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def _write(folder: Path, windows, count: int, validation: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (count, WINDOW_PX, WINDOW_PX, 3))
    keypoints = np.zeros((count, 14, 3), np.float32)
    for i, (image, labels) in enumerate(tqdm(windows, total=count, desc=f"packing {folder.name}", unit="photo")):
        images[i], keypoints[i] = image, labels
    images.flush()
    np.savez(folder / "labels.npz", keypoints=keypoints, validation=validation)


def read_pack(folder: str | Path) -> Pack:
    """Open a pack; FileNotFoundError where it is absent or was not finished."""
    folder = Path(folder)
    labels = np.load(folder / "labels.npz", allow_pickle=False)
    images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    validation = labels["validation"] if "validation" in labels else np.zeros(len(images), bool)
    return Pack(folder.name, images, labels["keypoints"], validation)


def open_or_write(folder: Path, write: Callable[[Path], None]) -> Pack:
    """Open the pack in `folder`, made by `write` where it is not there yet."""
    if not (folder / "labels.npz").is_file():
        write(folder)
    return read_pack(folder)


def open_packs(data: Path, cache: Path) -> list[Pack]:
    """The packs of all photo sets and of the pictures without people under `data`, made in `cache` where they are not there yet."""
    packs = [
        open_or_write(cache / name, lambda folder, name=name: write_pack(folder, read_photo_set(data / "keypoints2d", name)))
        for name in PHOTO_SETS
    ]
    return [*packs, open_or_write(cache / "negatives", lambda folder: write_negative_pack(folder, data / "negatives"))]
