# SPDX-License-Identifier: Apache-2.0
"""The square crop that the network sees, from a window and its labels; mirror image and motion blur
of pictures."""

from __future__ import annotations

import math

import cv2
import numpy as np

from lifting_ros.keypoints.crop import CROP_MARGIN
from lifting_ros.research.datasets.keypoints2d import keypoint_box
from lifting_ros.skeleton import KEYPOINT_FLIP


def crop_transform(
    keypoints: np.ndarray,
    size_px: int,
    scale=1.0,
    angle=0.0,
    shift=(0.0, 0.0),
) -> np.ndarray:
    """Affine (2, 3) from window pixels to the square crop around the labelled keypoints (14, 3);
    angle in radians, shift in sides."""
    x0, y0, x1, y1 = keypoint_box(keypoints)
    side = CROP_MARGIN * max(x1 - x0, y1 - y0, 8.0) * scale
    cosine = math.cos(angle) * size_px / side
    sine = math.sin(angle) * size_px / side
    linear = np.array([[cosine, -sine], [sine, cosine]])

    centre = np.array([x0 + x1, y0 + y1]) / 2
    target = (size_px - 1) / 2 + np.asarray(shift) * size_px
    translation = target - linear @ centre
    return np.concatenate([linear, translation[:, None]], 1)


def apply_transform(
    image: np.ndarray,
    keypoints: np.ndarray,
    transform: np.ndarray,
    size_px: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Warp a window and its keypoints; a keypoint that leaves the crop keeps its label, with a
    position outside."""
    crop = cv2.warpAffine(
        image,
        transform,
        (size_px, size_px),
        flags=cv2.INTER_LINEAR,
        borderValue=(128, 128, 128),
    )

    moved = keypoints.copy()
    moved[:, :2] = keypoints[:, :2] @ transform[:, :2].T + transform[:, 2]

    return crop, moved


def true_crop(
    image: np.ndarray,
    keypoints: np.ndarray,
    size_px: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The crop of the true box without any change, as for validation."""
    transform = crop_transform(keypoints, size_px)
    return apply_transform(image, keypoints, transform, size_px)


def mirror(
    image: np.ndarray,
    keypoints: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Mirror an image (H, W, 3) about its vertical axis, with its keypoints (14, 3), and exchange
    left and right."""
    last = image.shape[1] - 1
    flipped = keypoints[list(KEYPOINT_FLIP)].copy()
    flipped[:, 0] = last - flipped[:, 0]
    return image[:, ::-1], flipped


def motion_blur(
    length_px: float,
    angle_deg: float,
) -> np.ndarray:
    """A line of that length as a filter that keeps brightness."""
    side = 2 * (int(length_px) // 2) + 1
    line = np.zeros((side, side), np.float32)
    line[side // 2] = 1

    centre = (side // 2, side // 2)
    rotation = cv2.getRotationMatrix2D(centre, angle_deg, 1)
    turned = cv2.warpAffine(line, rotation, (side, side))

    return turned / turned.sum()
