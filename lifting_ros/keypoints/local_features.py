# SPDX-License-Identifier: Apache-2.0
"""The last layer of a network's trunk at the keypoints that were found in the crop."""

from __future__ import annotations

import numpy as np

from lifting_ros.compiled import compiled


def at_keypoints(layer: np.ndarray, points_px: np.ndarray, side_px: int) -> np.ndarray:
    """The layer (N, c, s, s) of N crops at points (N, J, 2) in their pixels: (N, J, c), float32.

    side_px: of the crops. Between the centres of the cells it is interpolated bilinearly; beyond
    the outermost ones it is constant.
    """
    found = np.empty((*points_px.shape[:2], layer.shape[1]), np.float32)
    _interpolate(np.ascontiguousarray(layer), points_px.astype(np.float64), side_px, found)
    return found


@compiled
def _interpolate(
    layer,
    points_px,
    side_px,
    out,
):
    """Write (N, J, c) of a layer (N, c, s, s)."""
    side = layer.shape[3]
    for n in range(len(layer)):
        for j in range(points_px.shape[1]):
            # Cells left of the point and above it, and how far it lies beyond their centres
            x = min(max((points_px[n, j, 0] + 0.5) * side / side_px - 0.5, 0.0), side - 1.0)
            y = min(max((points_px[n, j, 1] + 0.5) * side / side_px - 0.5, 0.0), side - 1.0)
            left = int(x)
            above = int(y)
            right = min(left + 1, side - 1)
            below = min(above + 1, side - 1)
            along = x - left
            down = y - above

            for channel in range(layer.shape[1]):
                cells = layer[n, channel]
                upper = (1 - along) * cells[above, left] + along * cells[above, right]
                lower = (1 - along) * cells[below, left] + along * cells[below, right]
                out[n, j, channel] = (1 - down) * upper + down * lower
