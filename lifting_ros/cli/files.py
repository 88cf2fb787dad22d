# SPDX-License-Identifier: Apache-2.0
"""Reading and writing of the command line's files: .npz without pickles, JSON, whole or not at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lifting_ros.cli.main import CommandError


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz; CommandError in one line where it cannot be read."""
    try:
        with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise CommandError(f"{path}: no such file") from None
    except Exception as error:  # zip, zlib and numpy each raise their own kinds on a damaged file
        raise CommandError(
            f"{path}: not a readable .npz ({' '.join(str(error).split())})"
        ) from None


def write_npz(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays beside `path`, then rename."""
    with written_beside(Path(path)) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)


def write_json(path: str | Path, figures: dict) -> None:
    """Write figures beside `path`, then rename; null where nothing was measured."""
    with written_beside(Path(path)) as partial:
        partial.write_text(
            json.dumps(_known(figures), indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place at the end; CommandError where there is no such
    folder."""
    if not path.parent.is_dir():
        raise CommandError(f"{path}: the folder does not exist")
    beside = path.with_name(path.name + ".partial")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _known(value):
    """The same with None for numbers that are not finite, at any depth."""
    if isinstance(value, dict):
        return {name: _known(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_known(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def numbers(
    arrays: dict[str, np.ndarray], name: str, shape: tuple, source: str | Path
) -> np.ndarray | None:
    """Array `name` as float64 of `shape` (None: any length), or None where it is absent;
    CommandError naming what is wrong."""
    if name not in arrays:
        return None
    value = arrays[name]
    if not np.issubdtype(value.dtype, np.number) or np.iscomplexobj(value):
        raise CommandError(f"{source}: {name}: expected numbers, got {value.dtype}")
    if value.ndim != len(shape) or any(
        want is not None and want != got for want, got in zip(shape, value.shape, strict=True)
    ):
        wanted = ", ".join("N" if s is None else str(s) for s in shape)
        raise CommandError(f"{source}: {name}: expected ({wanted}), got {value.shape}")
    return value.astype(np.float64)
