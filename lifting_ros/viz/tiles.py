# SPDX-License-Identifier: Apache-2.0
"""Sheets of pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def in_rows(tiles: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Pictures (h, w, 3) of one size in rows; their number is a multiple of `columns`."""
    starts = range(0, len(tiles), columns)
    rows = [np.hstack(tiles[start : start + columns]) for start in starts]
    return np.vstack(rows)
