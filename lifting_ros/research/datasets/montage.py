# SPDX-License-Identifier: Apache-2.0
"""Training pictures of the person detector: montages of photographs at many sizes, with the boxes
of the people in them.

Each photograph has one labelled person. The published detector (the teacher) marks the others in
the single photograph, where they are large. In the montage the same people are small.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from lifting_ros.detection.detector import keypoint_boxes, overlaps, person_boxes
from lifting_ros.detection.multipose_detector import Detector
from lifting_ros.errors import DataError
from lifting_ros.io.progress import Progress
from lifting_ros.research.datasets.keypoints2d import (
    PhotoSet,
    keypoint_box,
    photo_sets_in,
    read_photo_set,
)
from lifting_ros.research.datasets.negatives import read_negatives
from lifting_ros.research.datasets.splits import rows_of

SIDE_PX = 352
"""Long side to which photographs are reduced, px."""

SURE = 0.4
"""Minimum teacher score of a box that counts as a person."""

DOUBT = 0.06
"""Teacher boxes with a lower score count as background."""

_SAME = 0.4
"""Minimum IoU of the labelled person and the teacher's box of it."""

_GRIDS = ((1, 1), (2, 1), (1, 2), (2, 2), (3, 2), (2, 3), (3, 3), (4, 3))
"""Columns and rows of a montage."""

_GRID_SHARES = (0.25, 0.1, 0.1, 0.15, 0.1, 0.1, 0.12, 0.08)
"""Share of the montages with each grid."""

_LEAST_LEFT = 0.4
"""A box with a smaller share inside the picture is in doubt."""

_LEAST_SIDE_PX = 10.0
"""A box whose longer side is shorter is in doubt, px."""


class Picture(NamedTuple):
    """A photograph or a montage, and the people in it."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    boxes: np.ndarray
    """(M, 4) boxes of persons (not of keypoints): x0, y0, x1, y1 px."""
    sure: np.ndarray
    """(M,) bool; False: in doubt, the loss ignores the box."""


def open_montages(
    data: Path,
    side: str,
    teacher: Detector,
    most: int,
    empty_share: float,
    seed: int,
) -> Montages:
    """Montages of the photographs of a side (see `splits.rows_of`) in `data`/keypoints2d and
    `data`/negatives; errors as `read_photo_set`.

    most: photographs of a data set, drawn with `seed`.
    """
    people = []
    for name in photo_sets_in(data / "keypoints2d"):
        photos = read_photo_set(data / "keypoints2d", name)
        rows = np.flatnonzero(rows_of(photos.validation, side))
        chosen = np.random.default_rng(seed).permutation(rows)[:most]
        if len(chosen):
            people.append(teach(teacher, photos, chosen))

    if not people:
        raise DataError(f"{data}: no photograph of the side {side!r} in keypoints2d/")

    empty = [empty_picture(image) for image in read_negatives(data / "negatives", side)]
    return Montages(people, empty, empty_share, seed)


def teach(
    teacher: Detector,
    photos: PhotoSet,
    rows: Sequence[int],
) -> list[Picture]:
    """Photographs with the boxes of the people found by the teacher and of the labelled person.

    teacher: finds persons from a score of DOUBT on.
    """
    pictures = []
    for row in Progress(rows, desc=f"people of {photos.name}", unit="photo", leave=False):
        image = photos.image(row)
        small = _shrunk(image)
        ratio = np.divide(small.shape[1::-1], image.shape[1::-1])
        keypoints = photos.keypoints[row].astype(float)
        keypoints[:, :2] = (keypoints[:, :2] + 0.5) * ratio - 0.5

        boxes, scores = teacher.find_persons(small)
        picture = Picture(small, boxes, scores >= SURE)
        pictures.append(_with_labelled(picture, keypoint_box(keypoints)))

    return pictures


def _with_labelled(
    picture: Picture,
    box: np.ndarray,
) -> Picture:
    """The picture with its labelled person: the teacher's box of it, or one from its keypoints."""
    size = picture.image.shape[1::-1]
    shared = overlaps(box, keypoint_boxes(picture.boxes, size))
    if shared.max(initial=0.0) < _SAME:
        boxes = np.concatenate([person_boxes(box[None], size), picture.boxes])
        return picture._replace(boxes=boxes, sure=np.append(True, picture.sure))

    sure = picture.sure.copy()
    sure[shared.argmax()] = True
    return picture._replace(sure=sure)


def empty_picture(image: np.ndarray) -> Picture:
    """A picture that shows nobody."""
    boxes = np.zeros((0, 4))
    sure = np.zeros(0, bool)
    return Picture(_shrunk(image), boxes, sure)


def _shrunk(image: np.ndarray) -> np.ndarray:
    """The image, at most SIDE_PX long."""
    height, width = image.shape[:2]
    factor = min(1.0, SIDE_PX / max(height, width))
    return _resized(image, factor * width, factor * height)


def _resized(
    image: np.ndarray,
    width: float,
    height: float,
) -> np.ndarray:
    size = (max(1, round(width)), max(1, round(height)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


class Montages:
    """Montages of photographs, each determined by its number."""

    def __init__(
        self,
        people: Sequence[Sequence[Picture]],
        empty: Sequence[Picture],
        empty_share: float,
        seed: int,
    ):
        """people: pictures of each data set, which are drawn equally often; empty: those that
        show nobody, `empty_share` of the places."""
        self.people = people
        self.empty = empty
        self.empty_share = empty_share
        self.seed = seed

    def make(
        self,
        number: int,
        size: tuple[int, int],
    ) -> Picture:
        """A montage of `size` (w, h)."""
        rng = np.random.default_rng((self.seed, number))
        columns, rows = _GRIDS[rng.choice(len(_GRIDS), p=_GRID_SHARES)]
        cell = (size[0] // columns, size[1] // rows)

        canvas = np.full((size[1], size[0], 3), rng.integers(0, 256, 3), np.uint8)
        boxes = [np.zeros((0, 4))]
        sure = [np.zeros(0, bool)]

        for row in range(rows):
            for column in range(columns):
                part = _fit(self._draw(rng), cell, rng)
                left = column * cell[0]
                top = row * cell[1]
                right = left + cell[0]
                bottom = top + cell[1]
                canvas[top:bottom, left:right] = part.image
                boxes.append(part.boxes + np.array([left, top, left, top]))
                sure.append(part.sure)

        image = _recoloured(canvas, rng)
        return Picture(image, np.concatenate(boxes), np.concatenate(sure))

    def _draw(self, rng: np.random.Generator) -> Picture:
        """A random picture."""
        if self.empty and rng.random() < self.empty_share:
            return _one_of(self.empty, rng)

        pictures = _one_of(self.people, rng)
        return _one_of(pictures, rng)


def _one_of(
    items: Sequence,
    rng: np.random.Generator,
) -> Any:
    return items[rng.integers(len(items))]


def _fit(
    picture: Picture,
    cell: tuple[int, int],
    rng: np.random.Generator,
) -> Picture:
    """The picture at a random size and place, cropped to a cell (w, h); mirrored in half of the
    calls."""
    # Size and place
    width, height = cell
    h, w = picture.image.shape[:2]
    scale = min(width / w, height / h) * float(np.exp(rng.uniform(-0.5, 0.5)))
    x_room = width - scale * w
    y_room = height - scale * h
    x = rng.uniform(min(0, x_room), max(0, x_room))
    y = rng.uniform(min(0, y_room), max(0, y_room))

    if rng.random() < 0.5:
        picture = _mirrored(picture)
    image = picture.image
    if scale < 1:
        image = _resized(image, scale * w, scale * h)

    # Image; (0, 0) is the centre of a pixel, before and after
    step = scale * np.array([w, h]) / np.array(image.shape[1::-1])
    start = np.array([x, y]) + 0.5 * step - 0.5
    placement = np.array([[step[0], 0, start[0]], [0, step[1], start[1]]])
    colour = rng.integers(0, 256, 3).tolist()
    placed = cv2.warpAffine(image, placement, cell, borderValue=colour)

    # Boxes, cut at the border of the cell
    shift = np.array([x, y]) + 0.5 * scale - 0.5
    whole = scale * picture.boxes + np.tile(shift, 2)
    cut = np.clip(whole, 0, np.array([width, height, width, height]) - 1)
    whole_area = _sides(whole).prod(1)
    sides = _sides(cut)
    left = sides.prod(1) / np.maximum(whole_area, 1e-6)

    seen = left > 0.05
    clear = (left > _LEAST_LEFT) & (sides.max(1, initial=0) >= _LEAST_SIDE_PX)
    sure = picture.sure & clear
    return Picture(placed, cut[seen], sure[seen])


def _sides(boxes: np.ndarray) -> np.ndarray:
    """Widths and heights (M, 2) of boxes (M, 4)."""
    return boxes[:, 2:] - boxes[:, :2]


def _mirrored(picture: Picture) -> Picture:
    left, top, right, bottom = picture.boxes.T
    last = picture.image.shape[1] - 1
    boxes = np.stack([last - right, top, last - left, bottom], 1)
    image = np.ascontiguousarray(picture.image[:, ::-1])
    return Picture(image, boxes, picture.sure)


def _recoloured(
    image: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """The image with random brightness, contrast and colour balance; blur or noise in some."""
    brightness = rng.normal(0, 0.2)
    balance = rng.normal(0, 0.06, 3)
    offset = rng.normal(0, 12)
    changed = image * np.exp(brightness + balance) + offset

    if rng.random() < 0.15:
        changed = cv2.GaussianBlur(changed, (0, 0), rng.uniform(0.4, 1.2))
    if rng.random() < 0.15:
        std = rng.uniform(2, 12)
        changed = changed + rng.normal(0, std, image.shape)

    return np.clip(changed, 0, 255).astype(np.uint8)
