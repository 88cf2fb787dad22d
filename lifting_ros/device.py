# SPDX-License-Identifier: Apache-2.0
"""Where networks run: the device, its threads, and whether it is fast in half precision.

torch is imported when a function is called, not before.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, TypeVar

from lifting_ros.config import ConfigError

if TYPE_CHECKING:
    import torch

N = TypeVar("N", bound="torch.nn.Module")


def choose_device(name: str) -> torch.device:
    """The device of that name; `auto` is CUDA where there is one, else the CPU.

    ConfigError for a device that does not exist.
    """
    import torch

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


def use_threads(count: int = 0) -> None:
    """Let torch use `count` CPU threads in this process; 0: half the cores, and at most
    OMP_NUM_THREADS where that is set.

    For entry points, not for a library. Threads that wait for a core wait for each other: on two
    cores with a camera process, two threads halve the frame rate.
    """
    import torch

    torch.set_num_threads(count or _half_the_cores())


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
