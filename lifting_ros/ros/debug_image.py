# SPDX-License-Identifier: Apache-2.0
"""The image with the 2D skeletons drawn on it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from lifting_ros.ros.conversions import array_to_image
from lifting_ros.skeleton import KEYPOINT_LIMBS, KEYPOINT_NAMES
from lifting_ros.types import Person, Skeleton2D

_RGB = {"right": (255, 115, 25), "left": (25, 150, 255)}
_TRUNK_RGB = (230, 230, 230)
_SHIFT = 4
"""Fractional bits of the coordinates that OpenCV draws at."""


def debug_image(image: np.ndarray, persons: Sequence[Person], header: Header) -> Image:
    """rgb8 message of `image` (H, W, 3) uint8 RGB with every person's keypoints; `image` itself is
    not changed."""
    canvas = image.copy()
    for person in persons:
        draw_skeleton_2d(canvas, person.skeleton_2d)

    return array_to_image(canvas, "rgb8", header)


def draw_skeleton_2d(canvas: np.ndarray, skeleton_2d: Skeleton2D) -> None:
    """Draw box, limbs and keypoints onto `canvas` (H, W, 3) uint8 RGB; keypoints that were not seen
    are left out."""
    points = skeleton_2d.keypoints_px
    # OpenCV takes fixed-point int32: what lies far outside the image would overflow.
    seen = (
        np.isfinite(points).all(-1)
        & (skeleton_2d.confidence > 0)
        & (np.abs(np.nan_to_num(points)) < 1e5).all(-1)
    )
    fixed = np.rint(np.where(seen[:, None], points, 0) * 2**_SHIFT).astype(int)
    thickness = max(1, round(min(canvas.shape[:2]) / 240))

    if np.isfinite(skeleton_2d.box_px).all() and (np.abs(skeleton_2d.box_px) < 1e5).all():
        x0, y0, x1, y1 = np.rint(skeleton_2d.box_px).astype(int).tolist()
        cv2.rectangle(canvas, (x0, y0), (x1, y1), _TRUNK_RGB, 1)

    for a, b in KEYPOINT_LIMBS:
        if seen[a] and seen[b]:
            ends = tuple(fixed[a].tolist()), tuple(fixed[b].tolist())
            cv2.line(canvas, *ends, _colour(b), thickness, cv2.LINE_AA, _SHIFT)

    for k in np.flatnonzero(seen).tolist():
        centre = tuple(fixed[k].tolist())
        radius = (thickness + 1) * 2**_SHIFT
        cv2.circle(canvas, centre, radius, _colour(k), cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _colour(keypoint: int) -> tuple[int, int, int]:
    return _RGB.get(KEYPOINT_NAMES[keypoint].split("_")[0], _TRUNK_RGB)
