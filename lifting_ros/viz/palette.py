# SPDX-License-Identifier: Apache-2.0
"""The colours of people in pictures, in the viewer and in RViz."""

from __future__ import annotations

COLOURS = {"left": "#1c7ff2", "right": "#f2601c", "trunk": "#12a37a"}
"""By the person's own side."""

INK = "#3b4252"
GRID = "#d3d8e0"
FLOOR = "#eceff3"
BACKGROUND = "#f7f8fa"


def side_of(name: str) -> str:
    """Side of a joint or keypoint by its name: left, right or trunk."""
    for side in ("left", "right"):
        if name.startswith(side):
            return side

    return "trunk"


def colour_of(name: str) -> str:
    """Colour of a joint or keypoint by its name, as #rrggbb."""
    return COLOURS[side_of(name)]


def rgb_of(name: str) -> tuple[int, int, int]:
    """The same as red, green and blue, 0 to 255."""
    red, green, blue = bytes.fromhex(colour_of(name)[1:])
    return red, green, blue
