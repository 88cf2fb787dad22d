# SPDX-License-Identifier: Apache-2.0
"""Compilation of small numerical loops with numba.

A lift takes a few thousand multiplications, which is less than the overhead of one call of an array
library.

Compiling is slow, and happens once per installation: this module's logger says so while it lasts.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import time
from collections.abc import Callable
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any, TypeVar

import numba
import numpy as np
from numba.core import event
from numba.core.caching import FunctionCache

F = TypeVar("F", bound=Callable[..., Any])
_log = logging.getLogger(__name__)

# No flag assumes that values are finite, so NaN and infinity keep their meaning.
#
# A function becomes part of those that call it. Otherwise each caller would bring its own optimised
# copy of it, of which the linker takes the first that is loaded: the last bits would depend on what
# ran before, and on whether it was compiled in this process or loaded. It is also compiled once
# instead of twice. Each place of a call is compiled by itself: call large functions in one place.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "arcp", "nsz"},
    "inline": "always",
}


def compiled(function: F) -> F:
    """Return `function` compiled at its first call; it releases the interpreter's lock.

    The result is cached on disk where a folder can be written.
    """
    try:
        loop = numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no cache folder can be written, as in a read-only container
        warn_of_no_cache()
        return numba.njit(**_OPTIONS)(function)

    loop._cache = _Cache(function)
    return loop


class _Cache(FunctionCache):
    """numba's cache on disk, which also knows what else a compiled function consists of.

    numba itself looks at the function's own bytecode and the age of its file. But the functions
    that it calls and the constants that it reads, which may be in other files, become part of it,
    and so do the options.
    """

    def _index_key(self, sig, codegen):
        content = hashlib.sha256()
        for name, value in sorted(_OPTIONS.items()):
            stated = sorted(value) if isinstance(value, set) else value
            content.update(f"{name} {stated}".encode())
        _add_content(self._py_func, content, set())
        return *super()._index_key(sig, codegen), content.hexdigest()


def _add_content(function: FunctionType, content, added: set[FunctionType]) -> None:
    """Add the bytecode of a function, and of those that it calls, to the hash `content`; also the
    constants that they read."""
    if function in added:
        return

    added.add(function)
    _add_code(function.__code__, content)
    for name, value in sorted(inspect.getclosurevars(function).globals.items()):
        content.update(name.encode())
        if hasattr(value, "py_func"):
            _add_content(value.py_func, content, added)
        elif hasattr(value, "_fields"):
            content.update(f"{value._fields} {value!r}".encode())
        elif isinstance(value, np.ndarray):
            content.update(f"{value.dtype} {value.shape}".encode() + value.tobytes())
        elif isinstance(value, (bool, int, float, np.generic, tuple)):
            content.update(repr(value).encode())


def _add_code(code: CodeType, content) -> None:
    content.update(code.co_code)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _add_code(constant, content)
        else:
            content.update(repr(constant).encode())


@lru_cache(maxsize=1)
def warn_of_no_cache() -> None:
    """Log, once, that nothing that is compiled will be kept."""
    _log.warning(
        "numerical loops will be compiled at every start, as their folder cannot be written;"
        " set NUMBA_CACHE_DIR to one that can"
    )


@compiled
def assign(out, values):
    """Write `values` (n,) to `out` (n,).

    As `out[:] = values`, for which numba also compiles the text of an error: seconds of the first
    start.
    """
    for k in range(len(out)):
        out[k] = values[k]


class CompilationLog(event.Listener):
    """Logs, from QUIET_S seconds of compilation on, that and what is compiled.

    numba calls it under its compiler lock, for what is compiled and not for what is loaded from the
    cache; a function within the compilation of another one that calls it.
    """

    QUIET_S = 1.0
    """A loop or two need no line."""
    PERIOD_S = 5.0
    """Shortest time between two lines."""

    def __init__(self, say: Callable[[str], None], now: Callable[[], float] = time.monotonic):
        self._say = say
        self._now = now
        self.begun = 0
        """Compilations that have begun."""
        self._functions = 0
        self._depth = 0
        self._before_s = 0.0
        """Time that compilations took which have ended."""
        self._start_s = 0.0
        self._next_line_s = self.QUIET_S

    def on_start(self, event: event.Event) -> None:
        """A compilation begins."""
        self.begun += 1
        if self._depth == 0:
            self._start_s = self._now()
        self._depth += 1
        self._report()

    def on_end(self, event: event.Event) -> None:
        """A compilation has ended."""
        self._functions += 1
        self._report()
        self._depth -= 1
        if self._depth == 0:
            self._before_s += self._now() - self._start_s

    def _report(self) -> None:
        spent_s = self._before_s + self._now() - self._start_s
        if spent_s < self._next_line_s:
            return
        self._next_line_s = spent_s + self.PERIOD_S
        self._say(
            "compiling numerical loops, which takes up to a minute, once per installation:"
            f" {self._functions} functions in {spent_s:.0f} s so far"
        )


_compilations = CompilationLog(_log.info)
event.register("numba:compile", _compilations)


def compilations_begun() -> int:
    """Return how many compilations have begun in this process; what is loaded from the cache does
    not count."""
    return _compilations.begun
