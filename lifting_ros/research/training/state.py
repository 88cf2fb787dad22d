# SPDX-License-Identifier: Apache-2.0
"""Saves and restores the state of a training as one safetensors file, so that it can be resumed.

The file's header has the recipe. A resumed training must have the same recipe, except for what
MAY_CHANGE names; `samples`, for example: a training can be made longer until its rate falls.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch

from lifting_ros.io.checkpoint import CheckpointError, load_tensors, reason, save_tensors
from lifting_ros.research.training import distributed

MAY_CHANGE = {
    "samples",
    "decay",
    "shares",
    "rendered",
    "rooms",
    "network.noise_scale",
    "network.noise_blur",
    "network.noise_floor",
}
"""Values of the recipe that a resumed training may change: length, data, and what is fitted after
the training."""
_LENGTH = ("samples", "decay")


def save_state(path: Path, trainer) -> None:
    """Write step, recipe, weights, averaged weights and the optimiser's moments, atomically."""
    tensors = {}
    for name, value in trainer.network.state_dict().items():
        tensors[f"network.{name}"] = value.clone()
    for name, value in trainer.average.items():
        tensors[f"average.{name}"] = value.clone()
    for index, moments in trainer.optimiser.state_dict()["state"].items():
        for name, value in moments.items():
            tensors[f"optimiser.{index}.{name}"] = torch.as_tensor(value).clone()

    header = {"step": trainer.step, "recipe": dataclasses.asdict(trainer.config)}
    save_tensors(path, tensors, header)


def load_state(path: Path, trainer, start: bool = False) -> None:
    """Restore a saved state into a trainer of the same recipe; does nothing if there is no file.

    Of several processes only the first reads the file. start: the state is that of another
    training, whose recipe may differ in all but the network; moments of another kind of optimiser
    are dropped. CheckpointError in one line for a file that cannot be read, is the state of another
    training, or is past the end of the recipe.
    """
    found = distributed.from_first(lambda: load_tensors(path) if start or path.exists() else None)
    if found is None:
        return

    tensors, header = found
    if "step" not in header:
        raise CheckpointError(f"{path}: not the state of a training")

    step = int(header["step"])
    moments = _part(tensors, "optimiser.")
    if step > trainer.config.steps:
        raise CheckpointError(
            f"{path}: the state after {step} steps; the recipe ends after {trainer.config.steps}"
        )

    if not start:
        # states of earlier versions keep none
        _refuse_other(path, step, _flat(header.get("recipe", {})), trainer.config)

    try:
        trainer.network.load_state_dict(_part(tensors, "network."))
        if not start or _of_sgd(moments) == isinstance(trainer.optimiser, torch.optim.SGD):
            trainer.optimiser.load_state_dict(_optimiser_state(trainer.optimiser, moments))
        for name, value in _part(tensors, "average.").items():
            trainer.average[name].copy_(value)
    except (IndexError, KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path}: the state of another training ({reason(error)})") from None

    trainer.step = step


def _refuse_other(path: Path, step: int, kept: dict, config) -> None:
    """CheckpointError if the saved recipe differs in a value that both have and that MAY_CHANGE
    does not name, or if the length changes after the learning rate began to fall."""
    asked = _flat(json.loads(json.dumps(dataclasses.asdict(config))))  # tuples become lists
    before = dataclasses.replace(
        config, **{name: kept[name] for name in _LENGTH if name in kept and name in asked}
    )
    # without a level part the rate falls from the start
    level = min(before.level_until, config.level_until)

    for name in [name for name in asked if name in kept and kept[name] != asked[name]]:
        told = f"{name}: {kept[name]}, the recipe says {asked[name]}"
        if name not in MAY_CHANGE:
            raise CheckpointError(
                f"{path}: the state of another training ({told}); it wants that recipe, or this "
                "one another folder"
            )
        if name in _LENGTH and step > level:
            raise CheckpointError(
                f"{path}: its rate falls already ({told}); go on from a level state (--start) in "
                "another folder"
            )


def _flat(values: dict, prefix: str = "") -> dict:
    """Nested mappings as one, keys joined by dots."""
    flat = {}
    for key, value in values.items():
        flat |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )

    return flat


def _of_sgd(moments: dict[str, torch.Tensor]) -> bool:
    return any(name.endswith(".momentum_buffer") for name in moments)


def _optimiser_state(optimiser: torch.optim.Optimizer, moments: dict[str, torch.Tensor]) -> dict:
    """The optimiser's state with moments by `index.name`, in their parameters' memory format."""
    state = optimiser.state_dict()
    parameters = [p for group in optimiser.param_groups for p in group["params"]]

    for name, value in moments.items():
        index, key = name.split(".", 1)
        # the fused optimiser walks through memory: moments must lie as their parameter does
        # (channels last)
        if value.ndim:
            value = torch.empty_like(parameters[int(index)]).copy_(value)

        state["state"].setdefault(int(index), {})[key] = value

    return state


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
