# SPDX-License-Identifier: Apache-2.0
"""Labelled pictures to compare detections with, people cut out of photographs, and windows of
pictures."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from lifting_ros.io.arrays import read_arrays
from lifting_ros.io.progress import Progress
from lifting_ros.research.datasets.keypoints2d import PhotoSet, decode_mask, keypoint_box, read_tar


class Scene(NamedTuple):
    """A picture and the persons to find in it."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    boxes: np.ndarray
    """(M, 4) keypoint boxes x0, y0, x1, y1 px, cut to the picture."""
    keypoints: np.ndarray
    """(M, 14, 3) x, y px and more than 0 where labelled."""
    known: np.ndarray
    """(H, W) bool: where it is known that there is nobody except `boxes`."""


class Cutout(NamedTuple):
    """A person cut out of a photograph."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    mask: np.ndarray
    """(H, W) uint8: 255 on the person."""
    keypoints: np.ndarray
    """(14, 3) x, y px and weight of the label."""


def read_cutouts(
    folder: Path,
    street: PhotoSet,
    rows: np.ndarray,
) -> list[Cutout]:
    """The persons with a mask among the `rows` (N,) bool of the set `street`, at half size to save
    memory; errors as `read_photo_set`."""
    expected = {"names": ("N",), "has_mask": ("N",)}
    listed = read_arrays(folder / "annotations.npz", expected)
    masked = {str(name) for name, has_mask in zip(listed["names"], listed["has_mask"]) if has_mask}

    names = {}

    for row in np.flatnonzero(rows):
        file = street.files[row]
        if file in masked:
            names[row] = f"{Path(file).stem}.png"

    masks = read_tar(folder / "masks.tar", names.values())
    cutouts = []

    for row, name in Progress(names.items(), desc="reading masks", unit="person"):
        image = cv2.resize(street.image(row), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        mask = decode_mask(masks[name], f"{folder}/{name}").astype(np.uint8) * 255
        mask = cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_AREA)

        # (0, 0) is the centre of a pixel, before and after
        half = np.array([0.5, 0.5, 1], np.float32)
        shift = np.array([0.25, 0.25, 0], np.float32)
        keypoints = street.keypoints[row] * half - shift
        cutouts.append(Cutout(image, mask, keypoints))

    return cutouts


def labelled_scene(
    image: np.ndarray,
    keypoints: np.ndarray,
    counted: np.ndarray,
    known: np.ndarray,
) -> Scene:
    """A scene from all its persons (M, 14, 3), with boxes around the keypoints whose third column
    is above 0.

    counted: (M,) bool. Persons that do not count, or are almost outside, are not to be found;
    nothing is known of their place.
    """
    size = (image.shape[1], image.shape[0])
    whole = np.array([keypoint_box(person) for person in keypoints]).reshape(-1, 4)
    boxes, inside = cut_boxes(whole, size)
    kept = inside & np.asarray(counted, bool)

    known = known.copy()
    for box in whole[~kept]:
        known &= ~rectangle(box, size)
    return Scene(image, boxes[kept], keypoints[kept], known)


def cut_boxes(
    boxes: np.ndarray,
    size: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (M, 4) cut at the border of the picture, and which (M,) are to be found: more than 40 %
    of their area and 12 px are left."""
    width, height = size
    limit = np.array([width - 1, height - 1] * 2)
    cut = np.clip(boxes, 0, limit)

    sides = boxes[:, 2:] - boxes[:, :2]
    area = np.maximum(sides.prod(-1), 1e-6)
    cut_sides = cut[:, 2:] - cut[:, :2]
    share = cut_sides.prod(-1) / area
    longest = cut_sides.max(-1, initial=0)

    return cut, (share > 0.4) & (longest >= 12)


def random_window(
    image: np.ndarray,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> np.ndarray:
    """A random window of an image, 0.3 to 1 times the largest one, as a picture (H, W, 3) of `size`
    (W, H); mirrored in half of the calls."""
    height, width = image.shape[:2]
    scale = rng.uniform(0.3, 1.0) * min(width / size[0], height / size[1])
    w = max(int(size[0] * scale), 2)
    h = max(int(size[1] * scale), 2)
    left = rng.integers(0, width - w + 1)
    top = rng.integers(0, height - h + 1)

    window = image[top : top + h, left : left + w]
    interpolation = cv2.INTER_AREA if scale > 1.2 else cv2.INTER_LINEAR
    part = cv2.resize(window, size, interpolation=interpolation)
    if rng.random() < 0.5:
        return np.ascontiguousarray(part[:, ::-1])

    return part


def rectangle(
    box: np.ndarray,
    size: tuple[int, int],
) -> np.ndarray:
    """(H, W) bool: the pixels in a box (4,)."""
    width, height = size
    area = np.zeros((height, width), bool)
    corners = np.clip(np.round(box), 0, 1e5)
    x0, y0, x1, y1 = corners.astype(int)
    if box[2] >= 0 and box[3] >= 0:
        area[y0 : y1 + 1, x0 : x1 + 1] = True

    return area
