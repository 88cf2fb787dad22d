# SPDX-License-Identifier: Apache-2.0
"""Square crops around person boxes, and the way back from crop pixels to image pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lifting_ros.keypoints.resize import resized
from lifting_ros.types import FoundKeypoints

CROP_MARGIN = 1.25
"""Side of the crop, divided by the longer side of the person's keypoint box."""

_LEAST_SIDE_PX = 8
_GREY = 128
"""Value of the pixels beyond the border of the image."""


@dataclass(frozen=True)
class Crop:
    """A square of the image, `size_px` pixels on a side after resizing."""

    left_px: float
    top_px: float
    side_px: int
    size_px: int

    @property
    def scale(self) -> float:
        """Image pixels per crop pixel."""
        return self.side_px / self.size_px

    def to_image(self, points_px: np.ndarray) -> np.ndarray:
        """Crop pixels (..., 2) to image pixels."""
        corner = np.array([self.left_px, self.top_px])
        return (points_px + 0.5) * self.scale - 0.5 + corner

    def from_image(self, points_px: np.ndarray) -> np.ndarray:
        """Image pixels (..., 2) to crop pixels; the inverse of `to_image`."""
        corner = np.array([self.left_px, self.top_px])
        return (points_px - corner + 0.5) / self.scale - 0.5


def crop_around(box_px: np.ndarray, size_px: int) -> Crop:
    """The square crop around a person's box (4,) of x0, y0, x1, y1.

    Its side is CROP_MARGIN times the longer side of the box, in whole pixels.
    """
    x0, y0, x1, y1 = map(float, box_px)
    width = x1 - x0
    height = y1 - y0
    longer = max(width, height)
    side = round(CROP_MARGIN * longer)
    side = max(_LEAST_SIDE_PX, side)

    left = round((x0 + x1 + 1 - side) / 2)
    top = round((y0 + y1 + 1 - side) / 2)

    return Crop(left, top, side, size_px)


def cut(image: np.ndarray, crop: Crop) -> np.ndarray:
    """Cut and resize (antialiased) a crop of an (H, W, 3) uint8 image.

    Returns (size, size, 3) uint8, mid grey beyond the border of the image.
    """
    # The part of the crop that lies in the image
    height, width = image.shape[:2]
    left = crop.left_px
    top = crop.top_px
    x0 = max(left, 0)
    y0 = max(top, 0)
    x1 = min(left + crop.side_px, width)
    y1 = min(top + crop.side_px, height)

    window = np.full((crop.side_px, crop.side_px, 3), _GREY, np.uint8)
    if x1 > x0 and y1 > y0:
        window[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]

    return resized(window, (crop.size_px, crop.size_px))


class InCrops(NamedTuple):
    """What a network finds in N crops, in their pixels; the values of `FoundKeypoints`."""

    points_px: np.ndarray
    """(N, J, 2)"""
    confidence: np.ndarray
    """(N, J)"""
    covariance_px2: np.ndarray
    """(N, J, 2, 2)"""
    presence: np.ndarray
    """(N, J)"""
    ends: np.ndarray
    """(N,)"""
    deep: np.ndarray | None
    """(N, c); None without a trunk."""
    local: np.ndarray | None
    """(N, J, c); None without a trunk."""


def in_image_pixels(areas: Sequence[Crop], found: InCrops) -> list[FoundKeypoints]:
    """The keypoints of each crop, in pixels of the image."""
    persons = []
    for index, area in enumerate(areas):
        persons.append(
            FoundKeypoints(
                keypoints_px=area.to_image(found.points_px[index]),
                confidence=found.confidence[index],
                covariance_px2=found.covariance_px2[index] * area.scale**2,
                presence=found.presence[index],
                ends=float(found.ends[index]),
                deep=None if found.deep is None else found.deep[index],
                local=None if found.local is None else found.local[index],
            )
        )

    return persons
