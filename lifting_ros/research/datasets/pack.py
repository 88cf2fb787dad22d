# SPDX-License-Identifier: Apache-2.0
"""Packs: square windows around one person each, decoded once, so that training does not decode
JPEG files.

A pack is a folder with `images.npy` (N, S, S, 3) uint8 RGB, memory-mapped, and `labels.npz` with
`keypoints` (N, 14, 3) x, y in px of the window and weight of the label (0 without a label),
`validation` (N,) bool, and optionally `absent` (N, 14) bool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from lifting_ros.io.arrays import check_shape, read_arrays, read_images
from lifting_ros.io.atomic import replacing
from lifting_ros.io.progress import Progress
from lifting_ros.research.datasets.keypoints2d import (
    PhotoSet,
    keypoint_box,
    photo_sets_in,
    read_photo_set,
)
from lifting_ros.research.datasets.made_once import make_once
from lifting_ros.research.datasets.negatives import negative_names, read_negatives

VERSION = 3
"""Version of the format; a pack of another version is made again."""

WINDOW_PX = 384
"""Side of a window."""

WINDOW_BOXES = 2.2
"""Side of a window, divided by the longer side of the keypoints' box; this leaves space to shift,
turn and shrink the crop."""

NOBODY = ("negatives", "alarms")
"""Packs of windows that show no person. In the others a missing label has no meaning."""


class Pack(NamedTuple):
    """N windows."""

    name: str
    images: np.ndarray
    """(N, S, S, 3) uint8 RGB, memory-mapped if read from a folder."""
    keypoints: np.ndarray
    """(N, 14, 3) x, y in px of the window and weight of the label; 0: no label."""
    validation: np.ndarray
    """(N,) bool: the validation side."""
    absent: np.ndarray | None = None
    """(N, 14) bool: keypoints known to be outside the picture; None: not known."""


def box_transform(
    box_px: np.ndarray,
    side_px: int,
    boxes: float,
) -> np.ndarray:
    """Affine (2, 3) from photo pixels to those of the window around a box (4,), `boxes` times its
    longer side."""
    x0, y0, x1, y1 = box_px
    longer = max(x1 - x0, y1 - y0, 1.0)
    scale = side_px / (boxes * longer)
    shift = (side_px - 1) / 2 - scale * np.array([x0 + x1, y0 + y1]) / 2
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])


def cut_window(
    image: np.ndarray,
    keypoints: np.ndarray,
    side_px: int = WINDOW_PX,
) -> tuple[np.ndarray, np.ndarray]:
    """The window (S, S, 3) around one person and the keypoints (14, 3) in its pixels."""
    transform = box_transform(keypoint_box(keypoints), side_px, WINDOW_BOXES)
    moved = keypoints.copy()
    moved[:, :2] = keypoints[:, :2] @ transform[:, :2].T + transform[:, 2]
    moved[keypoints[:, 2] == 0] = 0

    window = cut_square(image, transform, side_px)
    return window, moved


def cut_square(
    image: np.ndarray,
    transform: np.ndarray,
    side_px: int,
) -> np.ndarray:
    """The window (S, S, 3) of an affine transform (2, 3), grey beyond the border of the image."""
    scale = transform[0, 0]
    if scale < 0.7:
        # A strong reduction aliases without this
        image = cv2.GaussianBlur(image, (0, 0), 0.4 / scale)

    return cv2.warpAffine(
        image,
        transform,
        (side_px, side_px),
        flags=cv2.INTER_LINEAR,
        borderValue=(128, 128, 128),
    )


def write_pack(
    folder: Path,
    photos: PhotoSet,
    side_px: int = WINDOW_PX,
) -> None:
    """Write the pack of a photo set; `labels.npz` last, so that a folder with it is complete."""

    def windows() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for row in range(len(photos.files)):
            image = photos.image(row)
            yield cut_window(image, photos.keypoints[row], side_px)

    write_windows(folder, windows(), photos.validation, side_px, photos.absent)


def write_negative_pack(
    folder: Path,
    root: Path,
    side_px: int = WINDOW_PX,
) -> None:
    """Write the pack of photographs without people: the middle square of each, without labels."""
    images = read_negatives(root, "all")
    _, validation = negative_names(root)
    nobody = np.zeros((14, 3), np.float32)

    def windows() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for image in images:
            yield cv2.resize(_middle(image), (side_px, side_px)), nobody

    write_windows(folder, windows(), validation, side_px)


def _middle(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    side = min(height, width)
    top = (height - side) // 2
    left = (width - side) // 2
    return image[top : top + side, left : left + side]


def write_windows(
    folder: Path,
    windows: Iterable[tuple[np.ndarray, np.ndarray]],
    validation: np.ndarray,
    side_px: int,
    absent: np.ndarray | None = None,
) -> None:
    """Write a pack of N windows (S, S, 3) with their keypoints (14, 3); validation: (N,) bool.

    Two processes must not write one folder at the same time: see `made_once`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.npz").unlink(missing_ok=True)
    count = len(validation)
    keypoints = np.zeros((count, 14, 3), np.float32)
    progress = Progress(windows, total=count, desc=f"packing {folder.name}", unit="photo")

    with replacing(folder / "images.npy") as partial:
        shape = (count, side_px, side_px, 3)
        images = np.lib.format.open_memmap(partial, "w+", np.uint8, shape)
        for row, (image, labels) in enumerate(progress):
            images[row] = image
            keypoints[row] = labels
        images.flush()

    more = {} if absent is None else {"absent": absent}
    with replacing(folder / "labels.npz", keep_suffix=True) as partial:
        np.savez(partial, keypoints=keypoints, validation=validation, version=VERSION, **more)


def read_pack(folder: str | Path) -> Pack:
    """Open a pack; FileNotFoundError if it is absent or was not finished, DataError in one line if
    it is damaged or something else."""
    folder = Path(folder)
    required = {"keypoints": ("N", 14, 3)}
    optional = {"validation": ("N",), "absent": ("N", 14)}
    labels = read_arrays(folder / "labels.npz", required, optional)
    keypoints = labels["keypoints"]

    path = folder / "images.npy"
    images = read_images(path)
    check_shape(images, (len(keypoints), "H", "W", 3), {}, f"{path}: pictures")

    validation = labels.get("validation", np.zeros(len(images)))
    return Pack(folder.name, images, keypoints, validation.astype(bool), labels.get("absent"))


def open_or_write(
    folder: Path,
    write: Callable[[Path], None],
) -> Pack:
    """Open the photo pack in `folder`, which write(folder) makes first if it does not exist or has
    another version."""
    make_once(folder, VERSION, write)
    return read_pack(folder)


def open_packs(
    data: Path,
    cache: Path,
    side_px: int = WINDOW_PX,
) -> list[Pack]:
    """The packs of the photo sets and of the pictures without people in `data`, with windows of
    `side_px`; those that do not exist yet are made in `cache`."""
    packs = []
    for name in photo_sets_in(data / "keypoints2d"):
        write = partial(_write_set, data, name, side_px)
        packs.append(open_or_write(cache / name, write))

    write = partial(write_negative_pack, root=data / "negatives", side_px=side_px)
    packs.append(open_or_write(cache / "negatives", write))
    return packs


def _write_set(
    data: Path,
    name: str,
    side_px: int,
    folder: Path,
) -> None:
    photos = read_photo_set(data / "keypoints2d", name)
    write_pack(folder, photos, side_px)
