# SPDX-License-Identifier: Apache-2.0
"""Hides heads in images: where they are, and a mosaic over them.

A region is an ellipse. It holds the head and, around it, the ellipse in which the head's place lies
with the probability WITHIN. Whoever is not found is not hidden.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from lifting_ros.detection.detector import SEEN_CONFIDENCE
from lifting_ros.skeleton import KEYPOINT_NAMES
from lifting_ros.types import Person, Skeleton2D

WITHIN = 0.9
"""Probability that a Gaussian error of the head's place stays within the margin of its region."""

_RADII_WITHIN = float(np.sqrt(-2 * np.log(1 - WITHIN)))
"""Standard deviations of a Gaussian in the plane that hold that probability: chi-squared, two
degrees of freedom."""

CELLS = 6
"""Cells of the mosaic across the shorter diameter of a region, which is longer than the head."""

SURE_CONFIDENCE = 0.5
"""A head is surely in its place if both of its keypoints are at least as confident."""

_TOP_SHARE = 0.6
"""Middle of the head, from the neck (0) to the top of the head (1)."""

SURE_RADIUS = 0.55
"""Radius around the middle of a head, divided by the length from neck to head top."""

UNSURE_RADIUS = 0.9
"""The same for a head that is unsure, or of which only the top or only the neck is known; then
around that keypoint, and longer by the distance to the middle."""

_LONGEST_MARGIN = 1.0
"""Largest margin for the error of the place, divided by the same length."""

_TORSO_SHARE = 0.5
_SHOULDERS_SHARE = 0.8
_BOX_SHARE = 0.17
"""Length from neck to head top, divided by that from a shoulder to the opposite hip, by that
between the shoulders, and by the longer side of the keypoints' box. The length in the image is not
shorter than the longest of them: a head that is seen from above appears short."""

_INDEX = {name: k for k, name in enumerate(KEYPOINT_NAMES)}
_HEAD_TOP = _INDEX["head_top"]
_NECK = _INDEX["neck"]
_BOTH = [_HEAD_TOP, _NECK]
_MEASURES = (
    ((_HEAD_TOP, _NECK), 1.0),
    ((_INDEX["left_shoulder"], _INDEX["right_shoulder"]), _SHOULDERS_SHARE),
    ((_INDEX["left_shoulder"], _INDEX["right_hip"]), _TORSO_SHARE),
    ((_INDEX["right_shoulder"], _INDEX["left_hip"]), _TORSO_SHARE),
)
"""Pairs of keypoints, and that length divided by theirs."""


@dataclass(frozen=True)
class HeadRegion:
    """An ellipse in the image: the points x with (x - c)^T S^-1 (x - c) <= 1."""

    centre_px: np.ndarray
    """c, (2,) image pixels."""
    shape_px2: np.ndarray
    """S, (2, 2)."""

    def contains(self, points_px: np.ndarray) -> np.ndarray:
        """Which of the points (..., 2) lie inside, (...)."""
        inverse = np.linalg.inv(self.shape_px2)
        away = points_px - self.centre_px

        turned = away @ inverse
        distance = (turned * away).sum(-1)
        return distance <= 1

    def scaled(self, by: tuple[float, float]) -> HeadRegion:
        """The region in an image whose pixels are `by` (x, y) times as large."""
        sides = np.array(by)
        areas = np.outer(sides, sides)

        corner = self.centre_px + 0.5
        centre = corner / sides - 0.5
        return HeadRegion(centre, self.shape_px2 / areas)


def hidden_regions(
    persons: Iterable[Person], others: Iterable[Skeleton2D] = ()
) -> list[HeadRegion]:
    """The regions to hide in an image.

    persons: those of the image; of coasting ones only the box is known, which is that of an earlier
    image, so they are skipped. others: `Estimate.rejected` and `TrackedFrame.unseen`, which has the
    coasting persons.
    """
    skeletons = [person.skeleton_2d for person in persons if not person.coasting]
    regions = [head_region(skeleton) for skeleton in (*skeletons, *others)]
    return [region for region in regions if region is not None]


def head_region(skeleton: Skeleton2D) -> HeadRegion | None:
    """The region that hides a person's head; None where neither keypoint nor box is known.

    Around head top and neck where both are confident, larger where they are not. Without either,
    the upper part of the box and as much above it as a head needs.
    """
    seen = _seen(skeleton)
    length = _head_length_px(skeleton, seen)
    top = skeleton.keypoints_px[_HEAD_TOP]
    neck = skeleton.keypoints_px[_NECK]

    # Both
    if seen[_HEAD_TOP] and seen[_NECK]:
        middle = _middle(top, neck)
        confidence = skeleton.confidence[_BOTH].min()
        sure = confidence >= SURE_CONFIDENCE
        radius = SURE_RADIUS if sure else UNSURE_RADIUS
        return _region(skeleton, middle, radius, length)

    # One
    if seen[_HEAD_TOP]:
        radius = UNSURE_RADIUS + 1 - _TOP_SHARE
        return _region(skeleton, top, radius, length)
    if seen[_NECK]:
        radius = UNSURE_RADIUS + _TOP_SHARE
        return _region(skeleton, neck, radius, length)

    return _upper_part(skeleton.box_px, length)


def _middle(top: np.ndarray, neck: np.ndarray) -> np.ndarray:
    """The value at the middle of the head, of values at its top and at the neck."""
    from_top = _TOP_SHARE * top
    from_neck = (1 - _TOP_SHARE) * neck
    return from_top + from_neck


def _seen(skeleton: Skeleton2D) -> np.ndarray:
    """(14,) which keypoints have a usable place."""
    known = np.isfinite(skeleton.keypoints_px).all(-1)
    confident = skeleton.confidence >= SEEN_CONFIDENCE
    return known & confident


def _head_length_px(skeleton: Skeleton2D, seen: np.ndarray) -> float:
    """Length from neck to head top as if it were seen from the side; 1 px where nothing is
    known."""
    points = skeleton.keypoints_px
    box = skeleton.box_px
    lengths = [1.0]

    for (a, b), share in _MEASURES:
        if seen[a] and seen[b]:
            length = np.linalg.norm(points[a] - points[b])
            lengths.append(share * float(length))

    if np.isfinite(box).all():
        sides = box[2:] - box[:2]
        longer = float(sides.max())
        lengths.append(_BOX_SHARE * longer)

    return max(lengths)


def _region(skeleton: Skeleton2D, centre: np.ndarray, radius: float, length: float) -> HeadRegion:
    """A disc around `centre`, and a margin for the error of that; radius: divided by `length`.

    The errors of both ends are correlated in an unknown way. The covariance of their mean is at
    most the mean of their covariances.
    """
    top, neck = skeleton.covariance_px2[_BOTH]
    covariance = _middle(top, neck)
    margin = _margin(covariance, _LONGEST_MARGIN * length)

    half_axis = radius * length
    disc = half_axis**2 * np.eye(2)
    return HeadRegion(centre, _sum_of_ellipses(disc, margin))


def _margin(covariance: np.ndarray, longest: float) -> np.ndarray:
    """The ellipse (2, 2) with the probability WITHIN, no half axis longer than `longest`; zero for
    a covariance that is not known."""
    if not np.isfinite(covariance).all():
        return np.zeros((2, 2))

    variances, axes = np.linalg.eigh(covariance)
    std = np.sqrt(np.maximum(variances, 0))
    half_axes = _RADII_WITHIN * std
    half_axes = np.minimum(half_axes, longest)

    squares = half_axes**2
    scaled = axes * squares
    return scaled @ axes.T


def _sum_of_ellipses(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """An ellipse that holds every sum of a point in `a` and a point in `b`: that of least trace.

    For p > 0, (1 + 1/p) A + (1 + p) B holds the Minkowski sum; p = sqrt(tr A / tr B) makes its
    trace least (Kurzhanski and Valyi, Ellipsoidal Calculus for Estimation and Control).
    """
    size_a = np.sqrt(np.trace(a))
    size_b = np.sqrt(np.trace(b))
    if size_b == 0:
        return a

    size = size_a + size_b
    mean = a / size_a + b / size_b
    return size * mean


def _upper_part(box: np.ndarray, length: float) -> HeadRegion | None:
    """The ellipse around the upper half of a person's box and a head above it; around all of a box
    that is wider than high, as that of somebody who lies."""
    if not np.isfinite(box).all():
        return None

    low = box[:2] - length
    high = box[2:] + [length, 0.0]
    sides = box[2:] - box[:2]
    if sides[1] > sides[0]:
        high[1] -= sides[1] / 2
    else:
        high[1] += length

    # Through the corners of that rectangle
    half_sides = (high - low) / 2
    return HeadRegion((low + high) / 2, np.diag(2 * half_sides**2))


def hide_heads(
    pixels: np.ndarray, regions: Sequence[HeadRegion], pixel_size: tuple[float, float] = (1, 1)
) -> np.ndarray:
    """A copy of an image (H, W) or (H, W, C) of uint8 or uint16, C at most 4, with a mosaic in
    every region. Pixels outside all regions are unchanged.

    pixel_size: width and height of its pixels, in those of the regions.
    """
    out = pixels.copy()
    for region in regions:
        _hide(out, region.scaled(pixel_size))

    return out


def _hide(pixels: np.ndarray, region: HeadRegion) -> None:
    """Put a mosaic over a region of `pixels`."""
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = _window(region, (width, height))
    if x1 <= x0 or y1 <= y0:
        return

    # Means of large cells, and straight lines between them
    patch = pixels[y0:y1, x0:x1]
    window_width = x1 - x0
    window_height = y1 - y0
    cell = _cell_px(region)
    columns = max(1, int(window_width / cell))
    rows = max(1, int(window_height / cell))

    means = cv2.resize(
        patch,
        (columns, rows),
        interpolation=cv2.INTER_AREA,
    )
    smooth = cv2.resize(
        means,
        (window_width, window_height),
        interpolation=cv2.INTER_LINEAR,
    )

    # In the ellipse alone
    x = np.arange(x0, x1)
    y = np.arange(y0, y1)
    places = np.stack(np.meshgrid(x, y), -1)
    inside = region.contains(places)
    smooth = smooth.reshape(patch.shape)
    patch[inside] = smooth[inside]


def _window(region: HeadRegion, size: tuple[int, int]) -> list[int]:
    """x0, y0, x1, y1 of the pixels around a region, within an image of `size` (w, h)."""
    reach = np.sqrt(np.diag(region.shape_px2))
    first = region.centre_px - reach
    last = region.centre_px + reach

    low = np.ceil(first)
    high = np.floor(last) + 1
    corners = np.clip([low, high], 0, size)
    whole = corners.astype(int)
    return whole.ravel().tolist()


def _cell_px(region: HeadRegion) -> float:
    """Side of a cell of the mosaic."""
    variances = np.linalg.eigvalsh(region.shape_px2)
    shorter_diameter = 2 * np.sqrt(variances[0])
    return float(shorter_diameter / CELLS)
