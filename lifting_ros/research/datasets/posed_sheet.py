# SPDX-License-Identifier: Apache-2.0
"""A contact sheet of generated poses, to look at: families in rows, each pose from the front and
from its right side."""

from __future__ import annotations

import cv2
import numpy as np

from lifting_ros.research.datasets.posed_figure import HEAD_TOP, HIPS, NOSE, SHOULDERS
from lifting_ros.skeleton import JOINT_NAMES, LIMBS
from lifting_ros.viz.palette import BACKGROUND, GRID, INK, colour_of

CELL_PX = 190
"""Height of a cell; it is as wide for each of the two views."""
METRES = 2.0
"""What a cell's height shows."""
CAPTION_PX = 110
FLOOR_PX = 18
"""Distance of the floor from the lower border of its cell."""
_SHIFT = 3


def draw_sheet(
    positions_m: np.ndarray, family: np.ndarray, families: tuple[str, ...]
) -> np.ndarray:
    """(H, W, 3) uint8 RGB: poses (N, 17, 3; metres, y up) in the row of their family (N,)."""
    shown = [number for number in range(len(families)) if (family == number).any()]
    most = max(int((family == number).sum()) for number in shown)
    height = CELL_PX * len(shown)
    sheet = np.empty((height, CAPTION_PX + 2 * CELL_PX * most, 3), np.uint8)
    sheet[:] = _rgb(BACKGROUND)

    facing = facing_ahead(positions_m)
    for row, number in enumerate(shown):
        top = row * CELL_PX
        floor = top + CELL_PX - FLOOR_PX
        caption = (6, top + CELL_PX // 2)
        cv2.putText(sheet, families[number], caption, 0, 0.45, _rgb(INK), 1, cv2.LINE_AA)
        cv2.line(sheet, (CAPTION_PX, floor), (sheet.shape[1], floor), _rgb(GRID), 1)
        for column, pose in enumerate(facing[family == number]):
            left = CAPTION_PX + 2 * CELL_PX * column
            _draw(sheet, pose[:, [0, 1]], pose[:, 2], left + 0.5 * CELL_PX, floor)
            _draw(sheet, pose[:, [2, 1]], -pose[:, 0], left + 1.5 * CELL_PX, floor)
            border = (left + 2 * CELL_PX, top), (left + 2 * CELL_PX, top + CELL_PX)
            cv2.line(sheet, *border, _rgb(GRID), 1)
    return sheet


def facing_ahead(positions_m: np.ndarray) -> np.ndarray:
    """Poses (N, 17, 3) turned about the vertical until hips and shoulders lie along x, their middle
    at x = z = 0."""
    across = positions_m[:, HIPS[0]] - positions_m[:, HIPS[1]]
    across = across + positions_m[:, SHOULDERS[0]] - positions_m[:, SHOULDERS[1]]
    length = np.maximum(np.hypot(across[:, 0], across[:, 2]), 1e-9)[:, None]
    cosine = across[:, :1] / length
    sine = across[:, 2:] / length
    middle = 0.5 * (positions_m.min(1) + positions_m.max(1))[:, None] * [1.0, 0.0, 1.0]
    x, y, z = np.moveaxis(positions_m - middle, -1, 0)
    return np.stack([cosine * x + sine * z, y, cosine * z - sine * x], -1)


def _draw(
    sheet: np.ndarray, points_m: np.ndarray, nearness: np.ndarray, centre_px: float, floor_px: float
) -> None:
    """Draw a pose: points (17, 2) to the right and up; nearer limbs (17,) over farther ones."""
    scale = (CELL_PX - FLOOR_PX) / METRES
    at = np.stack([centre_px + scale * points_m[:, 0], floor_px - scale * points_m[:, 1]], -1)
    fixed = np.rint(at * (1 << _SHIFT)).astype(int)
    order = sorted(LIMBS, key=lambda limb: nearness[list(limb)].mean())
    middle = np.median(nearness)
    for parent, child in order:
        near = nearness[[parent, child]].mean() >= middle
        ends = fixed[parent].tolist(), fixed[child].tolist()
        colour = _rgb(colour_of(JOINT_NAMES[child]))
        cv2.line(sheet, *ends, colour, 3 if near else 1, cv2.LINE_AA, _SHIFT)
    head = (0.5 * (fixed[NOSE] + fixed[HEAD_TOP])).astype(int).tolist()
    cv2.circle(sheet, head, int(0.1 * scale) << _SHIFT, _rgb(INK), 1, cv2.LINE_AA, _SHIFT)


def _rgb(colour: str) -> tuple[int, int, int]:
    return tuple(int(colour[k : k + 2], 16) for k in (1, 3, 5))
