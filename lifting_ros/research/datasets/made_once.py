# SPDX-License-Identifier: Apache-2.0
"""Packs that are made once: if several processes require the same one, one makes it and the others
wait."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lifting_ros.io.arrays import read_arrays


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """A lock per folder: one process is inside, the others wait.

    The lock is the file `.NAME.lock` beside the folder. It is released when its process ends, in
    whatever way. One process must not enter twice.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_once(
    folder: Path,
    version: int,
    write: Callable[[Path], None],
) -> None:
    """Make the pack in `folder` by write(folder), unless it is there, finished and of this
    version."""
    if version_of(folder) == version:
        return

    with alone(folder):
        if version_of(folder) != version:  # no other process made it meanwhile
            write(folder)


def version_of(folder: Path) -> int | None:
    """Version of the format of a pack: 1 if it states none, None without a finished pack; DataError
    if it cannot be read."""
    labels = folder / "labels.npz"
    if not labels.is_file():
        return None

    arrays = read_arrays(labels, {}, {"version": ()})
    return int(arrays.get("version", 1))
