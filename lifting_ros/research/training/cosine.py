# SPDX-License-Identifier: Apache-2.0
"""The training loop of the small networks: cosine rate, averaged weights, saved state, curves."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lifting_ros.io.progress import Progress
from lifting_ros.research.training.averaging import start_average, update_average
from lifting_ros.research.training.record import RunRecord
from lifting_ros.research.training.state import load_state, save_state

CURVE_EVERY = 50
"""Steps from one point of the curves to the next."""


class CosineTrainer:
    """Network, optimiser and averaged weights; `training.state` saves and restores it.

    config: a recipe with `steps`, `learning_rate`, `warmup`, `ema` and `seed`.
    """

    def __init__(self, config: Any, network: nn.Module, optimiser: torch.optim.Optimizer):
        self.config = config
        self.step = 0
        self.network = network
        self.optimiser = optimiser
        self.average = start_average(network)

    def learning_rate(self) -> float:
        """Linear warm-up, then half a cosine down to zero."""
        config = self.config
        done = self.step / config.steps
        rising = min(1.0, (self.step + 1) / max(1.0, config.warmup * config.steps))
        return config.learning_rate * rising * 0.5 * (1 + math.cos(math.pi * done))

    def begin_step(self) -> None:
        """Set the learning rate and the seed of this step.

        Call it before the network runs. With a seed of its own for each step, dropout in a resumed
        training is that of an unbroken one.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)

    def descend(self, loss: Tensor, clip: float = 0.0) -> None:
        """Take one optimiser step down the loss and update the averaged weights.

        clip: largest norm of the gradient; 0 for no limit.
        """
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), clip)
        self.optimiser.step()

        self.step += 1
        update_average(self.average, self.network, self.config.ema, self.step)


def run(
    trainer: CosineTrainer,
    folder: Path,
    step: Callable[[], dict[str, float]],
    evaluate: Callable[[], dict[str, float]] | None = None,
    every: int = 1000,
    **about: Any,
) -> None:
    """Train to the end of the recipe; resumes from the state in `folder`, if there is one.

    step: takes one step and returns its losses. evaluate: called every `every` steps; what it
    returns goes into `folder/validation.csv`. about: what else `run.json` says.
    """
    config = trainer.config
    load_state(folder / "state.safetensors", trainer)
    record = RunRecord(folder, config, **about)
    record.forget(trainer.step + 1, trainer.step + 1)
    progress = Progress(
        total=config.steps,
        initial=trainer.step,
        desc=f"training {folder.name}",
        unit="step",
        mininterval=5,
    )

    while trainer.step < config.steps:
        losses = step()
        progress.update()
        if trainer.step % CURVE_EVERY == 0:
            record.training(trainer.step, {"rate": trainer.learning_rate()} | losses)

        if trainer.step % every == 0 or trainer.step == config.steps:
            if evaluate is not None:
                record.validation(trainer.step, evaluate())
            # after the validation: what goes on from it lacks no row
            save_state(folder / "state.safetensors", trainer)

    progress.close()
