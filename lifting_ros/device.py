# SPDX-License-Identifier: Apache-2.0
"""Where networks run, and whether half precision pays there."""

from __future__ import annotations

import functools

import torch

from lifting_ros.config import ConfigError
from lifting_ros.memory import keep_freed_memory as keep_freed_memory


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one; ConfigError in one line for a device that does not exist."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device: expected auto, cpu, cuda or cuda:n, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device: {name} is not there ({torch.cuda.device_count()} CUDA devices)")
    return device


@functools.cache
def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is worth using: on GPUs (compute capability 8 on) and CPUs with the
    instructions for it."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    checks = (
        "_is_avx512_bf16_supported",
        "_is_amx_tile_supported",
    )  # absent from older releases, which then use float32
    return any(getattr(torch.cpu, check, bool)() for check in checks)
