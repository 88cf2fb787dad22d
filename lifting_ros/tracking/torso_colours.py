# SPDX-License-Identifier: Apache-2.0
"""Colours of a person's clothes on the torso, as a histogram that light and shade change little.

The torso is the quadrilateral of shoulders and hips. Its colours are counted by a* and b* of
CIELAB alone (CIE 15:2004, section 8.2.1, for sRGB under D65); L*, which light and shade change
most, is left out. Black, grey and white then are all one colour, and tell nobody apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lifting_ros.detection.detector import overlaps
from lifting_ros.skeleton import KEYPOINT_NAMES
from lifting_ros.types import Skeleton2D

GRID = 16
"""Samples along the torso, and across."""

INNER = 0.15
"""Margin of the torso that is left out on each side, a share of its width and length: the
background and the arms."""

LEAST_CONFIDENCE = 0.3
"""Of shoulders and hips."""

LEAST_LENGTH_PX = 16.0
"""Shorter torsos have too few pixels."""

LEAST_WIDTH = 0.35
"""Least width of a torso, divided by its length. From the side the arm covers it."""

FREE_OVERLAP = 0.1
"""Overlap (IoU) of two persons' boxes above which one may hide the other's clothes."""

STEP = 12.0
"""Distance of the bins of a* and b*."""

REACH = 6
"""Bins on each side of zero; colours beyond belong to the last one."""

BIN_COUNT = (2 * REACH + 1) ** 2

COLOURED = 20.0
"""Least chroma, sqrt(a*^2 + b*^2), of a colour that is neither black nor grey nor white."""

_CORNERS = [
    KEYPOINT_NAMES.index(name)
    for name in ("right_shoulder", "left_shoulder", "right_hip", "left_hip")
]

# sRGB to XYZ (IEC 61966-2-1), each row divided by the white point D65
_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
) / np.array([[0.95047], [1.0], [1.08883]])


class Colours(NamedTuple):
    """What a torso looks like."""

    histogram: np.ndarray
    """(BIN_COUNT,) shares of a* and b*; their sum is 1."""
    coloured: float
    """Share of it that is neither black nor grey nor white."""


def torso_colours(image: np.ndarray, skeletons: Sequence[Skeleton2D]) -> list[Colours | None]:
    """The colours of each person of an image; None where the torso does not show well.

    image: (H, W, 3) uint8 RGB.
    """
    boxes = np.array([skeleton.box_px for skeleton in skeletons]).reshape(-1, 4)
    found: list[Colours | None] = []
    for index, skeleton in enumerate(skeletons):
        others = np.delete(boxes, index, axis=0)
        is_free = not len(others) or overlaps(boxes[index], others).max() <= FREE_OVERLAP
        samples = _samples(image, skeleton) if is_free else None
        found.append(None if samples is None else _colours(samples))

    return found


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Hellinger distance of two histograms (BIN_COUNT,): 0 for equal ones, 1 if they share
    nothing."""
    shared = float(np.sqrt(one * other).sum())
    return float(np.sqrt(max(1.0 - shared, 0.0)))


def _samples(image: np.ndarray, skeleton: Skeleton2D) -> np.ndarray | None:
    """Pixels (n, 3) of the torso; None where it does not show well."""
    if not (skeleton.confidence[_CORNERS] >= LEAST_CONFIDENCE).all():
        return None

    right_shoulder, left_shoulder, right_hip, left_hip = skeleton.keypoints_px[_CORNERS]
    along = (right_hip + left_hip - right_shoulder - left_shoulder) / 2
    across = (left_shoulder + left_hip - right_shoulder - right_hip) / 2
    length = np.linalg.norm(along)
    width = np.linalg.norm(across)
    if not length >= LEAST_LENGTH_PX or not width >= LEAST_WIDTH * length:
        return None

    # A grid between the four corners
    share = np.linspace(INNER, 1 - INNER, GRID)
    down, over = (part.reshape(-1, 1) for part in np.meshgrid(share, share, indexing="ij"))
    top = (1 - over) * right_shoulder + over * left_shoulder
    bottom = (1 - over) * right_hip + over * left_hip
    places = np.rint((1 - down) * top + down * bottom).astype(int)

    height, width = image.shape[:2]
    inside = ((places >= 0) & (places < (width, height))).all(1)
    if not inside.all():
        return None

    return image[places[:, 1], places[:, 0]]


def _colours(pixels: np.ndarray) -> Colours:
    """Histogram of pixels (n, 3); each counts for the four bins around it."""
    a_and_b = chroma(pixels)
    coloured = float((np.linalg.norm(a_and_b, axis=1) >= COLOURED).mean())

    place = np.clip(a_and_b / STEP, -REACH, REACH) + REACH  # n, 2
    low = np.minimum(place.astype(int), 2 * REACH - 1)
    high = place - low
    histogram = np.zeros(BIN_COUNT)
    for a_step in (0, 1):
        for b_step in (0, 1):
            a_share = high[:, 0] if a_step else 1 - high[:, 0]
            b_share = high[:, 1] if b_step else 1 - high[:, 1]
            bins = (low[:, 0] + a_step) * (2 * REACH + 1) + low[:, 1] + b_step
            histogram += np.bincount(bins, a_share * b_share, BIN_COUNT)

    return Colours(histogram / len(pixels), coloured)


def chroma(pixels: np.ndarray) -> np.ndarray:
    """a* and b* (n, 2) of sRGB pixels (n, 3) uint8."""
    value = pixels / 255.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    ratio = linear @ _TO_XYZ.T
    small = (6 / 29) ** 3
    root = np.where(ratio > small, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    a = 500 * (root[:, 0] - root[:, 1])
    b = 200 * (root[:, 1] - root[:, 2])
    return np.stack([a, b], 1)
