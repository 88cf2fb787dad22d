# SPDX-License-Identifier: Apache-2.0
"""Loops over a few numbers, compiled for the CPU by numba: a lift is some thousand products, less
than one call of an array library."""

from __future__ import annotations

import numba


def compiled(function):
    """Compile at the first call and keep the result on disk; the interpreter's lock is released
    while it runs."""
    options = {
        "nogil": True,
        "error_model": "numpy",
        "fastmath": {"contract", "reassoc", "arcp", "nsz"},
    }  # NaN keeps its meaning
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder can be written, as in a read-only container
        return numba.njit(**options)(function)
