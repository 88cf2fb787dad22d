# SPDX-License-Identifier: Apache-2.0
"""Work over many poses, in cache-sized blocks on several threads, with reproducible results.

The bytes of a result do not depend on the number of threads. Matrix products are cut into slices so
small that BLAS runs each on one thread. BLAS threads would spin on a busy core, which can be twenty
times slower than a single thread, and would round differently for another number of threads. The
blocks are spread over threads instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import numpy as np

BLOCK = 4096
"""Rows per block: the unit of work of a thread."""

SLICE = 64
"""Rows per matrix product."""

T = TypeVar("T")


def in_blocks(
    work: Callable[[slice], T],
    count: int,
) -> list[T]:
    """Return the results of `work` on slices that cover range(count), in order.

    OMP_NUM_THREADS bounds the number of threads.
    """
    parts = []
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        parts.append(slice(start, stop))

    threads = min(_thread_count(), len(parts))
    if threads < 2:
        return [work(part) for part in parts]

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))


def summed(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Return the sum of arrays of one shape, added in their order."""
    return np.asarray(sum(blocks))


def _thread_count() -> int:
    """Return OMP_NUM_THREADS, or the number of CPUs if it is not a positive number."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted):
        return int(wanted)

    return os.cpu_count() or 1


def product(
    rows: np.ndarray,
    matrix: np.ndarray,
) -> np.ndarray:
    """Return rows (N, D) @ matrix (D, K), computed in slices."""
    even = len(rows) - len(rows) % SLICE
    columns = matrix.shape[1]
    result = np.empty((len(rows), columns))

    whole = _sliced(rows, even)
    target = _sliced(result, even)
    np.matmul(whole, matrix, out=target)

    np.matmul(rows[even:], matrix, out=result[even:])
    return result


def crossed(
    left: np.ndarray,
    right: np.ndarray,
) -> np.ndarray:
    """Return left (N, D).T @ right (N, K), computed in slices: (D, K)."""
    even = len(left) - len(left) % SLICE
    transposed = _sliced(left, even).transpose(0, 2, 1)
    products = transposed @ _sliced(right, even)
    rest = left[even:].T @ right[even:]

    return products.sum(0) + rest


def _sliced(
    rows: np.ndarray,
    even: int,
) -> np.ndarray:
    """Return a view (-1, SLICE, D) of the first `even` rows (N, D)."""
    columns = rows.shape[1]
    whole = rows[:even]
    return whole.reshape(-1, SLICE, columns)


def in_parallel(
    function: Callable,
    work: list[tuple],
    least: int,
) -> None:
    """Call `function` with each of the argument tuples; the first argument is a slice.

    All CPU cores are used, the largest slices first, if the slices cover at least `least` items in
    total.
    """
    total = sum(_slice_length(arguments) for arguments in work)
    if len(work) < 2 or total < least:
        for arguments in work:
            function(*arguments)
        return

    pool = _pool()
    ordered = sorted(work, key=_slice_length, reverse=True)
    pending = [pool.submit(function, *arguments) for arguments in ordered]
    for done in pending:
        done.result()


def _slice_length(arguments: tuple) -> int:
    part = arguments[0]
    return part.stop - part.start


@cache
def _pool() -> ThreadPoolExecutor:
    """Return the thread pool that all calls share."""
    cores = len(os.sched_getaffinity(0))
    return ThreadPoolExecutor(cores, thread_name_prefix="lifting")
