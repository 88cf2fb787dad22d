# SPDX-License-Identifier: Apache-2.0
"""Saves and restores the state of a training as one safetensors file, so that it can be resumed.

The file's header has the recipe. A resumed training must have the same recipe, except for what
MAY_CHANGE names: for example, a training can be made longer until its rate falls (`samples`).
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
"""Values of the recipe that may differ in a resumed training: length, data, and what is fitted
after the training."""

_LENGTH = ("samples", "decay")
"""Values that set the length of the training."""


def save_state(path: Path, trainer) -> None:
    """Write step, recipe, weights, averaged weights and the optimiser's moments, atomically."""
    values = {}
    for name, value in trainer.network.state_dict().items():
        values[f"network.{name}"] = value
    for name, value in trainer.average.items():
        values[f"average.{name}"] = value
    for index, moments in trainer.optimiser.state_dict()["state"].items():
        for name, value in moments.items():
            values[f"optimiser.{index}.{name}"] = torch.as_tensor(value)

    tensors = {name: value.clone() for name, value in values.items()}
    header = {"step": trainer.step, "recipe": dataclasses.asdict(trainer.config)}
    save_tensors(path, tensors, header)


def load_state(
    path: Path,
    trainer,
    start: bool = False,
) -> None:
    """Restore a saved state into a trainer of the same recipe; does nothing if there is no file.

    Of several processes only the first reads the file. start: the state is that of another
    training, whose recipe may differ except for the network; moments of another kind of optimiser
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
    if step > trainer.config.steps:
        raise CheckpointError(
            f"{path}: the state after {step} steps; the recipe ends after {trainer.config.steps}"
        )

    if not start:
        kept = _flat(header.get("recipe", {}))  # states of earlier versions have none
        _refuse_other(path, step, kept, trainer.config)

    try:
        _restore(trainer, tensors, start)
    except (IndexError, KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path}: the state of another training ({reason(error)})") from None

    trainer.step = step


def _restore(
    trainer,
    tensors: dict[str, torch.Tensor],
    start: bool,
) -> None:
    """Copy weights, moments and averaged weights into the trainer."""
    trainer.network.load_state_dict(with_prefix(tensors, "network."))

    moments = with_prefix(tensors, "optimiser.")
    is_sgd = isinstance(trainer.optimiser, torch.optim.SGD)
    if not start or _of_sgd(moments) == is_sgd:
        state = _optimiser_state(trainer.optimiser, moments)
        trainer.optimiser.load_state_dict(state)

    for name, value in with_prefix(tensors, "average.").items():
        trainer.average[name].copy_(value)


def _refuse_other(
    path: Path,
    step: int,
    kept: dict,
    config,
) -> None:
    """CheckpointError if the saved recipe `kept` differs in a value that both have and that
    MAY_CHANGE does not name, or in its length after the learning rate began to fall."""
    asked = _flat(json.loads(json.dumps(dataclasses.asdict(config))))  # tuples become lists
    common = [name for name in asked if name in kept]
    length = {name: kept[name] for name in _LENGTH if name in common}
    before = dataclasses.replace(config, **length)
    level = min(before.level_until, config.level_until)

    for name in common:
        if kept[name] == asked[name]:
            continue

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
        name = prefix + key
        if isinstance(value, dict):
            flat |= _flat(value, f"{name}.")
        else:
            flat[name] = value

    return flat


def _of_sgd(moments: dict[str, torch.Tensor]) -> bool:
    """Whether the moments are those of SGD."""
    return any(name.endswith(".momentum_buffer") for name in moments)


def _optimiser_state(
    optimiser: torch.optim.Optimizer,
    moments: dict[str, torch.Tensor],
) -> dict:
    """The optimiser's state with moments by `index.name`.

    The fused optimiser reads the memory in its order: a moment must have the memory format of its
    parameter (channels last).
    """
    state = optimiser.state_dict()
    parameters = [value for group in optimiser.param_groups for value in group["params"]]

    for name, value in moments.items():
        number, key = name.split(".", 1)
        index = int(number)
        if value.ndim:
            value = torch.empty_like(parameters[index]).copy_(value)

        own = state["state"].setdefault(index, {})
        own[key] = value

    return state


def with_prefix(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with `prefix`, without it in their names."""
    found = {}
    for name, value in tensors.items():
        if name.startswith(prefix):
            found[name.removeprefix(prefix)] = value

    return found
