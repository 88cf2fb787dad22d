# SPDX-License-Identifier: Apache-2.0
"""The last layer of a network's trunk at the keypoints that were found in the crop."""

from __future__ import annotations

import numpy as np


def at_keypoints(layer: np.ndarray, points_px: np.ndarray, side_px: int) -> np.ndarray:
    """The layer (N, c, s, s) of N crops at points (N, J, 2) in their pixels: (N, J, c), float32.

    side_px: of the crops. Between the centres of the cells it is interpolated bilinearly; beyond
    the outermost ones it is constant.
    """
    side = layer.shape[-1]
    cells = np.clip((points_px + 0.5) * (side / side_px) - 0.5, 0, side - 1)
    low = cells.astype(int)
    high = np.minimum(low + 1, side - 1)
    (x, y), (right, below) = (np.moveaxis(corner, -1, 0) for corner in (low, high))
    along, down = np.moveaxis(cells - low, -1, 0)[..., None].astype(np.float32)  # (2, N, J, 1)

    rows = np.arange(len(layer))[:, None]
    by_cell = np.moveaxis(layer, 1, -1)  # (N, s, s, c)
    above = (1 - along) * by_cell[rows, y, x] + along * by_cell[rows, y, right]
    beneath = (1 - along) * by_cell[rows, below, x] + along * by_cell[rows, below, right]
    return ((1 - down) * above + down * beneath).astype(np.float32)
