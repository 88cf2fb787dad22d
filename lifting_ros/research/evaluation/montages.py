# SPDX-License-Identifier: Apache-2.0
"""Recall of the person detector by size of the person, and its false alarms, on montages of
photographs that were not used for its training."""

from __future__ import annotations

import numpy as np

from lifting_ros.detection.detector import overlaps
from lifting_ros.detection.multipose_detector import Detector
from lifting_ros.research.datasets.montage import Montages

SIZE = (640, 480)
"""Width and height of a montage, px."""

SIZES_PX = (20, 60, 100, 180, 320, 10_000)
"""Limits of the size classes: longer side of a person's box, px."""

OVERLAP = 0.5
"""Minimum IoU of a person and the box that finds the person."""


def montage_row(
    detector: Detector,
    montages: Montages,
    count: int,
) -> dict[str, float]:
    """Recall of sure persons by size class, at the detector's own score; false alarms per picture
    without people (`alarms`); boxes per montage (`boxes`)."""
    sides = []
    found = []
    boxes = []

    for number in range(count):
        picture = montages.make(number, SIZE)
        persons, _ = detector.find_persons(picture.image)
        boxes.append(len(persons))

        for box in picture.boxes[picture.sure]:
            size = box[2:] - box[:2]
            shared = overlaps(box, persons)
            sides.append(size.max())
            found.append(shared.max(initial=0.0) >= OVERLAP)

    row = {}
    all_sides = np.array(sides)
    all_found = np.array(found)

    for low, high in zip(SIZES_PX, SIZES_PX[1:]):
        sized = (all_sides >= low) & (all_sides < high)
        recall = float(np.mean(all_found[sized])) if sized.any() else np.nan
        row[f"from {low} px"] = recall

    alarms = [len(detector.find_persons(picture.image)[0]) for picture in montages.empty]
    row["alarms"] = float(np.mean(alarms)) if alarms else np.nan
    row["boxes"] = float(np.mean(boxes))
    return row
