# SPDX-License-Identifier: Apache-2.0
"""Training in several processes, one per GPU, started by `torchrun` on one machine or several; a
single process without it.

Only the first process writes states and results: the machines need no common disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from lifting_ros.device import choose_device

T = TypeVar("T")

PATIENCE = timedelta(hours=24)
"""How long a process waits for another: the others wait while one renders, cuts packs or
validates."""


def rank_and_world() -> tuple[int, int]:
    """This process' number and how many there are: (0, 1) without torchrun."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def join(device: str) -> torch.device:
    """Meet the other processes; returns the device of this one (each its own GPU where `device` is
    cuda). ConfigError for one that does not exist."""
    chosen = choose_device(device)
    if rank_and_world()[1] == 1:
        return chosen

    if chosen.type == "cuda" and chosen.index is None:
        chosen = choose_device(f"cuda:{os.environ['LOCAL_RANK']}")

    if not distributed.is_initialized():
        if chosen.type == "cuda":
            # what NCCL is asked without a tensor at hand happens there
            torch.cuda.set_device(chosen)

        distributed.init_process_group(
            "nccl" if chosen.type == "cuda" else "gloo", timeout=PATIENCE
        )

    return chosen


@contextmanager
def first_alone():
    """Run the body in the first process of each machine before the others, which then only read
    the files that it made."""
    first = int(os.environ.get("LOCAL_RANK", 0)) == 0
    several = rank_and_world()[1] > 1
    if not first:
        distributed.barrier()

    yield
    if first and several:
        distributed.barrier()


def from_first(make: Callable[[], T]) -> T:
    """The result of make() in the first process, sent to all; a ValueError is raised in all."""
    if not distributed.is_initialized():
        return make()

    told = [None, None]

    if distributed.get_rank() == 0:
        try:
            told[0] = make()
        except ValueError as error:
            told[1] = error

    distributed.broadcast_object_list(told, 0)
    if told[1] is not None:
        raise told[1]

    return told[0]


def leave() -> None:
    """Leave the group of processes."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def in_step(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with batch norms over the crops of all processes, if they have GPUs.

    gloo does not support that: on CPUs each process normalises its own crops, and the running
    statistics of the first one are kept.
    """
    alone = rank_and_world()[1] == 1 or device.type != "cuda"
    return network if alone else nn.SyncBatchNorm.convert_sync_batchnorm(network)


def shared(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with its gradients averaged over the processes."""
    if rank_and_world()[1] == 1:
        return network

    # weights of the fusion have no gradient before it joins
    return DistributedDataParallel(
        network, [device.index] if device.type == "cuda" else None, find_unused_parameters=True
    )
