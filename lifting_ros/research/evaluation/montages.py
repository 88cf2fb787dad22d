# SPDX-License-Identifier: Apache-2.0
"""Recall of the person detector by the size of the person, on montages of photographs that it has
not been trained on, and its false alarms."""

from __future__ import annotations

import numpy as np

from lifting_ros.detection.detector import overlaps
from lifting_ros.detection.multipose_detector import Detector
from lifting_ros.research.datasets.montage import Montages

SIZE = (640, 480)
"""Width and height of a montage, px."""

SIZES_PX = (20, 60, 100, 180, 320, 10_000)
"""Limits of the size classes: longer side of a person's box."""

OVERLAP = 0.5
"""Least IoU of a person and the box that finds the person."""


def montage_row(detector: Detector, montages: Montages, count: int) -> dict[str, float]:
    """Recall of sure persons by size class, at the score that the detector is set to, false
    alarms per picture without people (`alarms`), and boxes per montage (`boxes`)."""
    sides = []
    found = []
    boxes = []
    for number in range(count):
        picture = montages.make(number, SIZE)
        persons, _ = detector.find_persons(picture.image)
        boxes.append(len(persons))
        for box in picture.boxes[picture.sure]:
            sides.append((box[2:] - box[:2]).max())
            found.append(overlaps(box, persons).max(initial=0.0) >= OVERLAP)

    row = {}
    for low, high in zip(SIZES_PX, SIZES_PX[1:]):
        sized = (np.array(sides) >= low) & (np.array(sides) < high)
        name = f"from {low} px"
        row[name] = float(np.mean(np.array(found)[sized])) if sized.any() else np.nan

    alarms = [len(detector.find_persons(picture.image)[0]) for picture in montages.empty]
    row["alarms"] = float(np.mean(alarms)) if alarms else np.nan
    row["boxes"] = float(np.mean(boxes))
    return row
