# SPDX-License-Identifier: Apache-2.0
"""Packs: square windows around one person each, decoded once, so that training never waits for a
JPEG.

A pack is a folder with `images.npy` (N, S, S, 3) uint8 RGB, memory-mapped, and `labels.npz` with
`keypoints` (N, 14, 3) x, y in px of the window and the label's weight (0 where there is none),
`validation` (N,) bool, and at times `absent` (N, 14) bool.
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

VERSION = 3  # of what photo packs hold; an older pack is made again
WINDOW_PX = 384
# side of the window over the longer side of the keypoints' box: room to shift, turn and shrink
WINDOW_BOXES = 2.2


NOBODY = ("negatives", "alarms")
"""Packs of windows that show no person; in all others an unlabelled keypoint says nothing."""


class Pack(NamedTuple):
    """A pack in memory-mapped form; see the module's text."""

    name: str
    images: np.ndarray
    keypoints: np.ndarray
    validation: np.ndarray
    absent: np.ndarray | None = None
    """(N, 14) bool: keypoints known not to be in the picture."""


def window_transform(
    keypoints: np.ndarray, side_px: int = WINDOW_PX, boxes: float = WINDOW_BOXES
) -> np.ndarray:
    """Affine (2, 3) from photo pixels to the pixels of the window around one person's labelled
    keypoints (14, 3)."""
    return box_transform(keypoint_box(keypoints), side_px, boxes)


def box_transform(box_px: np.ndarray, side_px: int, boxes: float) -> np.ndarray:
    """Affine (2, 3) from photo pixels to those of the window around a box (4,), `boxes` times its
    longer side."""
    x0, y0, x1, y1 = box_px
    scale = side_px / (boxes * max(x1 - x0, y1 - y0, 1.0))
    shift = (side_px - 1) / 2 - scale * np.array([x0 + x1, y0 + y1]) / 2

    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])


def cut_window(
    image: np.ndarray, keypoints: np.ndarray, side_px: int = WINDOW_PX
) -> tuple[np.ndarray, np.ndarray]:
    """The window (S, S, 3) around one person and the keypoints (14, 3) in its pixels."""
    transform = window_transform(keypoints, side_px)
    moved = keypoints.copy()
    moved[:, :2] = keypoints[:, :2] @ transform[:, :2].T + transform[:, 2]
    moved[keypoints[:, 2] == 0] = 0

    window = cut_square(image, transform, side_px)
    return window, moved


def cut_square(image: np.ndarray, transform: np.ndarray, side_px: int) -> np.ndarray:
    """The window (S, S, 3) of such a transform, grey beyond the border."""
    scale = transform[0, 0]
    if scale < 0.7:
        # A strong reduction would alias without this.
        image = cv2.GaussianBlur(image, (0, 0), 0.4 / scale)

    return cv2.warpAffine(
        image,
        transform,
        (side_px, side_px),
        flags=cv2.INTER_LINEAR,
        borderValue=(128, 128, 128),
    )


def write_pack(folder: Path, photos: PhotoSet, side_px: int = WINDOW_PX) -> None:
    """Write the pack of a photo set; `labels.npz` last, so that a folder with it is whole."""

    def windows() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for row in range(len(photos.files)):
            image = photos.image(row)
            yield cut_window(image, photos.keypoints[row], side_px)

    write_windows(folder, windows(), photos.validation, side_px, photos.absent)


def write_negative_pack(folder: Path, root: Path, side_px: int = WINDOW_PX) -> None:
    """Write the pack of photographs without people: the middle square of each, no keypoint
    labelled."""
    images = read_negatives(root, "all")
    nobody = np.zeros((14, 3), np.float32)
    make = ((cv2.resize(_middle(image), (side_px, side_px)), nobody) for image in images)
    write_windows(folder, make, negative_names(root)[1], side_px)


def _middle(image: np.ndarray) -> np.ndarray:
    side = min(image.shape[:2])
    top = (image.shape[0] - side) // 2
    left = (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def write_windows(
    folder: Path,
    windows: Iterable[tuple[np.ndarray, np.ndarray]],
    validation: np.ndarray,
    side_px: int,
    absent: np.ndarray | None = None,
) -> None:
    """Write the pack of windows (S, S, 3) with their keypoints (14, 3), one for every entry of
    `validation` (N,) bool.

    Not for two processes at once in one folder: see `made_once`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.npz").unlink(missing_ok=True)
    count = len(validation)
    keypoints = np.zeros((count, 14, 3), np.float32)
    progress = Progress(windows, total=count, desc=f"packing {folder.name}", unit="photo")

    with replacing(folder / "images.npy") as partial:
        shape = (count, side_px, side_px, 3)
        images = np.lib.format.open_memmap(partial, "w+", np.uint8, shape)
        for i, (image, labels) in enumerate(progress):
            images[i] = image
            keypoints[i] = labels
        images.flush()

    more = {} if absent is None else {"absent": absent}
    with replacing(folder / "labels.npz", keep_suffix=True) as partial:
        np.savez(partial, keypoints=keypoints, validation=validation, version=VERSION, **more)


def read_pack(folder: str | Path) -> Pack:
    """Open a pack; FileNotFoundError where it is absent or was not finished, DataError in one line
    where it is damaged or no pack."""
    folder = Path(folder)
    labels = read_arrays(
        folder / "labels.npz",
        {"keypoints": ("N", 14, 3)},
        {"validation": ("N",), "absent": ("N", 14)},
    )
    images = read_images(folder / "images.npy")
    check_shape(
        images, (len(labels["keypoints"]), "H", "W", 3), {}, f"{folder / 'images.npy'}: pictures"
    )
    validation = labels.get("validation", np.zeros(len(images))).astype(bool)

    return Pack(folder.name, images, labels["keypoints"], validation, labels.get("absent"))


def open_or_write(folder: Path, write: Callable[[Path], None]) -> Pack:
    """Open the photo pack in `folder`, made by write(folder) where it is not there yet or of
    another version."""
    make_once(folder, VERSION, write)
    return read_pack(folder)


def open_packs(data: Path, cache: Path, side_px: int = WINDOW_PX) -> list[Pack]:
    """The packs of the photo sets and of the pictures without people under `data`, windows of
    `side_px`, made in `cache` where they are not there yet."""
    packs = [
        open_or_write(cache / name, partial(_write_set, data, name, side_px))
        for name in photo_sets_in(data / "keypoints2d")
    ]
    return [
        *packs,
        open_or_write(
            cache / "negatives",
            lambda folder: write_negative_pack(folder, data / "negatives", side_px),
        ),
    ]


def _write_set(data: Path, name: str, side_px: int, folder: Path) -> None:
    write_pack(folder, read_photo_set(data / "keypoints2d", name), side_px)
