# SPDX-License-Identifier: Apache-2.0
"""The training loop of all networks: learning rate, averaged weights (EMA), state, curves."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lifting_ros.io.progress import Progress
from lifting_ros.research.training import distributed
from lifting_ros.research.training.record import RunRecord
from lifting_ros.research.training.state import load_state, save_state

CURVE_EVERY = 20
"""Steps from one point of the curves to the next."""

STATE = "state.safetensors"
"""File in the folder of a training from which it is resumed."""

LEVEL_STATE = "level.safetensors"
"""The state from before the learning rate falls: a longer training can start from it."""


class Schedule:
    """Length and learning rate of a recipe: linear warm-up, then half a cosine down to zero.

    Recipes derive from it and add the fields `samples`, `batch`, `learning_rate`, `warmup` (share
    of the steps), `ema` and `seed`.
    """

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return math.ceil(self.samples / self.batch)

    @property
    def level_until(self) -> int:
        """The first step with a falling rate; 0 if the rate has no level part."""
        return 0

    def rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        warmup = max(1.0, self.warmup * self.steps)
        rising = min(1.0, (step + 1) / warmup)

        done = step / self.steps
        return self.learning_rate * rising * 0.5 * (1 + math.cos(math.pi * done))


class Trainer(ABC):
    """Network, optimiser and averaged weights; `training.state` saves and restores it."""

    def __init__(
        self,
        config: Any,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
    ):
        """config: a recipe, which is a Schedule."""
        self.config = config
        self.step = 0
        self.network = network
        self.optimiser = optimiser
        self.average = {}
        for name, value in network.state_dict().items():
            self.average[name] = value.detach().clone()

    @abstractmethod
    def train_step(self, batch: Any) -> dict[str, float]:
        """Take one optimiser step; returns the losses by name."""

    def learning_rate(self) -> float:
        """Learning rate of the step that comes next."""
        return self.config.rate_at(self.step)

    def begin_step(self) -> None:
        """Set the learning rate and the seed of this step; call it before the network runs.

        Each step has a seed of its own, so that dropout in a resumed training is that of an
        uninterrupted one. A group of parameters may scale its rate (`scale`).
        """
        rate = self.learning_rate()
        for group in self.optimiser.param_groups:
            group["lr"] = group.get("scale", 1.0) * rate

        torch.manual_seed(self.config.seed * 1_000_003 + self.step)

    def descend(self, loss: Tensor, clip: float = 0.0) -> None:
        """Take one optimiser step down the loss and update the averaged weights.

        clip: largest norm of the gradient; 0 for no limit.
        """
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), clip)
        self.optimiser.step()

        self.step += 1
        self._update_average()

    def _update_average(self) -> None:
        """Move the averaged weights towards the network's; integers, such as the counters of batch
        norms, are copied."""
        # In the first steps the average holds the initial weights: keep less of it
        young = (1 + self.step) / (10 + self.step)
        kept = min(self.config.ema, young)

        for name, value in self.network.state_dict().items():
            average = self.average[name]
            if value.is_floating_point():
                average.lerp_(value, 1 - kept)
            else:
                average.copy_(value)

    def resume(self, folder: Path) -> None:
        """Restore the state in `folder`, if there is one."""
        load_state(folder / STATE, self)


def run(
    trainer: Trainer,
    batches: Iterable[Any],
    folder: Path,
    evaluate: Callable[[], dict[str, float]] | None = None,
    every: int = 1000,
    **about: Any,
) -> None:
    """Train on the batches of the steps that are left; call `trainer.resume` before.

    evaluate: called every `every` steps; what it returns goes into `folder/validation.csv`. about:
    what else `run.json` says. Of several processes only the first writes to `folder`.
    """
    config = trainer.config
    first = distributed.rank_and_world()[0] == 0
    record = RunRecord(folder, config, **about) if first else None
    if record is not None:
        record.forget(trainer.step, trainer.step + 1)

    progress = Progress(
        total=config.steps,
        initial=trainer.step,
        desc=f"training {folder.name}",
        unit="step",
        smoothing=0.05,
        mininterval=5,
        disable=not first,
    )

    for batch in batches:
        step = trainer.step
        losses = trainer.train_step(batch)
        progress.update()
        if record is None:
            continue

        if step % CURVE_EVERY == 0:
            name, loss = next(iter(losses.items()))
            progress.set_postfix({name: f"{loss:.3f}"}, refresh=False)
            record.training(step, {"rate": config.rate_at(step)} | losses)

        due = trainer.step % every == 0 or trainer.step == config.steps
        if due and evaluate is not None:
            record.validation(trainer.step, evaluate())

        # After the validation, so that a training resumed from this state lacks no row.
        if due:
            save_state(folder / STATE, trainer)
        if trainer.step == config.level_until:
            save_state(folder / LEVEL_STATE, trainer)

    progress.close()
    if record is not None:
        record.draw()
