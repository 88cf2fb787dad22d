# SPDX-License-Identifier: Apache-2.0
"""Packs that are made once: of several processes that want the same one, one makes it and the
others wait for it."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lifting_ros.io.arrays import read_arrays


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Only one process at a time is inside, for a folder; the others wait. The lock is the file
    `.NAME.lock` beside it, and goes with the process that holds it, however that ends. Not to be
    entered twice by one process."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_once(folder: Path, version: int, write: Callable[[Path], None]) -> None:
    """The pack in `folder`, made by write(folder) where it is not there yet, not finished, or of
    another version."""
    if version_of(folder) != version:
        with alone(folder):
            if version_of(folder) != version:  # nobody made it meanwhile
                write(folder)


def version_of(folder: Path) -> int | None:
    """The version of a pack's format: 1 where it tells none, None where there is no finished pack;
    DataError where it cannot be read."""
    labels = folder / "labels.npz"
    return (
        int(read_arrays(labels, {}, {"version": ()}).get("version", 1))
        if labels.is_file()
        else None
    )
