# SPDX-License-Identifier: Apache-2.0
"""False alarms of the person detector in pictures that show nobody: a pack of windows from which
the keypoint network learns that they show no person."""

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
"""Minimum score of an alarm. It is far below the estimator's, because another detector may give
higher scores to the same things."""

LONG_SIDE_PX = 320
"""Long side at which the detector sees the searched pictures."""

WINDOW_BOXES = 1.25 * CROP_MARGIN
"""Side of a window, divided by the longer side of the alarm's box: the crop that the estimator
would cut, and space to shift it."""

PARTS = 12
"""Number of windows of each photograph that are searched in addition to the whole."""


def open_false_alarms(
    folder: Path,
    detector: Detector,
    data: Path,
    rooms: Path | None,
    side_px: int,
) -> Pack:
    """The pack `alarms` in `folder`; if it does not exist, it is made from the training photographs
    of `data`/negatives and the pictures of `rooms`, a folder that `synthetic.write_scenes` made."""
    write = partial(_write, detector, data, rooms, side_px)
    pack = open_or_write(folder, write)
    return pack._replace(name="alarms")


def _write(
    detector: Detector,
    data: Path,
    rooms: Path | None,
    side_px: int,
    folder: Path,
) -> None:
    rendered = [] if rooms is None else read_images(rooms / "images.npy")
    photographs = read_negatives(data / "negatives", "train")
    total = (1 + PARTS) * len(photographs) + len(rendered)

    def pictures() -> Iterator[np.ndarray]:
        return chain(_parts(photographs), rendered)

    # Where the detector sees a person
    searched = Progress(pictures(), total=total, desc="false alarms", unit="picture")
    boxes = [alarm_boxes(detector, picture) for picture in searched]
    count = sum(len(found) for found in boxes)

    # A second pass cuts one picture at a time; all windows together take 10 GB
    nobody = np.zeros((14, 3), np.float32)
    windows = alarm_windows(pictures(), boxes, side_px)
    labelled = ((window, nobody) for window in windows)
    write_windows(folder, labelled, np.zeros(count, bool), side_px)


def _parts(photographs: list[np.ndarray]) -> Iterator[np.ndarray]:
    for number, image in enumerate(photographs):
        yield image
        for n in range(PARTS):
            rng = np.random.default_rng((number, n))
            yield random_window(image, SIZE, rng)


def alarm_boxes(
    detector: Detector,
    picture: np.ndarray,
) -> list[np.ndarray]:
    """Boxes (4,) of the persons that the detector finds in a picture (H, W, 3) of nobody."""
    return [found.box_px for found in detector.detect(picture)]


def alarm_windows(
    pictures: Iterable[np.ndarray],
    boxes: Iterable[list[np.ndarray]],
    side_px: int,
) -> Iterator[np.ndarray]:
    """Windows (S, S, 3) around the boxes of each picture."""
    for picture, found in zip(pictures, boxes, strict=True):
        for box_px in found:
            transform = box_transform(box_px, side_px, WINDOW_BOXES)
            yield cut_square(picture, transform, side_px)
