# SPDX-License-Identifier: Apache-2.0
"""Training in several processes, one a GPU, as `torchrun` starts them; alone where it did not."""
from __future__ import annotations

import os
from contextlib import contextmanager

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


def rank_and_world() -> tuple[int, int]:
    """This process' number and how many there are: (0, 1) without torchrun."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def join(device: str) -> torch.device:
    """Meet the other processes; returns the device of this one (each its own GPU where `device` is cuda)."""
    if rank_and_world()[1] == 1:
        return torch.device(device)
    chosen = torch.device(device, int(os.environ["LOCAL_RANK"])) if device == "cuda" else torch.device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return chosen


@contextmanager
def first_alone():
    """What stands inside is done by the first process before the others begin: making files that they then only read."""
    rank, world = rank_and_world()
    if rank > 0:
        distributed.barrier()
    yield
    if rank == 0 and world > 1:
        distributed.barrier()


def leave() -> None:
    """Part from the other processes."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def shared(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with its gradients averaged over the processes; batch norm over all of them where they have GPUs."""
    if rank_and_world()[1] == 1:
        return network
    # weights of the fusion have no gradient before it joins
    return DistributedDataParallel(network, [device.index] if device.type == "cuda" else None, find_unused_parameters=True)
