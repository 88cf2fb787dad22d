# SPDX-License-Identifier: Apache-2.0
"""A contact sheet of generated poses: families in rows, each pose from the front and from its right
side."""

from __future__ import annotations

import cv2
import numpy as np

from lifting_ros.research.datasets.posed_figure import HEAD_TOP, NOSE, across_hips_and_shoulders
from lifting_ros.skeleton import JOINT_NAMES, LIMBS
from lifting_ros.viz.palette import BACKGROUND, GRID, INK, colour_of

CELL_PX = 190
"""Height of a cell, and width of each of its two views."""

METRES = 2.0
"""Height of a cell above its floor, metres."""

CAPTION_PX = 110
"""Width of the captions."""

FLOOR_PX = 18
"""Distance of the floor from the lower border of its cell."""

_SHIFT = 3
"""Fractional bits of OpenCV's coordinates."""


def draw_sheet(
    positions_m: np.ndarray,
    family: np.ndarray,
    families: tuple[str, ...],
) -> np.ndarray:
    """(H, W, 3) uint8 RGB: poses (N, 17, 3; metres, y up) in the row of their family (N,)."""
    shown = [number for number in range(len(families)) if (family == number).any()]
    most = max(int((family == number).sum()) for number in shown)
    height = CELL_PX * len(shown)
    width = CAPTION_PX + 2 * CELL_PX * most
    sheet = np.empty((height, width, 3), np.uint8)
    sheet[:] = _rgb(BACKGROUND)

    facing = facing_ahead(positions_m)

    for row, number in enumerate(shown):
        top = row * CELL_PX
        floor = top + CELL_PX - FLOOR_PX
        caption = (6, top + CELL_PX // 2)
        cv2.putText(sheet, families[number], caption, 0, 0.45, _rgb(INK), 1, cv2.LINE_AA)
        cv2.line(sheet, (CAPTION_PX, floor), (width, floor), _rgb(GRID), 1)

        for column, pose in enumerate(facing[family == number]):
            left = CAPTION_PX + 2 * CELL_PX * column
            right = left + 2 * CELL_PX
            x, y, z = pose.T
            _draw(sheet, np.stack([x, y], -1), z, (left + 0.5 * CELL_PX, floor))
            _draw(sheet, np.stack([z, y], -1), -x, (left + 1.5 * CELL_PX, floor))
            cv2.line(sheet, (right, top), (right, top + CELL_PX), _rgb(GRID), 1)

    return sheet


def facing_ahead(positions_m: np.ndarray) -> np.ndarray:
    """Poses (N, 17, 3) turned about the vertical until hips and shoulders lie along x, with their
    middle at x = z = 0."""
    across = across_hips_and_shoulders(positions_m)
    length = np.maximum(np.hypot(across[:, 0], across[:, 2]), 1e-9)[:, None]
    cosine = across[:, :1] / length
    sine = across[:, 2:] / length

    middle = 0.5 * (positions_m.min(1) + positions_m.max(1))
    centred = positions_m - middle[:, None] * [1.0, 0.0, 1.0]
    x, y, z = np.moveaxis(centred, -1, 0)
    return np.stack([cosine * x + sine * z, y, cosine * z - sine * x], -1)


def _draw(
    sheet: np.ndarray,
    points_m: np.ndarray,
    nearness: np.ndarray,
    origin_px: tuple[float, float],
) -> None:
    """Draw a pose: points (17, 2) to the right and up; nearer limbs (17,) over farther ones.

    origin_px: where (0, 0) is in the sheet.
    """
    scale = (CELL_PX - FLOOR_PX) / METRES
    x = origin_px[0] + scale * points_m[:, 0]
    y = origin_px[1] - scale * points_m[:, 1]
    fixed = np.rint(np.stack([x, y], -1) * (1 << _SHIFT)).astype(int)

    order = sorted(LIMBS, key=lambda limb: nearness[list(limb)].mean())
    middle = np.median(nearness)

    for parent, child in order:
        start = fixed[parent].tolist()
        end = fixed[child].tolist()
        colour = _rgb(colour_of(JOINT_NAMES[child]))
        near = nearness[[parent, child]].mean() >= middle
        cv2.line(sheet, start, end, colour, 3 if near else 1, cv2.LINE_AA, _SHIFT)

    head = (0.5 * (fixed[NOSE] + fixed[HEAD_TOP])).astype(int).tolist()
    radius = int(0.1 * scale) << _SHIFT
    cv2.circle(sheet, head, radius, _rgb(INK), 1, cv2.LINE_AA, _SHIFT)


def _rgb(colour: str) -> tuple[int, int, int]:
    red = int(colour[1:3], 16)
    green = int(colour[3:5], 16)
    blue = int(colour[5:7], 16)
    return red, green, blue
