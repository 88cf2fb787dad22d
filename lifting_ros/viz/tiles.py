# SPDX-License-Identifier: Apache-2.0
"""Sheets of pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def in_rows(tiles: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Pictures (h, w, 3) of one size in rows; their number is a multiple of `columns`."""
    rows = []
    for start in range(0, len(tiles), columns):
        row = tiles[start : start + columns]
        rows.append(np.hstack(row))

    return np.vstack(rows)
