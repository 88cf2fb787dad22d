# SPDX-License-Identifier: Apache-2.0
"""Photographs without people: `names.npz` beside `images.tar`."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from lifting_ros.data.arrays import read_arrays
from lifting_ros.data.keypoints2d import decode_rgb, read_tar
from lifting_ros.data.splits import every_ninth, rows_of


def read_negatives(folder: str | Path, side: str) -> list[np.ndarray]:
    """The photographs of a side (see `splits.rows_of`), each (H, W, 3) uint8 RGB; FileNotFoundError where a file is absent, ValueError in
    one line where one is damaged."""
    names = read_arrays(Path(folder) / "names.npz", {"names": ("N",)})["names"]
    chosen = [str(name) for name in names[rows_of(every_ninth(len(names)), side)]]
    files = read_tar(Path(folder) / "images.tar", chosen)
    return [decode_rgb(files[name], f"{folder}/{name}") for name in chosen]
