# SPDX-License-Identifier: Apache-2.0
"""Work over many poses in blocks that stay in the cache, on as many threads as there are, with the
same bytes on any number.

The matrix products are cut so small that BLAS does not spread one over threads: its threads spin
where a core is busy elsewhere, twenty times slower than one, and round differently on another
number of them. The blocks are spread over threads instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import numpy as np

BLOCK = 4096
SLICE = 64
T = TypeVar("T")


def in_blocks(work: Callable[[slice], T], count: int) -> list[T]:
    """`work` on slices that cover range(count), in their order whoever did them; OMP_NUM_THREADS
    bounds the threads."""
    parts = [slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]
    threads = min(_threads(), len(parts))
    if threads < 2:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))


def _threads() -> int:
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdigit() and int(wanted) else os.cpu_count() or 1


def product(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """rows (N, D) @ matrix (D, K), in slices."""
    even = len(rows) - len(rows) % SLICE
    result = np.empty((len(rows), matrix.shape[1]))
    np.matmul(
        rows[:even].reshape(-1, SLICE, rows.shape[1]),
        matrix,
        out=result[:even].reshape(-1, SLICE, matrix.shape[1]),
    )
    np.matmul(rows[even:], matrix, out=result[even:])
    return result


def crossed(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left (N, D).T @ right (N, K), in slices: (D, K)."""
    even = len(left) - len(left) % SLICE
    sliced = left[:even].reshape(-1, SLICE, left.shape[1]).transpose(0, 2, 1) @ right[
        :even
    ].reshape(-1, SLICE, right.shape[1])
    return sliced.sum(0) + left[even:].T @ right[even:]


def in_parallel(function: Callable, work: list[tuple], least: int) -> None:
    """Call `function` with each of the arguments, slices first, the largest first, on every core
    where they come to `least` or more."""
    size = lambda arguments: arguments[0].stop - arguments[0].start  # noqa: E731
    if len(work) < 2 or sum(map(size, work)) < least:
        for arguments in work:
            function(*arguments)
        return
    for done in [
        _pool().submit(function, *arguments) for arguments in sorted(work, key=size, reverse=True)
    ]:
        done.result()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="lifting")
