# SPDX-License-Identifier: Apache-2.0
"""From a pack's window to a training crop: mirror, scale, rotation, shift, colour, blur and occlusion, labels carried along."""
from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np

from lifting_ros.core.skeleton import KEYPOINT_NAMES
from lifting_ros.data.crops import apply_transform, crop_transform, mirror, motion_blur

_HEAD = [KEYPOINT_NAMES.index(name) for name in ("head_top", "neck")]


@dataclass(frozen=True)
class AugmentationConfig:
    """How far a training crop may stray from the true box."""

    mirror: float = field(default=0.5, metadata={"description": "share of mirrored crops"})
    log_scale: float = field(default=0.25, metadata={"description": "standard deviation of ln(scale), cut at two"})
    rotation_deg: float = field(default=25.0, metadata={"description": "standard deviation of the rotation, cut at two", "unit": "deg"})
    shift: float = field(default=0.06, metadata={"description": "standard deviation of the shift over the crop's side"})
    colour: float = field(default=0.25, metadata={"description": "strength of brightness, contrast and channel changes"})
    occlusion: float = field(default=0.35, metadata={"description": "share of crops with a patch over the person"})
    anonymous: float = field(
        default=0.1, metadata={"description": "share of crops whose face is a mosaic: front and back are to be told from the body, too"}
    )
    blur: float = field(default=0.15, metadata={"description": "share of blurred crops, and of noisy ones"})
    camera: float = field(
        default=0.2, metadata={"description": "share of crops as a bad camera gives them: few pixels, motion blur, JPEG, dark"}
    )


def augment(image: np.ndarray, keypoints: np.ndarray, size_px: int, config: AugmentationConfig, rng: np.random.Generator):
    """A random crop (size_px, size_px, 3) uint8 and its keypoints (14, 3); windows without a label give a crop without one."""
    if not (keypoints[:, 2] > 0).any():
        return _colour(_random_square(image, size_px, rng), config, rng), keypoints
    cut = np.clip(rng.standard_normal(2), -2, 2)
    transform = crop_transform(
        keypoints, size_px, math.exp(config.log_scale * cut[0]), math.radians(config.rotation_deg) * cut[1],
        config.shift * np.clip(rng.standard_normal(2), -2, 2),
    )  # fmt: skip
    crop, moved = apply_transform(image, keypoints, transform, size_px)
    if rng.random() < config.mirror:
        crop, moved = mirror(crop, moved)
    crop = np.ascontiguousarray(crop)
    if rng.random() < config.anonymous:
        anonymise(crop, moved, rng)
    crop = _colour(crop, config, rng)
    if rng.random() < config.occlusion:
        _occlude(crop, moved, rng)
    return crop, moved


def _random_square(image: np.ndarray, size_px: int, rng: np.random.Generator) -> np.ndarray:
    side = int(rng.integers(image.shape[0] // 2, image.shape[0] + 1))
    top, left = rng.integers(0, image.shape[0] - side + 1, 2)
    return cv2.resize(image[top : top + side, left : left + side], (size_px, size_px), interpolation=cv2.INTER_AREA)


def _colour(image: np.ndarray, config: AugmentationConfig, rng: np.random.Generator) -> np.ndarray:
    gain = np.exp(config.colour * (0.8 * rng.standard_normal() + 0.4 * rng.standard_normal(3)))
    gamma = math.exp(config.colour * rng.standard_normal())
    offset = 40 * config.colour * rng.standard_normal()
    ramp = np.linspace(0, 1, 256)[:, None] ** gamma  # (256, 1)
    table = np.clip(ramp * gain * 255 + offset, 0, 255).astype(np.uint8)  # (256, 3)
    image = cv2.LUT(image, table[None])
    if rng.random() < 0.1:
        image = np.repeat(image.mean(-1, keepdims=True).astype(np.uint8), 3, -1)
    if rng.random() < config.blur:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.6))
    if rng.random() < config.blur:
        noise = rng.normal(0, rng.uniform(2, 14), image.shape)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return _bad_camera(image, rng) if rng.random() < config.camera else image


def _bad_camera(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The crop with few pixels, motion blur, strong compression or little light."""
    size = image.shape[0]
    kind = rng.integers(4)
    if kind == 0:
        few = int(size * rng.uniform(0.25, 0.6))
        return cv2.resize(cv2.resize(image, (few, few), interpolation=cv2.INTER_AREA), (size, size), interpolation=cv2.INTER_LINEAR)
    if kind == 1:
        return cv2.filter2D(image, -1, motion_blur(rng.uniform(3, 11), rng.uniform(0, 180)))
    if kind == 2:
        return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(10, 50))])[1], cv2.IMREAD_COLOR)
    dark = image * rng.uniform(0.15, 0.6) + rng.normal(0, rng.uniform(2, 12), image.shape)
    return np.clip(dark, 0, 255).astype(np.uint8)


def anonymise(image: np.ndarray, keypoints: np.ndarray, rng: np.random.Generator) -> None:
    """Make a mosaic of the head, where crown and neck are labelled."""
    (top, neck), size = keypoints[_HEAD], image.shape[0]
    if min(top[2], neck[2]) <= 0:
        return
    reach = rng.uniform(0.5, 0.8) * np.linalg.norm(top[:2] - neck[:2])
    middle = 0.6 * top[:2] + 0.4 * neck[:2]
    (left, up), (right, down) = (np.clip(np.round(middle + sign * reach), 0, size).astype(int) for sign in (-1, 1))
    if min(right - left, down - up) < 2:
        return
    face = image[up:down, left:right]
    tiles = cv2.resize(face, (int(rng.integers(2, 6)),) * 2, interpolation=cv2.INTER_AREA)
    image[up:down, left:right] = cv2.resize(tiles, face.shape[1::-1], interpolation=cv2.INTER_NEAREST)


def _occlude(image: np.ndarray, keypoints: np.ndarray, rng: np.random.Generator) -> None:
    """Cover part of the crop with flat colour, noise or another place of the same crop; labels stay: the body goes on behind it."""
    size = image.shape[0]
    h, w = (rng.uniform(0.1, 0.4, 2) * size).astype(int)
    seen = keypoints[keypoints[:, 2] > 0, :2]
    x, y = seen[rng.integers(len(seen))] + rng.normal(0, 0.08 * size, 2)
    left, top = int(np.clip(x - w / 2, 0, size - w)), int(np.clip(y - h / 2, 0, size - h))
    kind = rng.integers(3)
    if kind == 0:
        patch = np.broadcast_to(rng.integers(0, 256, 3, np.uint8), (h, w, 3))
    elif kind == 1:
        patch = rng.integers(0, 256, (h, w, 3), np.uint8)
    else:
        sy, sx = rng.integers(0, size - h + 1), rng.integers(0, size - w + 1)
        patch = image[sy : sy + h, sx : sx + w].copy()
    image[top : top + h, left : left + w] = patch
