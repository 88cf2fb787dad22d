# SPDX-License-Identifier: Apache-2.0
"""Compilation of small numerical loops with numba.

A lift takes a few thousand multiplications, which is less than the overhead of one call of an array
library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])

# No flag assumes that values are finite, so NaN and infinity keep their meaning.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "arcp", "nsz"},
}


def compiled(function: F) -> F:
    """Return `function` compiled at its first call; it releases the interpreter's lock.

    The result is cached on disk where a folder can be written.
    """
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no cache folder can be written, as in a read-only container
        return numba.njit(**_OPTIONS)(function)
