# SPDX-License-Identifier: Apache-2.0
"""Which of the boxes found are persons. Each box, best first, takes the person that it overlaps and
that no better box has taken."""

from __future__ import annotations

import numpy as np

from lifting_ros.detection.detector import overlaps
from lifting_ros.research.datasets.scene_parts import Scene

RIGHT = 0
"""Verdict: a person."""

REPEATED = 1
"""Verdict: a person that a better box has found."""

WRONG = 2
"""Verdict: nobody."""

UNKNOWN = 3
"""Verdict: in a part of the scene of which nothing is known."""

OVERLAP = 0.5
"""Minimum IoU of a box with its person."""

REPEATED_OVERLAP = 0.3
"""Minimum IoU of a repeated box with its person."""


def judge(
    boxes: np.ndarray,
    scene: Scene,
) -> tuple[np.ndarray, np.ndarray]:
    """Verdicts (D,) of boxes (D, 4), best first; and the number (M,) of the box that found each
    person of the scene, -1 if none did."""
    verdicts = np.full(len(boxes), WRONG)
    found_by = np.full(len(scene.boxes), -1)

    for index, box in enumerate(boxes):
        overlap = overlaps(box, scene.boxes)
        free = overlap * (found_by < 0)
        taken = overlap * (found_by >= 0)
        middle = (box[:2] + box[2:]) / 2

        if free.max(initial=0) >= OVERLAP:
            verdicts[index] = RIGHT
            found_by[int(np.argmax(free))] = index
        elif taken.max(initial=0) >= REPEATED_OVERLAP:
            verdicts[index] = REPEATED
        elif not scene.known[_cell(middle, scene.known.shape)]:
            verdicts[index] = UNKNOWN

    return verdicts, found_by


def _cell(
    point: np.ndarray,
    shape: tuple[int, int],
) -> tuple[int, int]:
    """Row and column of a point (x, y); the nearest in the picture if it lies outside."""
    height, width = shape
    limit = [width - 1, height - 1]
    x, y = np.clip(np.round(point), 0, limit).astype(int)
    return int(y), int(x)
