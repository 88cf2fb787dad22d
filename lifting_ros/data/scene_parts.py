# SPDX-License-Identifier: Apache-2.0
"""What scenes for the person detector are put together from: people cut out of photographs, windows of empty pictures, patches, colours."""
from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from lifting_ros.core.skeleton import KEYPOINT_FLIP
from lifting_ros.data.arrays import read_arrays
from lifting_ros.data.keypoints2d import PhotoSet, decode_mask, keypoint_box, read_tar


class Scene(NamedTuple):
    """One training picture of the detector."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    boxes: np.ndarray
    """(M, 4) keypoint boxes x0, y0, x1, y1 px, cut to the picture."""
    keypoints: np.ndarray
    """(M, 14, 3) x, y px and more than 0 where labelled."""
    known: np.ndarray
    """(H, W) bool: where nobody but `boxes` is."""


class Cutout(NamedTuple):
    """A person cut out of a photograph."""

    image: np.ndarray
    mask: np.ndarray
    keypoints: np.ndarray


def read_cutouts(folder: Path, street: PhotoSet, rows: np.ndarray) -> list[Cutout]:
    """The masked street persons among `rows` (N,) bool, at half size, to be light in memory; errors as `read_photo_set`."""
    has_mask = read_arrays(folder / "annotations.npz", {"has_mask": (len(rows),)})["has_mask"]
    names = {index: Path(street.files[index]).stem + ".png" for index in np.flatnonzero(rows & has_mask)}
    masks = read_tar(folder / "masks.tar", names.values())
    cutouts = []
    for index, name in tqdm(names.items(), desc="reading masks", unit="person"):
        # (0, 0) is the centre of a pixel, before and after
        keypoints = street.keypoints[index] * np.array([0.5, 0.5, 1], np.float32) - np.array([0.25, 0.25, 0], np.float32)
        image = cv2.resize(street.image(index), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        mask = decode_mask(masks[name], f"{folder}/{name}").astype(np.uint8) * 255
        cutouts.append(Cutout(image, cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_AREA), keypoints))
    return cutouts


def labelled_scene(image: np.ndarray, keypoints: np.ndarray, counted: np.ndarray, known: np.ndarray) -> Scene:
    """A scene from all its persons (M, 14, 3), whose boxes take every keypoint with a third column above 0.

    Who does not count (M,) bool or is almost outside is neither a person to find nor an empty place.
    """
    size = (image.shape[1], image.shape[0])
    whole = np.array([keypoint_box(k) for k in keypoints]).reshape(-1, 4)
    boxes, inside = cut_boxes(whole, size)
    kept = inside & np.asarray(counted, bool)
    known = known.copy()
    for box in whole[~kept]:
        known &= ~rectangle(box, size)
    return Scene(image, boxes[kept], keypoints[kept], known)


def cut_boxes(boxes: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (M, 4) cut to the picture, and which (M,) are worth finding: 40 % of their area and 12 px are left."""
    limit = np.array([size[0] - 1, size[1] - 1] * 2)
    cut = np.clip(boxes, 0, limit)
    area = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(-1), 1e-6)
    left = (cut[:, 2:] - cut[:, :2]).prod(-1) / area
    return cut, (left > 0.4) & ((cut[:, 2:] - cut[:, :2]).max(-1, initial=0) >= 12)


def mirror(scene: Scene) -> Scene:
    """The scene about its vertical axis, left and right exchanged."""
    last = scene.image.shape[1] - 1
    boxes, keypoints = scene.boxes.copy(), scene.keypoints[:, list(KEYPOINT_FLIP)].copy()
    boxes[:, [0, 2]] = last - scene.boxes[:, [2, 0]]
    keypoints[..., 0] = last - keypoints[..., 0]
    return Scene(np.ascontiguousarray(scene.image[:, ::-1]), boxes, keypoints, np.ascontiguousarray(scene.known[:, ::-1]))


def tiled(scenes: list[Scene], columns: int) -> Scene:
    """Scenes of one size side by side, row by row, as one."""
    h, w = scenes[0].known.shape
    shifts = [(w * (n % columns), h * (n // columns)) for n in range(len(scenes))]
    rows = [scenes[first : first + columns] for first in range(0, len(scenes), columns)]
    image = np.vstack([np.hstack([s.image for s in row]) for row in rows])
    known = np.vstack([np.hstack([s.known for s in row]) for row in rows])
    boxes = np.concatenate([s.boxes + [x, y, x, y] for s, (x, y) in zip(scenes, shifts)])
    keypoints = np.concatenate([s.keypoints + [x, y, 0] for s, (x, y) in zip(scenes, shifts)])
    return Scene(image, boxes, keypoints, known)


def move(keypoints: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Keypoints (..., 14, 3) under an affine (2, 3)."""
    return np.concatenate([keypoints[..., :2] @ transform[:, :2].T + transform[:, 2], keypoints[..., 2:]], -1)


def warp(image: np.ndarray, transform: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image under an affine (2, 3) as a picture of `size` (W, H), black outside; areas are averaged first where it shrinks."""
    factor = 1.3 * np.sqrt(abs(np.linalg.det(transform[:, :2])))
    if factor < 0.8:
        small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        back = np.array(image.shape[1::-1]) / small.shape[1::-1]
        linear = transform[:, :2] * back
        transform = np.column_stack([linear, transform[:, 2] + transform[:, :2] @ ((back - 1) / 2)])
        image = small
    return cv2.warpAffine(image, transform, size)


def random_window(image: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A part of an image, 0.3 to 1 of what fits, as a picture (H, W, 3) of `size` (W, H)."""
    height, width = image.shape[:2]
    scale = rng.uniform(0.3, 1.0) * min(width / size[0], height / size[1])
    w, h = max(int(size[0] * scale), 2), max(int(size[1] * scale), 2)
    left, top = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
    part = cv2.resize(image[top : top + h, left : left + w], size, interpolation=cv2.INTER_AREA if scale > 1.2 else cv2.INTER_LINEAR)
    return np.ascontiguousarray(part[:, ::-1]) if rng.random() < 0.5 else part


def patch(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(H, W) bool: an ellipse or a turned rectangle, mostly upright as people are."""
    width, height = size
    mask = np.zeros((height, width), np.uint8)
    centre = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
    half = np.array([rng.uniform(0.01, 0.15) * width, rng.uniform(0.05, 0.4) * height]).astype(int) + 1
    angle = rng.normal(0, 20)
    if rng.random() < 0.5:
        cv2.ellipse(mask, centre, tuple(map(int, half)), angle, 0, 360, 1, -1)
    else:
        corners = cv2.boxPoints((centre, tuple(map(float, 2 * half)), angle))
        cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)
    return mask.astype(bool)


def rectangle(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the pixels in a box (4,)."""
    area = np.zeros((size[1], size[0]), bool)
    x0, y0, x1, y1 = np.clip(np.round(box), 0, 1e5).astype(int)
    if box[2] >= 0 and box[3] >= 0:
        area[y0 : y1 + 1, x0 : x1 + 1] = True
    return area


def recolour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another exposure, gamma and white balance, at times grey, blur or grain."""
    gain = np.exp(0.25 * rng.standard_normal() + 0.08 * rng.standard_normal(3))
    gamma = np.exp(0.2 * rng.standard_normal())
    table = np.clip(np.linspace(0, 1, 256)[:, None] ** gamma * gain * 255, 0, 255).astype(np.uint8)
    if rng.random() < 0.05:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    image = cv2.LUT(image, table[None])
    if rng.random() < 0.25:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.5))
    if rng.random() < 0.25:
        noise = np.empty(image.shape, np.int16)
        cv2.setRNGSeed(int(rng.integers(2**31 - 1)))
        image = np.clip(image + cv2.randn(noise, 0, rng.uniform(2, 12)), 0, 255).astype(np.uint8)
    return image
