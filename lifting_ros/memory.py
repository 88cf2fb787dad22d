# SPDX-License-Identifier: Apache-2.0
"""Memory of the programs in this package. Nothing slow is imported here, because it is called
first."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
"""Options of mallopt, from malloc.h."""

_KEPT_BYTES = 1 << 29
"""Freed memory that is kept, and largest block that is served from it."""

_OLD_GLIBC_BYTES = 1 << 25
"""The same limit on the block for glibc before 2.35, which accepts no more."""


def keep_freed_memory() -> None:
    """Make the C library keep up to half a gigabyte of freed memory instead of returning it to the
    system.

    For the start of a program, not for a library. Every image and every crop allocates and frees
    megabytes, and the system clears each page that it hands out again. That takes 9 ms for a raw
    image of 1920x1080, and a third of the time of a crop. Does nothing without glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return

    if not mallopt(_MMAP_THRESHOLD, _KEPT_BYTES):
        mallopt(_MMAP_THRESHOLD, _OLD_GLIBC_BYTES)
    mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)


def return_freed_memory() -> None:
    """Return to the system, once, what has been freed so far.

    For the end of loading, whose garbage `keep_freed_memory` keeps: a hundred megabytes that
    nothing later has a use for. Does nothing without glibc.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
