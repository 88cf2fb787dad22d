# SPDX-License-Identifier: Apache-2.0
"""Files and folders that are written as a whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path, keep_suffix: bool = False) -> Iterator[Path]:
    """Yield a path beside `path` to write to; at the end of the block that file replaces `path`.

    Where the block raises, `path` stays as it was and nothing is left beside it. Where the block
    writes nothing, nothing is replaced.

    keep_suffix: the name to write to ends as `path` does, for writers that choose the format by it.

    FileNotFoundError where the folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder does not exist")

    with beside(path, keep_suffix) as partial:
        yield partial
        if partial.exists():
            os.replace(partial, path)


@contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside `path` to fill; at the end of the block it takes that place.

    Where the block raises, nothing is left. An empty folder may be at `path`; FileExistsError at
    the end of the block where anything else is.
    """
    path = Path(path).absolute()
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as work:
        partial = Path(work) / path.name
        partial.mkdir()
        yield partial

        try:
            os.replace(partial, path)
        except OSError as error:
            raise FileExistsError(
                f"{path}: cannot be written ({error.strerror}); expected a new or empty folder"
            ) from None


@contextmanager
def beside(path: Path, keep_suffix: bool = False) -> Iterator[Path]:
    """Yield a free path beside `path`, for a file or a folder; what is there at the end of the
    block is removed. `keep_suffix` as for `replacing`."""
    partial = partial_path(path, keep_suffix)
    discard(partial)
    try:
        yield partial
    finally:
        discard(partial)


def partial_path(path: Path, keep_suffix: bool = False) -> Path:
    """Where something is written until it is complete; `keep_suffix` as for `replacing`."""
    if keep_suffix:
        return path.with_name(f"{path.stem}.partial{path.suffix}")
    return path.with_name(f"{path.name}.partial")


def discard(path: Path) -> None:
    """Remove a file, or a folder with what is in it; nothing where there is neither."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
