# SPDX-License-Identifier: Apache-2.0
"""Training in several processes, one per GPU, which `torchrun` starts on one or several machines.
Without it there is one process.

Only the first process writes states and results, so that the machines need no common disk.
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
"""How long a process waits for the others; they wait while one of them renders, cuts packs or
validates."""


def rank_and_world() -> tuple[int, int]:
    """Number of this process and of all processes; (0, 1) without torchrun."""
    rank = int(os.environ.get("RANK", 0))
    world = int(os.environ.get("WORLD_SIZE", 1))
    return rank, world


def join(device: str) -> torch.device:
    """Join the group of processes; returns the device of this one, each with a GPU of its own for
    `cuda`. ConfigError for a device that does not exist."""
    chosen = choose_device(device)
    _, world = rank_and_world()
    if world == 1:
        return chosen

    if chosen.type == "cuda" and chosen.index is None:
        chosen = choose_device(f"cuda:{os.environ['LOCAL_RANK']}")
    if distributed.is_initialized():
        return chosen

    backend = "gloo"
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)  # NCCL uses it for requests without a tensor
        backend = "nccl"
    distributed.init_process_group(backend, timeout=PATIENCE)
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

    result = None
    raised = None
    if distributed.get_rank() == 0:
        try:
            result = make()
        except ValueError as error:
            raised = error

    sent = [result, raised]
    distributed.broadcast_object_list(sent, 0)
    result, raised = sent
    if raised is not None:
        raise raised
    return result


def leave() -> None:
    """Leave the group of processes."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def in_step(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with batch norms over the crops of all processes, if they have GPUs.

    gloo does not support that: on CPUs each process normalises its own crops, and the running
    statistics of the first one are kept.
    """
    _, world = rank_and_world()
    if world == 1 or device.type != "cuda":
        return network
    return nn.SyncBatchNorm.convert_sync_batchnorm(network)


def shared(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with its gradients averaged over the processes."""
    _, world = rank_and_world()
    if world == 1:
        return network

    # Before the fusion joins, its weights have no gradient
    devices = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(network, devices, find_unused_parameters=True)
