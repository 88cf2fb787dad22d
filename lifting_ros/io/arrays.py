# SPDX-License-Identifier: Apache-2.0
"""Reading and writing .npz files, and reading .npy files, without pickles.

A file that is damaged, foreign or of another shape is reported in one line that names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lifting_ros.errors import DataError, one_line
from lifting_ros.io.atomic import replacing

Shapes = Mapping[str, tuple[int | str, ...]]
"""Array name -> its shape. A letter stands for any length, the same one wherever it is used."""


def write_npz(path: str | Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays as a compressed .npz, whole or not at all."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz.

    FileNotFoundError where there is no file; DataError where it cannot be read.
    """
    try:
        with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except Exception as error:  # zip, zlib and numpy each raise their own kinds on a damaged file
        raise DataError(f"{path}: not a readable .npz ({one_line(error)})") from None


def read_arrays(
    path: str | Path, expected: Shapes, optional: Shapes | None = None
) -> dict[str, np.ndarray]:
    """All arrays of an .npz; those `expected` must be there, those `optional` may be.

    FileNotFoundError where there is no file; DataError where it cannot be read, or where an array
    is missing or of another shape.
    """
    arrays = read_npz(path)
    for name in expected:
        if name not in arrays:
            raise DataError(f"{path}: {name} is missing")

    lengths: dict[str, int] = {}
    for name, shape in {**expected, **(optional or {})}.items():
        if name in arrays:
            check_shape(arrays[name], shape, lengths, f"{path}: {name}")

    return arrays


def check_shape(
    array: np.ndarray, shape: tuple[int | str, ...], lengths: dict[str, int], what: str
) -> None:
    """Raise DataError, with a text that begins with `what`, for an array of another shape.

    lengths: the lengths that letters stand for so far; those of new letters are added.
    """
    # Lengths, and letters that stand for none yet
    wanted: list[int | str] = []
    for side in shape:
        known = lengths.get(side, side) if isinstance(side, str) else side
        wanted.append(known)

    fits = array.ndim == len(wanted)
    for side, length in zip(wanted, array.shape):
        fits = fits and (isinstance(side, str) or side == length)
    if not fits:
        inside = ", ".join(map(str, wanted))
        if len(wanted) == 1:
            inside += ","
        raise DataError(f"{what}: expected ({inside}), got {array.shape}")

    for side, length in zip(shape, array.shape):
        if isinstance(side, str):
            lengths[side] = length


def numbers(
    arrays: Mapping[str, np.ndarray],
    name: str,
    shape: tuple[int | None, ...],
    source: str | Path,
) -> np.ndarray | None:
    """Array `name` as float64, or None where it is absent.

    DataError where it holds anything but real numbers, or is not of `shape` (None: any length).
    """
    if name not in arrays:
        return None

    return as_numbers(arrays[name], shape, f"{source}: {name}")


def as_numbers(value: np.ndarray, shape: tuple[int | None, ...], what: str) -> np.ndarray:
    """`value` as float64; DataError as `numbers`, with a text that begins with `what`."""
    if not np.issubdtype(value.dtype, np.number) or np.iscomplexobj(value):
        raise DataError(f"{what}: expected numbers, got {value.dtype}")

    fits = value.ndim == len(shape)
    for side, length in zip(shape, value.shape):
        fits = fits and side in (None, length)
    if not fits:
        sides = ["N" if side is None else str(side) for side in shape]
        wanted = ", ".join(sides)
        raise DataError(f"{what}: expected ({wanted}), got {value.shape}")

    return value.astype(np.float64)


def read_images(path: str | Path) -> np.ndarray:
    """Pictures (N, H, W, 3) uint8 RGB of an .npy, memory-mapped; errors as `read_arrays`."""
    try:
        # A memory map is of numbers alone, never of pickles.
        images = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except Exception as error:  # numpy raises several kinds on a damaged file
        raise DataError(f"{path}: not a readable .npy ({one_line(error)})") from None

    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise DataError(
            f"{path}: expected pictures (N, H, W, 3) of uint8, got {images.shape} of {images.dtype}"
        )

    return images
