# SPDX-License-Identifier: Apache-2.0
"""Person detection: its parameters, and box geometry that every detector needs.

Detectors mark persons with their clothes. The crop for the keypoint network is made from the tight
box of the keypoints, which lies inside the person's box by KEYPOINT_INSET.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

KEYPOINT_INSET = (0.10, 0.04, 0.10, 0.08)
"""Inset of the left, top, right and bottom side of the keypoints' box from the person's box,
divided by the width or height of the person's box."""

_INSET = np.array(KEYPOINT_INSET)

_INWARDS = np.array([1, 1, -1, -1])
"""Which way each side moves when a box shrinks."""

_AT_BORDER_PX = 1.5
"""A side nearer than this to the border of the image counts as lying at the border."""


SEEN_CONFIDENCE = 0.1
"""Keypoints of at least this confidence span a person's box."""

LEAST_SEEN = 4
"""With fewer keypoints seen, the box is taken from elsewhere."""


ImageSize = tuple[int, int]
"""Width and height, px."""

LONG_SIDE_PX = 512
"""Long side of the image that the detector sees unless it is told otherwise. In 60 rendered crowds
of 640x512 that set no weights `full` finds 82 % of the people at this size, 78 % at 320."""


@dataclass(frozen=True)
class DetectorConfig:
    """Parameters of the person detector."""

    weights: str = field(
        default="",
        metadata={"description": "detector weights (.safetensors); empty: those that ship"},
    )
    score: float = field(
        default=0.2,
        metadata={"description": "minimum score of a person", "range": (0.0, 1.0), "live": True},
    )
    long_side_px: int = field(
        default=0,
        metadata={
            "description": (
                "long side of the image that the detector sees; 0: 512, with the networks lite and "
                "lite-free 320"
            ),
            "unit": "px",
            "range": (0, 2048),
            "live": True,
        },
    )
    coarse_px: int = field(
        default=160,
        metadata={
            "description": (
                "long side of the image when the detector sees it a second time, smaller; finds "
                "people who fill the image or are cut off by its border; 0: one size only"
            ),
            "unit": "px",
            "range": (0, 2048),
            "live": True,
        },
    )
    max_persons: int = field(
        default=0,
        metadata={
            "description": "largest number of persons per image, best first; 0: no limit",
            "range": (0, 1000),
            "live": True,
        },
    )
    overlap: float = field(
        default=0.5,
        metadata={
            "description": "boxes that overlap more (IoU) are one person",
            "range": (0.0, 1.0),
            "live": True,
        },
    )
    min_side_px: float = field(
        default=16.0,
        metadata={
            "description": "minimum of the longer side of the box around a person's keypoints",
            "unit": "px",
            "range": (0.0, 1e4),
            "live": True,
        },
    )
    every: int = field(
        default=8,
        metadata={
            "description": (
                "while everybody tracked is followed, the detector searches every n-th image of a "
                "stream for who is new, beside the images that follow, and begins 0.35 s after the "
                "last search at the latest; where somebody is lost or unsure it sees every image; "
                "1: always every image"
            ),
            "range": (1, 1000),
            "live": True,
        },
    )


def box_of_keypoints(
    keypoints_px: np.ndarray, confidence: np.ndarray, otherwise: np.ndarray
) -> np.ndarray:
    """Box (4,) around the keypoints (14, 2) that are seen, by their confidence (14,); `otherwise`
    if they are fewer than LEAST_SEEN."""
    seen = keypoints_px[confidence >= SEEN_CONFIDENCE]
    if len(seen) < LEAST_SEEN:
        return otherwise

    return np.concatenate([seen.min(0), seen.max(0)])


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union (N,) of one box (4,) with boxes (N, 4)."""
    lows = boxes[:, :2]
    highs = boxes[:, 2:]
    low = np.maximum(box[:2], lows)
    high = np.minimum(box[2:], highs)
    sides = np.clip(high - low, 0, None)
    shared = sides.prod(-1)

    extents = highs - lows
    areas = extents.prod(-1)
    own_extent = box[2:] - box[:2]
    area = own_extent.prod()

    union = areas + area - shared
    return shared / np.maximum(union, 1e-9)


def suppress(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> list[int]:
    """Indices of the boxes to keep, best first: none overlaps a better one by more than
    `overlap`."""
    left = list(np.argsort(-scores, kind="stable"))
    kept = []
    while left:
        best = left.pop(0)
        kept.append(int(best))
        if not left:
            break

        shared = overlaps(boxes[best], boxes[left])
        close = shared > overlap
        left = [index for index, drop in zip(left, close) if not drop]

    return kept


def keypoint_boxes(boxes: np.ndarray, size: ImageSize) -> np.ndarray:
    """Boxes (N, 4) around the keypoints, from boxes (N, 4) of persons in an image of `size` (w, h).

    A side at the border of the image stays there, because the person continues beyond it.
    """
    limit = _last_pixel(size)
    boxes = np.clip(boxes, 0, limit)
    sides = _sides(boxes)
    at_border = _at_border(boxes, limit)

    inset = _INSET * sides
    movement = _INWARDS * inset
    inner = boxes + movement
    return np.where(at_border, boxes, inner)


def person_boxes(boxes: np.ndarray, size: ImageSize) -> np.ndarray:
    """Boxes (N, 4) of persons, from boxes (N, 4) around their keypoints: the inverse of
    `keypoint_boxes`, cut to the image."""
    limit = _last_pixel(size)
    boxes = np.clip(boxes, 0, limit)
    sides = _sides(boxes)
    at_border = _at_border(boxes, limit)

    # What the inset has left of a side of the person's box
    inset = np.where(at_border, 0, _INSET)
    both = inset[:, :2] + inset[:, 2:]
    kept = 1 - np.tile(both, 2)

    outset = inset * sides / kept
    movement = _INWARDS * outset
    outer = boxes - movement
    return np.clip(outer, 0, limit)


def _last_pixel(size: ImageSize) -> np.ndarray:
    """(4,) largest coordinates x, y, x, y in an image of `size` (w, h)."""
    corner = [*size]
    corners = np.array(corner * 2)
    return corners - 1.0


def _sides(boxes: np.ndarray) -> np.ndarray:
    """(N, 4) width, height, width, height."""
    low = boxes[:, :2]
    high = boxes[:, 2:]
    sides = high - low
    return np.tile(sides, 2)


def _at_border(boxes: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """(N, 4) which sides lie at the border of the image."""
    low = boxes[:, :2]
    high = boxes[:, 2:]
    farthest = limit[2:]
    last = farthest - _AT_BORDER_PX

    at_low = low < _AT_BORDER_PX
    at_high = high > last
    return np.concatenate([at_low, at_high], 1)
