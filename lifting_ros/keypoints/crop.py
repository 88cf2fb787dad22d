# SPDX-License-Identifier: Apache-2.0
"""Square crops around person boxes, and the way back from crop pixels to image pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

CROP_MARGIN = 1.25
"""Side of the crop over the longer side of the person's keypoint box."""


@dataclass(frozen=True)
class Crop:
    """A square of the image, `size_px` pixels on a side after resizing."""

    left_px: float
    top_px: float
    side_px: int
    size_px: int

    @property
    def scale(self) -> float:
        """Image pixels a crop pixel."""
        return self.side_px / self.size_px

    def to_image(self, points_px: np.ndarray) -> np.ndarray:
        """Crop pixels (..., 2) to image pixels."""
        return (points_px + 0.5) * self.scale - 0.5 + np.array([self.left_px, self.top_px])

    def from_image(self, points_px: np.ndarray) -> np.ndarray:
        """Image pixels (..., 2) to crop pixels; the inverse of `to_image`."""
        return (points_px - np.array([self.left_px, self.top_px]) + 0.5) / self.scale - 0.5


def crop_around(box_px: np.ndarray, size_px: int) -> Crop:
    """The square crop of a person's box x0, y0, x1, y1 (4,), CROP_MARGIN times its longer side, on
    whole pixels."""
    x0, y0, x1, y1 = (float(v) for v in box_px)
    side = max(8, round(CROP_MARGIN * max(x1 - x0, y1 - y0)))
    return Crop(round((x0 + x1 + 1 - side) / 2), round((y0 + y1 + 1 - side) / 2), side, size_px)


def cut(image: np.ndarray, crop: Crop) -> torch.Tensor:
    """Cut and resize (antialiased) a crop of an (H, W, 3) uint8 image: (3, size, size) float in [0,
    1]; mid grey beyond the border."""
    height, width = image.shape[:2]
    left, top, right, bottom = (
        crop.left_px,
        crop.top_px,
        crop.left_px + crop.side_px,
        crop.top_px + crop.side_px,
    )
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    window = np.full((crop.side_px, crop.side_px, 3), 128, np.uint8)
    if x1 > x0 and y1 > y0:
        window[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    tensor = torch.from_numpy(window).permute(2, 0, 1)[None]  # (1, 3, side, side)
    size = (crop.size_px, crop.size_px)
    return (
        torch.nn.functional.interpolate(tensor, size, mode="bilinear", antialias=True)[0].float()
        / 255
    )  # (3, size, size)
