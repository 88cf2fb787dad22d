# SPDX-License-Identifier: Apache-2.0
"""Robustness of the whole estimator against bad light, bad cameras, distance and occlusion: PCK on
photographs that are made worse in one way at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from lifting_ros.estimator import PoseEstimator
from lifting_ros.research.datasets.crops import motion_blur
from lifting_ros.research.datasets.keypoints2d import (
    decode_rgb,
    keypoint_box,
    photo_sets_in,
    read_photo_set,
)
from lifting_ros.research.evaluation.keypoints import find_labelled
from lifting_ros.research.evaluation.metrics import mean_pck

Worsen = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""Function of an image (H, W, 3) uint8 RGB, keypoints (14, 3) in its pixels and a random generator,
that returns the changed image and keypoints."""

HIDDEN = 0.3
"""Share of the person's box that is covered."""

SMALL_PX = 64
"""Longer side of the keypoints' box of a small person, px."""

EXPOSURE = 1 / 32
"""Night: light on the sensor, relative to the photograph."""

FULL_WELL = 4000.0
"""Night: electrons of a white pixel by day."""

READ_NOISE = 6.0
"""Night: std of the read-out noise, in electrons."""

_GAMMA = 2.2
"""Exponent from pixel values to light."""

_GREY = (110, 110, 110)


def as_it_is(
    image: np.ndarray,
    keypoints: np.ndarray,
    rng: np.random.Generator,
):
    """The photograph itself."""
    return image, keypoints


def half_brightness(
    image: np.ndarray,
    keypoints: np.ndarray,
    rng: np.random.Generator,
):
    """Half of each pixel value."""
    return image // 2, keypoints


def moving(
    image: np.ndarray,
    keypoints: np.ndarray,
    rng: np.random.Generator,
    length_px: int = 9,
):
    """Motion blur of `length_px` in a random direction."""
    kernel = motion_blur(length_px, rng.uniform(0, 180))
    blurred = cv2.filter2D(image, -1, kernel)
    return blurred, keypoints


def jpeg(
    image: np.ndarray,
    keypoints: np.ndarray,
    rng: np.random.Generator,
    quality: int = 20,
):
    """The photograph after JPEG compression of that quality."""
    bgr = image[..., ::-1]
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = decode_rgb(encoded.tobytes(), "jpeg")
    return decoded, keypoints


def small(
    image: np.ndarray,
    keypoints: np.ndarray,
    rng: np.random.Generator,
):
    """The photograph, reduced until the person measures SMALL_PX; it is never enlarged."""
    x0, y0, x1, y1 = keypoint_box(keypoints)
    longer = max(x1 - x0, y1 - y0)
    factor = min(1.0, SMALL_PX / longer)
    height, width = image.shape[:2]
    new_width = max(1, round(width * factor))
    new_height = max(1, round(height * factor))

    scale = np.array([new_width / width, new_height / height])
    moved = keypoints.copy()
    moved[:, :2] = (keypoints[:, :2] + 0.5) * scale - 0.5
    reduced = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_AREA)
    return reduced, moved


def hidden(
    image: np.ndarray,
    keypoints: np.ndarray,
    rng: np.random.Generator,
):
    """A grey board over HIDDEN of the person's box, of random place and proportions. The labels
    under it stay."""
    x0, y0, x1, y1 = keypoint_box(keypoints)

    # Its width as a share of the box; the area determines the height
    side = np.sqrt(HIDDEN)
    share = np.clip(side * np.exp(rng.uniform(-0.5, 0.5)), HIDDEN, 1)
    width = share * (x1 - x0)
    height = HIDDEN / share * (y1 - y0)

    left = rng.uniform(x0, x1 - width)
    top = rng.uniform(y0, y1 - height)
    first = (round(left), round(top))
    last = (round(left + width), round(top + height))
    covered = image.copy()
    cv2.rectangle(covered, first, last, _GREY, cv2.FILLED)
    return covered, keypoints


def night(
    image: np.ndarray,
    keypoints: np.ndarray,
    rng: np.random.Generator,
    exposure: float = EXPOSURE,
):
    """The photograph at `exposure` of its light, amplified to the old brightness, with shot noise
    and read-out noise."""
    white = FULL_WELL * exposure
    electrons = white * (image / 255.0) ** _GAMMA
    measured = rng.poisson(electrons) + rng.normal(0, READ_NOISE, image.shape)
    light = np.clip(measured / white, 0, 1)

    values = 255 * light ** (1 / _GAMMA)
    return np.round(values).astype(np.uint8), keypoints


CONDITIONS: dict[str, Worsen] = {
    "as it is": as_it_is,
    "half brightness": half_brightness,
    "motion blur 9 px": moving,
    "JPEG quality 20": jpeg,
    "64 px person": small,
    "30 % hidden": hidden,
    "night": night,
}


def robustness_table(
    estimator: PoseEstimator,
    data: Path,
    most: int | None = None,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """PCK@0.2 of the whole estimator and share of persons found, by condition and photo set.

    most: photographs per set; seed: of the conditions.
    """
    rows: dict[str, dict[str, float]] = {name: {} for name in CONDITIONS}
    for name in photo_sets_in(data / "keypoints2d"):
        photos = read_photo_set(data / "keypoints2d", name)
        chosen = np.flatnonzero(photos.validation)[:most]

        for condition, worsen in CONDITIONS.items():
            change = partial(_change, worsen=worsen, seed=seed)
            predicted, labels = find_labelled(estimator, photos, chosen, change)
            found = np.isfinite(predicted[:, 0, 0])
            rows[condition][name] = mean_pck(predicted, labels)
            rows[condition][f"{name} found"] = float(found.mean())

    return rows


def _change(
    image: np.ndarray,
    keypoints: np.ndarray,
    row: int,
    worsen: Worsen,
    seed: int,
):
    """The photograph made worse; a row and a condition always change in the same way."""
    rng = np.random.default_rng((seed, row))
    return worsen(image, keypoints, rng)
