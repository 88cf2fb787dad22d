# SPDX-License-Identifier: Apache-2.0
"""What bad light, bad cameras, distance and things in the way cost: photographs made worse one way
at a time, whole estimator."""

from __future__ import annotations

from collections.abc import Callable
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
"""Image (H, W, 3) uint8 RGB and keypoints (14, 3) in its pixels to others."""

HIDDEN = 0.3
"""Share of the person's box that is covered."""
SMALL_PX = 64
"""Longer side of the box of a small person's keypoints."""
EXPOSURE = 1 / 32
"""Night: light on the sensor, relative to the photograph."""

FULL_WELL = 4000.0
"""Night: electrons of a white pixel by day."""

READ_NOISE = 6.0
"""Night: std of the read-out noise, in electrons."""

_GAMMA = 2.2


def as_it_is(image: np.ndarray, keypoints: np.ndarray, rng: np.random.Generator):
    """Nothing is changed."""
    return image, keypoints


def half_brightness(image: np.ndarray, keypoints: np.ndarray, rng: np.random.Generator):
    """Every value halved."""
    return image // 2, keypoints


def moving(image: np.ndarray, keypoints: np.ndarray, rng: np.random.Generator, length_px: int = 9):
    """Motion blur of `length_px` in a random direction."""
    return cv2.filter2D(image, -1, motion_blur(length_px, rng.uniform(0, 180))), keypoints


def jpeg(image: np.ndarray, keypoints: np.ndarray, rng: np.random.Generator, quality: int = 20):
    """Compressed once more at that quality."""
    bgr = image[..., ::-1]
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return decode_rgb(encoded.tobytes(), "jpeg"), keypoints


def small(image: np.ndarray, keypoints: np.ndarray, rng: np.random.Generator):
    """The photograph so small that the person measures SMALL_PX; never larger than it is."""
    x0, y0, x1, y1 = keypoint_box(keypoints)
    wide, high = (
        max(1, round(side * min(1.0, SMALL_PX / max(x1 - x0, y1 - y0))))
        for side in image.shape[1::-1]
    )
    scale = np.array([wide / image.shape[1], high / image.shape[0]])
    moved = keypoints.copy()
    moved[:, :2] = (keypoints[:, :2] + 0.5) * scale - 0.5

    return cv2.resize(image, (wide, high), interpolation=cv2.INTER_AREA), moved


def hidden(image: np.ndarray, keypoints: np.ndarray, rng: np.random.Generator):
    """A grey board over HIDDEN of the person's box, at a random place in it and of random
    proportions. Labels under it stay."""
    x0, y0, x1, y1 = keypoint_box(keypoints)
    side = np.sqrt(HIDDEN)
    # of the box's width; the height's follows
    share = np.clip(side * np.exp(rng.uniform(-0.5, 0.5)), HIDDEN, 1)
    wide = share * (x1 - x0)
    high = HIDDEN / share * (y1 - y0)
    left = rng.uniform(x0, x1 - wide)
    top = rng.uniform(y0, y1 - high)
    covered = image.copy()
    cv2.rectangle(
        covered,
        (round(left), round(top)),
        (round(left + wide), round(top + high)),
        (110, 110, 110),
        cv2.FILLED,
    )

    return covered, keypoints


def night(image: np.ndarray, keypoints: np.ndarray, rng: np.random.Generator):
    """EXPOSURE of the light on a sensor that amplifies what it gets: shot noise of the electrons,
    and the read-out's."""
    electrons = FULL_WELL * EXPOSURE * (image / 255.0) ** _GAMMA
    measured = rng.poisson(electrons) + rng.normal(0, READ_NOISE, image.shape)
    light = np.clip(measured / (FULL_WELL * EXPOSURE), 0, 1)

    return np.round(255 * light ** (1 / _GAMMA)).astype(np.uint8), keypoints


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
    estimator: PoseEstimator, data: Path, most: int | None = None, seed: int = 0
) -> dict[str, dict[str, float]]:
    """PCK@0.2 through the whole estimator and share of persons found, by condition and validation
    set; most: photographs a set."""
    rows: dict[str, dict[str, float]] = {name: {} for name in CONDITIONS}
    for name in photo_sets_in(data / "keypoints2d"):
        photos = read_photo_set(data / "keypoints2d", name)
        chosen = np.flatnonzero(photos.validation)[:most]
        for condition, worsen in CONDITIONS.items():
            # each photograph and condition of a seed is always made worse in the same way
            def change(image, keypoints, row, worsen=worsen):
                return worsen(image, keypoints, np.random.default_rng((seed, row)))

            predicted, labels = find_labelled(estimator, photos, chosen, change)
            rows[condition] |= {
                name: mean_pck(predicted, labels),
                f"{name} found": float(np.isfinite(predicted[:, 0, 0]).mean()),
            }

    return rows
