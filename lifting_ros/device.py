# SPDX-License-Identifier: Apache-2.0
"""Where networks run: the device, its threads, and whether it is fast in half precision.

torch is imported when a function is called, not before.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lifting_ros.config import ConfigError

if TYPE_CHECKING:
    import torch

N = TypeVar("N", bound="torch.nn.Module")

_GPU_DRIVERS = ("libcuda.so.1", "libamdhip64.so")
"""Libraries without which torch finds no GPU."""

_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
"""Names of the instructions for bfloat16 in /proc/cpuinfo."""

_threads = 0
"""Number of threads that `use_threads` set; 0: not set."""


def choose_device(name: str) -> torch.device:
    """The device of that name; `auto` is CUDA where there is one, else the CPU.

    ConfigError for a device that does not exist.
    """
    import torch

    apply_threads()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    try:
        device = torch.device(name)
    except RuntimeError:
        device = None

    if device is None or device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device: expected auto, cpu, cuda or cuda:n, got {name!r}")

    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise ConfigError(f"device: {name} is not there ({count} CUDA devices)")

    return device


def is_cpu(name: str) -> bool:
    """Whether the device of that name is the CPU.

    ConfigError as for `choose_device`. torch is imported only where there may be a GPU.
    """
    if name == "cpu" or (name == "auto" and not _has_gpu_driver()):
        return True

    return choose_device(name).type == "cpu"


@functools.cache
def _has_gpu_driver() -> bool:
    for library in _GPU_DRIVERS:
        try:
            ctypes.CDLL(library)
            return True
        except OSError:
            pass

    return False


def use_threads(count: int = 0) -> None:
    """Let networks use `count` CPU threads in this process; 0: half the cores, and at most
    OMP_NUM_THREADS where that is set.

    For entry points, not for a library. The other half is for the detector's searches, the camera
    and other programs. On two cores with a camera process, two threads instead of one gave a
    quarter more images a second with `full`, but 6 ms more age (p99) with `lite`.
    """
    global _threads
    _threads = count or _half_the_cores()
    if "torch" in sys.modules:
        apply_threads()


def apply_threads() -> None:
    """Give torch the number of threads that `use_threads` set, if it did.

    For those who import torch: `use_threads` does not, because other runtimes run without it.
    """
    import torch

    if _threads:
        torch.set_num_threads(_threads)


def thread_count() -> int:
    """Number of CPU threads for networks: that of `use_threads`, else all cores."""
    return _threads or len(os.sched_getaffinity(0))


@functools.cache
def cpu_has_bf16() -> bool:
    """Whether the CPU has instructions for bfloat16, by what Linux says."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False

    return not _BF16_FLAGS.isdisjoint(text.split())


def _half_the_cores() -> int:
    half = max(1, len(os.sched_getaffinity(0)) // 2)
    limit = os.environ.get("OMP_NUM_THREADS", "")
    # OpenMP also takes a list, one number for each level of nesting; that is of no use here.
    if limit.isdecimal() and int(limit) > 0:
        return min(half, int(limit))

    return half


@functools.cache
def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32: on GPUs of compute capability 8.0 or higher, and on
    CPUs with instructions for it."""
    import torch

    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        return capability >= (8, 0)

    # Older releases of torch have no such checks; they use float32.
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        is_supported = getattr(torch.cpu, name, None)
        if is_supported is not None and is_supported():
            return True

    return False


def lay_out_channels_last(network: N) -> N:
    """Store the weights of `network` channels last, which convolutions are faster with; returns
    it."""
    import torch

    # torch's own type of `to` leaves this argument out.
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
