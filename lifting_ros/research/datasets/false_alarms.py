# SPDX-License-Identifier: Apache-2.0
"""What the person detector takes for a person in pictures that show nobody: a pack of windows from
which the network learns to say no."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from lifting_ros.detection.multipose_detector import Detector
from lifting_ros.io.arrays import read_images
from lifting_ros.io.progress import Progress
from lifting_ros.keypoints.crop import CROP_MARGIN
from lifting_ros.research.datasets.negatives import read_negatives
from lifting_ros.research.datasets.pack import (
    Pack,
    box_transform,
    cut_square,
    open_or_write,
    write_windows,
)
from lifting_ros.research.datasets.scene_parts import random_window

SIZE = (480, 360)
"""Width and height of the rendered rooms, px."""
SCORE = 0.1
"""Least score of an alarm: far below what the estimator is set to, so that the network sees what a
better detector may still miss."""
LONG_SIDE_PX = 320
"""Long side at which the detector sees the pictures searched."""
WINDOW_BOXES = 1.25 * CROP_MARGIN
"""Side of a window over the longer side of the alarm's box: the crop that the estimator would cut,
and room to shift."""
PARTS = 12
"""Windows of each photograph that are searched beside the whole."""


def open_false_alarms(
    folder: Path, detector: Detector, data: Path, rooms: Path | None, side_px: int
) -> Pack:
    """The pack `alarms` in `folder`, made where it is not there yet from the photographs of
    `data`/negatives that are trained on, and the pictures of `rooms` (a folder that
    `synthetic.write_scenes` made) where there are any."""
    return open_or_write(folder, partial(_write, detector, data, rooms, side_px))._replace(
        name="alarms"
    )


def _write(detector: Detector, data: Path, rooms: Path | None, side_px: int, folder: Path) -> None:
    rendered = [] if rooms is None else read_images(rooms / "images.npy")
    photographs = read_negatives(data / "negatives", "train")
    total = (1 + PARTS) * len(photographs) + len(rendered)

    # One at a time: together they take 1.5 GB.
    one_by_one = chain(_parts(photographs), rendered)
    pictures = Progress(one_by_one, total=total, desc="false alarms", unit="picture")
    windows = list(false_alarms(detector, pictures, side_px))

    nobody = np.zeros((14, 3), np.float32)
    labelled = ((window, nobody) for window in windows)
    validation = np.zeros(len(windows), bool)
    write_windows(folder, labelled, validation, side_px)


def _parts(photographs: list[np.ndarray]) -> Iterator[np.ndarray]:
    for number, image in enumerate(photographs):
        yield image
        for n in range(PARTS):
            rng = np.random.default_rng((number, n))
            yield random_window(image, SIZE, rng)


def false_alarms(
    detector: Detector, pictures: Iterable[np.ndarray], side_px: int
) -> Iterator[np.ndarray]:
    """Windows (S, S, 3) around everything found in pictures (H, W, 3) of nobody."""
    for picture in pictures:
        for found in detector.detect(picture):
            yield cut_square(picture, box_transform(found.box_px, side_px, WINDOW_BOXES), side_px)
