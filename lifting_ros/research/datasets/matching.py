# SPDX-License-Identifier: Apache-2.0
"""Which found boxes are persons: the best first takes a person of the scene that it overlaps and
that no better one has taken."""

from __future__ import annotations

import numpy as np

from lifting_ros.detection.detector import overlaps
from lifting_ros.research.datasets.scene_parts import Scene

RIGHT, REPEATED, WRONG, UNKNOWN = range(4)
"""Verdicts: a person; one found before; nobody; somewhere the scene does not know."""
OVERLAP = 0.5
"""Least IoU with a person for a box to be that person."""
REPEATED_OVERLAP = 0.3
"""Least IoU with a person found before for a box to be that one again."""


def judge(boxes: np.ndarray, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Verdicts (D,) of boxes (D, 4), best first, and by which box (M,) each person of the scene was
    found, -1 where by none."""
    verdicts = np.full(len(boxes), WRONG)
    found_by = np.full(len(scene.boxes), -1)

    for index, box in enumerate(boxes):
        overlap = overlaps(box, scene.boxes)
        free = overlap * (found_by < 0)
        if free.max(initial=0) >= OVERLAP:
            verdicts[index] = RIGHT
            found_by[int(np.argmax(free))] = index
        elif (overlap * (found_by >= 0)).max(initial=0) >= REPEATED_OVERLAP:
            verdicts[index] = REPEATED
        elif not scene.known[_cell((box[:2] + box[2:]) / 2, scene.known.shape)]:
            verdicts[index] = UNKNOWN

    return verdicts, found_by


def _cell(point: np.ndarray, shape: tuple[int, int]) -> tuple[int, int]:
    """Row and column of a point (x, y), the nearest of the picture where it lies outside."""
    height, width = shape
    limit = [width - 1, height - 1]
    x, y = np.clip(np.round(point), 0, limit).astype(int)
    return int(y), int(x)
