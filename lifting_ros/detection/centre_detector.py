# SPDX-License-Identifier: Apache-2.0
"""Person detection from centre maps, in every runtime: the network's input, and maps to boxes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from lifting_ros.detection.detector import (
    LONG_SIDE_PX,
    DetectorConfig,
    keypoint_boxes,
    suppress,
)
from lifting_ros.keypoints.resize import resized
from lifting_ros.types import Detection

STRIDE = 4
"""Input pixels per cell of the maps."""

_MULTIPLE = 32
"""The sides of the network's input are multiples of this."""

_PADDING = 128
"""Grey value right of the image and below it."""


Scored = tuple[np.ndarray, np.ndarray]
"""Boxes (N, 4) and their scores (N,)."""


class CentreMaps(NamedTuple):
    """The network's output for one image, float32; as `multipose.PersonMaps`."""

    centre: np.ndarray
    """(h, w) logits."""
    size: np.ndarray
    """(2, h, w)."""
    offset: np.ndarray
    """(2, h, w)."""


class CentreDetector(ABC):
    """Finds persons in images with a network that another class runs."""

    def __init__(self, config: DetectorConfig):
        self.config = config

    @abstractmethod
    def maps_of(self, image: np.ndarray) -> CentreMaps:
        """Run the network on an (h, w, 3) uint8 RGB image; h and w are multiples of 32."""

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Persons in an (H, W, 3) uint8 RGB image, best first; boxes around their keypoints, image
        pixels."""
        persons, scores = self.find_persons(image)
        boxes = keypoint_boxes(persons, image.shape[1::-1])

        sides = boxes[:, 2:] - boxes[:, :2]
        longer_side = sides.max(-1, initial=0)
        kept = np.flatnonzero(longer_side >= self.config.min_side_px)
        if self.config.max_persons:
            kept = kept[: self.config.max_persons]

        detections = []
        for index in kept:
            detection = Detection(
                box_px=boxes[index],
                score=float(scores[index]),
            )
            detections.append(detection)

        return detections

    def find_persons(self, image: np.ndarray) -> Scored:
        """Boxes (N, 4) of whole persons with their clothes, cut to the image, and scores (N,),
        each person once, best first."""
        config = self.config
        long_side_px = config.long_side_px or LONG_SIDE_PX
        boxes, scores = self._find_at(image, long_side_px)
        if 0 < config.coarse_px < long_side_px:
            more_boxes, more_scores = self._find_at(image, config.coarse_px)
            boxes = np.concatenate([boxes, more_boxes])
            scores = np.concatenate([scores, more_scores])

        kept = suppress(boxes, scores, config.overlap)
        return boxes[kept], scores[kept]

    def _find_at(self, image: np.ndarray, long_side_px: int) -> Scored:
        """Boxes (N, 4), cut to the image, and scores (N,), seen at one size."""
        picture, scale = network_input(image, long_side_px)
        maps = self.maps_of(picture)

        boxes, scores = candidates(maps, self.config.score)
        from_corner = (boxes + 0.5) / scale
        boxes = from_corner - 0.5

        height, width = image.shape[:2]
        corner = [width, height]
        limit = np.array(corner * 2) - 1.0
        return np.clip(boxes, 0, limit), scores


def network_input(image: np.ndarray, long_side_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Network input (h, w, 3) uint8, and the scale (4,) from image pixels to input pixels.

    The input is padded with grey, right of the image and below it.
    """
    height, width = image.shape[:2]
    longer = max(height, width)
    factor = long_side_px / longer
    h = max(1, round(height * factor))
    w = max(1, round(width * factor))

    padded_h = _next_multiple(h)
    padded_w = _next_multiple(w)
    padded = np.full((padded_h, padded_w, 3), _PADDING, np.uint8)
    padded[:h, :w] = resized(image, (w, h))

    scale = [w / width, h / height]
    return padded, np.array(scale * 2)


def candidates(maps: CentreMaps, least_score: float) -> Scored:
    """Boxes (N, 4) in input pixels, and scores (N,), of the maxima of the centre map that reach
    the minimum score."""
    score = expit(maps.centre)
    around = np.pad(score, 1, constant_values=-np.inf)
    height, width = score.shape
    is_chosen = score >= least_score
    for y in range(3):
        for x in range(3):
            is_chosen &= score >= around[y : y + height, x : x + width]

    row, column = np.nonzero(is_chosen)
    offset_y, offset_x = maps.offset[:, row, column].astype(np.float64)
    half_height, half_width = maps.size[:, row, column].clip(min=0).astype(np.float64) / 2

    centre_y = row + offset_y
    centre_x = column + offset_x
    sides = [
        centre_x - half_width,
        centre_y - half_height,
        centre_x + half_width,
        centre_y + half_height,
    ]

    # Cells are measured from the image's corner, pixels from the centre of the first one
    boxes = STRIDE * np.stack(sides, 1) - 0.5
    return boxes, score[row, column].astype(np.float64)


def _next_multiple(side: int) -> int:
    multiples, rest = divmod(side, _MULTIPLE)
    if rest:
        multiples += 1

    return multiples * _MULTIPLE
