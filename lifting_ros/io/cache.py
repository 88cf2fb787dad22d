# SPDX-License-Identifier: Apache-2.0
"""Files that are computed once per user and computer: networks converted for a runtime."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lifting_ros.io.atomic import discard, replacing_folder

KEPT = 16
"""Number of folders that are kept; the ones used longest ago are removed."""


def cache_folder() -> Path:
    """The package's folder in the user's cache: in XDG_CACHE_HOME, else in ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "lifting_ros"


@contextmanager
def cached_folder(name: str, fill: Callable[[Path], None]) -> Iterator[Path]:
    """Yield a folder of that name in the cache that `fill` has filled, now or in an earlier run.

    It appears there as a whole, so several processes may do this at once. Where the cache cannot be
    written, the folder is a temporary one and is removed at the end of the block.
    """
    folder = cache_folder() / name
    try:
        if not folder.is_dir():
            _make(folder, fill)
        os.utime(folder)
    except OSError:  # a read-only home, a full disk, another process that was faster
        pass

    if folder.is_dir():
        yield folder
        return

    with tempfile.TemporaryDirectory(prefix="lifting_ros.") as work:
        fill(Path(work))
        yield Path(work)


def _make(folder: Path, fill: Callable[[Path], None]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(folder) as partial:
        fill(partial)

    complete = [path for path in folder.parent.iterdir() if not path.name.startswith(".")]
    by_age = sorted(complete, key=lambda path: path.stat().st_mtime)
    for old in by_age[:-KEPT]:
        discard(old)
