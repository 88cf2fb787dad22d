# SPDX-License-Identifier: Apache-2.0
"""The state of an unfinished training as one safetensors file: a training that was killed goes on where it was."""
from __future__ import annotations

from pathlib import Path

import torch

from lifting_ros.core.checkpoint import CheckpointError, load_tensors, save_tensors


def save_state(path: Path, trainer) -> None:
    """Write step, weights, averaged weights and the optimiser's moments, whole or not at all."""
    tensors = {f"network.{k}": v for k, v in trainer.network.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in trainer.average.items()}
    for index, moments in trainer.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": torch.as_tensor(v) for k, v in moments.items()}
    save_tensors(path, {k: v.clone() for k, v in tensors.items()}, {"step": trainer.step})


def load_state(path: Path, trainer) -> None:
    """Put a saved state into a trainer of the same recipe; nothing happens where there is none. CheckpointError in one line for a file
    that cannot be read, or is the state of another network."""
    if not path.exists():
        return
    tensors, header = load_tensors(path)
    try:
        trainer.network.load_state_dict(_part(tensors, "network."))
        trainer.optimiser.load_state_dict(_optimiser_state(trainer.optimiser, _part(tensors, "optimiser.")))
        trainer.step = int(header["step"])
    except (IndexError, KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path}: the state of another training ({str(error).splitlines()[0]})") from None
    trainer.average = _part(tensors, "average.")


def _optimiser_state(optimiser: torch.optim.Optimizer, moments: dict[str, torch.Tensor]) -> dict:
    """The optimiser's state with moments by `index.name`, lying in memory as their parameters do."""
    state = optimiser.state_dict()
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for name, value in moments.items():
        index, key = name.split(".", 1)
        if value.ndim:  # the fused optimiser walks through memory: moments must lie as their parameter does (channels last)
            value = torch.empty_like(parameters[int(index)]).copy_(value)
        state["state"].setdefault(int(index), {})[key] = value
    return state


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
