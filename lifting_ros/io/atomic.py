# SPDX-License-Identifier: Apache-2.0
"""Files that are written as a whole or not at all."""

from __future__ import annotations

import os
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

    if keep_suffix:
        partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    else:
        partial = path.with_name(f"{path.name}.partial")

    try:
        yield partial
        if partial.exists():
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
