# SPDX-License-Identifier: Apache-2.0
"""Locks between processes, by name, that end with the process that holds them."""

from __future__ import annotations

import errno
import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""Errors of file systems without locks, such as Lustre mounted without `flock`."""


@contextmanager
def locked(path: Path, name: str) -> Iterator[None]:
    """Hold the lock `name` of the file `path` for the block; waits while another process holds it.

    A killed process holds no lock. A process can hold one lock of a file at a time. Does nothing on
    a file system without locks. OSError where the file cannot be written.
    """
    # Each name locks a byte of its own, which need not exist.
    place = int.from_bytes(
        hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:7], "big"
    )
    with path.open("ab") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX, 1, place)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield
