# SPDX-License-Identifier: Apache-2.0
"""Scenes for the person detector: photographs with one labelled person, and composites whose every person is known.

A composite puts people cut out of the street photographs, at any size, into pictures without people, so that the rest of it is known to be
empty. In a photograph only the surroundings of the labelled person are known; `known` says where an absence may be learnt.
"""
from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from lifting_ros.core.skeleton import KEYPOINT_FLIP
from lifting_ros.data.keypoints2d import PHOTO_SETS, PhotoSet, decode_rgb, is_validation, keypoint_box, read_photo_set, read_tar


class Scene(NamedTuple):
    """One training picture of the detector."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    boxes: np.ndarray
    """(M, 4) keypoint boxes x0, y0, x1, y1 px."""
    keypoints: np.ndarray
    """(M, 14, 3) x, y px and 1 where labelled."""
    known: np.ndarray
    """(H, W) bool: where nobody but `boxes` is."""


class Cutout(NamedTuple):
    """A person cut out of a photograph."""

    image: np.ndarray
    mask: np.ndarray
    keypoints: np.ndarray


class SceneSource:
    """Draws scenes; the same random generator gives the same scene."""

    def __init__(self, data: Path, width: int = 320, height: int = 256, validation: bool = False):
        self.size = (width, height)
        photos = [read_photo_set(data / "keypoints2d", name) for name in PHOTO_SETS]
        self.photos = [(p, i) for p in photos for i in np.flatnonzero(is_validation(p) == validation)]
        self.share = np.array([{"lspet": 0.5, "street": 1.0, "gym": 2.5, "people": 3.0}[p.name] for p, _ in self.photos])
        self.share /= self.share.sum()
        street = next(p for p in photos if p.name == "street")
        self.cutouts = read_cutouts(data / "keypoints2d" / "street", street, is_validation(street) == validation)
        names = [str(n) for n in np.load(data / "negatives" / "names.npz", allow_pickle=False)["names"]]
        files = read_tar(data / "negatives" / "images.tar")
        self.empty = [decode_rgb(files[n], n) for i, n in enumerate(names) if (i % 9 == 8) == validation]

    def draw(self, rng: np.random.Generator) -> Scene:
        """A photograph or a composite, half and half."""
        scene = self.photograph(rng) if rng.random() < 0.65 else self.composite(rng, int(rng.integers(0, 5)))
        image = _recolour(scene.image, rng)
        if rng.random() < 0.5:
            return mirror(scene._replace(image=image))
        return scene._replace(image=image)

    def photograph(self, rng: np.random.Generator) -> Scene:
        """A labelled photograph at a random scale and place."""
        photos, index = self.photos[rng.choice(len(self.photos), p=self.share)]
        image, keypoints = photos.image(index), photos.keypoints[index]
        box = keypoint_box(keypoints)
        side = max(box[2:] - box[:2])
        scale = rng.uniform(0.22, 1.05) * min(self.size) / side
        scale = max(scale, 0.6 * max(self.size[0] / image.shape[1], self.size[1] / image.shape[0]))
        target = np.array(self.size) * rng.uniform(0.25, 0.75, 2)
        turn = np.clip(rng.normal(0, 8), -16, 16)
        transform = cv2.getRotationMatrix2D(tuple((box[:2] + box[2:]) / 2), turn, scale)
        transform[:, 2] += target - (box[:2] + box[2:]) / 2
        if scale < 0.7:
            image = cv2.GaussianBlur(image, (0, 0), 0.4 / scale)
        border = rng.integers(0, 256, 3).tolist()
        picture = cv2.warpAffine(image, transform, self.size, borderValue=border)
        moved = _move(keypoints, transform)
        boxes, kept = _inside(keypoint_box(moved)[None], self.size)
        known = _surroundings(keypoint_box(moved), self.size, 1.0 if photos.name == "gym" else 0.25)
        return Scene(picture, boxes, moved[None][kept], known)

    def composite(self, rng: np.random.Generator, people: int) -> Scene:
        """An empty picture with `people` cut-out persons, the later in front; who is mostly covered is not counted."""
        width, height = self.size
        picture = _random_window(self.empty[rng.integers(len(self.empty))], self.size, rng).copy()
        owner = np.full((height, width), -1)
        persons, areas = [], []
        for person in range(people):
            cutout = self.cutouts[rng.integers(len(self.cutouts))]
            transform = self._place(cutout, rng)
            mask = cv2.warpAffine(cutout.mask, transform, self.size) > 127
            image = cv2.warpAffine(cv2.GaussianBlur(cutout.image, (0, 0), max(0.01, 0.4 / transform[0, 0])), transform, self.size)
            picture[mask], owner[mask] = image[mask], person
            persons.append(_move(cutout.keypoints, transform))
            areas.append(max((cutout.mask > 127).sum() * transform[0, 0] ** 2, 1))
        seen = [(owner == person).sum() / area > 0.35 for person, area in enumerate(areas)]
        known = np.ones((height, width), bool)
        for person, counted in zip(persons, seen):
            if not counted:  # neither a person to find nor an empty place
                known &= ~_rectangle(keypoint_box(person), self.size)
        keypoints = np.array(persons).reshape(-1, 14, 3)[np.array(seen, bool)]
        boxes, kept = _inside(np.array([keypoint_box(k) for k in keypoints]).reshape(-1, 4), self.size)
        return Scene(picture, boxes, keypoints[kept], known)

    def _place(self, cutout: Cutout, rng: np.random.Generator) -> np.ndarray:
        box = keypoint_box(cutout.keypoints)
        scale = self.size[1] * np.exp(rng.uniform(np.log(0.12), np.log(1.0))) / (box[3] - box[1])
        target = np.array(self.size) * rng.uniform(0.02, 0.98, 2)
        target[1] = np.clip(target[1], 0.3 * self.size[1], 0.75 * self.size[1])
        shift = target - scale * (box[:2] + box[2:]) / 2
        return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])


def read_cutouts(folder: Path, street: PhotoSet, rows: np.ndarray) -> list[Cutout]:
    """The masked street persons among `rows` (N,) bool, at most 192 px tall to be light in memory."""
    has_mask = np.load(folder / "annotations.npz", allow_pickle=False)["has_mask"]
    masks = read_tar(folder / "masks.tar")
    cutouts = []
    for index in tqdm(np.flatnonzero(rows & has_mask), desc="reading masks", unit="person"):
        mask = cv2.imdecode(np.frombuffer(masks[Path(street.files[index]).stem + ".png"], np.uint8), cv2.IMREAD_GRAYSCALE)
        keypoints = street.keypoints[index] * np.array([0.5, 0.5, 1], np.float32)
        image = cv2.resize(street.image(index), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        mask = cv2.resize((mask > 0).astype(np.uint8) * 255, image.shape[1::-1], interpolation=cv2.INTER_AREA)
        cutouts.append(Cutout(image, mask, keypoints))
    return cutouts


def _random_window(image: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    scale = rng.uniform(0.5, 1.0) * min(width / size[0], height / size[1])
    w, h = int(size[0] * scale), int(size[1] * scale)
    left, top = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
    return cv2.resize(image[top : top + h, left : left + w], size, interpolation=cv2.INTER_LINEAR)


def mirror(scene: Scene) -> Scene:
    """The scene about its vertical axis, left and right exchanged."""
    last = scene.image.shape[1] - 1
    boxes, keypoints = scene.boxes.copy(), scene.keypoints[:, list(KEYPOINT_FLIP)].copy()
    boxes[:, [0, 2]] = last - scene.boxes[:, [2, 0]]
    keypoints[..., 0] = last - keypoints[..., 0]
    return Scene(np.ascontiguousarray(scene.image[:, ::-1]), boxes, keypoints, np.ascontiguousarray(scene.known[:, ::-1]))


def _move(keypoints: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Keypoints (14, 3) under an affine (2, 3)."""
    return np.concatenate([keypoints[:, :2] @ transform[:, :2].T + transform[:, 2], keypoints[:, 2:]], 1)


def _inside(boxes: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes cut to the picture, and which were kept: those left with less than 40 % of their area or 12 px are dropped."""
    limit = np.array([size[0] - 1, size[1] - 1] * 2)
    cut = np.clip(boxes, 0, limit)
    area = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(-1), 1e-6)
    left = (cut[:, 2:] - cut[:, :2]).prod(-1) / area
    kept = (left > 0.4) & ((cut[:, 2:] - cut[:, :2]).max(-1, initial=0) >= 12)
    return cut[kept], kept


def _surroundings(box: np.ndarray, size: tuple[int, int], reach: float) -> np.ndarray:
    """Where a photograph is known to hold nobody else: within `reach` box sides of the labelled person."""
    margin = reach * max(box[2:] - box[:2])
    return _rectangle(box + np.array([-margin, -margin, margin, margin]), size)


def _rectangle(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    area = np.zeros((size[1], size[0]), bool)
    x0, y0, x1, y1 = np.clip(np.round(box), 0, 1e5).astype(int)
    area[y0 : y1 + 1, x0 : x1 + 1] = True
    return area


def _recolour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    gain = np.exp(0.25 * rng.standard_normal() + 0.08 * rng.standard_normal(3))
    gamma = np.exp(0.2 * rng.standard_normal())
    table = np.clip(np.linspace(0, 1, 256)[:, None] ** gamma * gain * 255, 0, 255).astype(np.uint8)
    image = cv2.LUT(image, table[None])
    if rng.random() < 0.25:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.5))
    if rng.random() < 0.25:
        noise = np.empty(image.shape, np.int16)
        cv2.setRNGSeed(int(rng.integers(2**31 - 1)))
        image = np.clip(image + cv2.randn(noise, 0, rng.uniform(2, 12)), 0, 255).astype(np.uint8)
    return image
