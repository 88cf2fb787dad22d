# SPDX-License-Identifier: Apache-2.0
"""Reading .npz and .npy files without pickles: what is damaged, foreign or of another shape is told
in one line that names the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

Shapes = Mapping[str, tuple[int | str, ...]]
"""Array name -> its shape; a length given as a letter is any, and the same wherever the letter
stands."""


def read_arrays(
    path: str | Path, expected: Shapes, optional: Shapes | None = None
) -> dict[str, np.ndarray]:
    """All arrays of an .npz; those `expected` must be there, those `optional` may be.

    FileNotFoundError where there is no file; ValueError in one line that names it and the array
    that is missing or of another shape.
    """
    try:
        with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (
        Exception
    ) as error:  # zip, zlib and numpy each raise their own kinds on a damaged or foreign file
        raise ValueError(f"{path}: not a readable .npz ({' '.join(str(error).split())})") from None
    missing = [name for name in expected if name not in arrays]
    if missing:
        raise ValueError(f"{path}: {missing[0]} is missing")
    lengths: dict[str, int] = {}
    for name, shape in {**expected, **(optional or {})}.items():
        if name in arrays:
            check_shape(arrays[name], shape, lengths, f"{path}: {name}")
    return arrays


def check_shape(
    array: np.ndarray, shape: tuple[int | str, ...], lengths: dict[str, int], what: str
) -> None:
    """ValueError that begins with `what` for an array of another shape; new letters of `shape` are
    kept in `lengths`."""
    wanted = [lengths.get(side, side) if isinstance(side, str) else side for side in shape]
    if array.ndim != len(wanted) or any(
        isinstance(side, int) and side != got for side, got in zip(wanted, array.shape)
    ):
        inside = ", ".join(map(str, wanted)) + ("," if len(wanted) == 1 else "")
        raise ValueError(f"{what}: expected ({inside}), got {array.shape}")
    lengths.update(
        {letter: got for letter, got in zip(shape, array.shape) if isinstance(letter, str)}
    )


def read_images(path: str | Path) -> np.ndarray:
    """The pictures (N, H, W, 3) uint8 RGB of an .npy, memory-mapped; errors as `read_arrays`."""
    try:
        images = np.lib.format.open_memmap(
            path, mode="r"
        )  # of bytes and numbers alone, never of pickles
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except Exception as error:  # as above
        raise ValueError(f"{path}: not a readable .npy ({' '.join(str(error).split())})") from None
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise ValueError(
            f"{path}: expected pictures (N, H, W, 3) of uint8, got {images.shape} of {images.dtype}"
        )
    return images
