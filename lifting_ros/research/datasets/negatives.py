# SPDX-License-Identifier: Apache-2.0
"""Photographs without people: `names.npz` beside `images.tar`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lifting_ros.io.arrays import read_arrays
from lifting_ros.research.datasets.keypoints2d import decode_rgb, read_tar
from lifting_ros.research.datasets.splits import every_ninth, own_split, rows_of

WITH_PEOPLE = (
    "sample_object_6.jpg",
    "traffic_000477.jpg",
    "traffic_000754.jpg",
    "traffic_001574.jpg",
    "traffic_001607.jpg",
)
"""Photographs of the side `train` that do show people, seen by eye among the 20 likeliest alarms of
a cross-validated person score."""


def read_negatives(
    folder: str | Path,
    side: str,
) -> list[np.ndarray]:
    """The photographs of a side (see `splits.rows_of`), each (H, W, 3) uint8 RGB; FileNotFoundError
    if a file is absent, DataError in one line if one is damaged."""
    names, validation = negative_names(folder)
    rows = rows_of(validation, side)
    chosen = [str(name) for name in names[rows]]
    files = read_tar(Path(folder) / "images.tar", chosen)
    return [decode_rgb(files[name], f"{folder}/{name}") for name in chosen]


def negative_names(folder: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """File names (N,), and which of them are for validation (N,) bool: every ninth, or those of the
    array `validation`; errors as above."""
    path = Path(folder) / "names.npz"
    arrays = read_arrays(path, {"names": ("N",)}, {"validation": ("N",)})
    names = arrays["names"]
    validation = own_split(arrays, every_ninth(len(names)))
    return names, validation
