# SPDX-License-Identifier: Apache-2.0
"""What the trainings of the small networks share: a rate that rises and falls as half a cosine,
averaged weights, states, curves."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from lifting_ros.research.training.record import RunRecord
from lifting_ros.research.training.state import load_state, save_state

CURVE_EVERY = 50
"""Steps between two points of the curves."""


class CosineTrainer:
    """Network, optimiser and averaged weights; `training.state` keeps and restores it.

    config: a recipe with `steps`, `learning_rate`, `warmup`, `ema` and `seed`.
    """

    def __init__(self, config: Any, network: nn.Module, optimiser: torch.optim.Optimizer):
        self.config, self.step, self.network, self.optimiser = config, 0, network, optimiser
        self.average = {name: t.detach().clone() for name, t in network.state_dict().items()}

    def learning_rate(self) -> float:
        """Linear warm-up, then half a cosine down to zero."""
        done = self.step / self.config.steps
        rising = min(1.0, (self.step + 1) / max(1.0, self.config.warmup * self.config.steps))
        return self.config.learning_rate * rising * 0.5 * (1 + math.cos(math.pi * done))

    def begin_step(self) -> None:
        """Before the network is asked: this step's rate, and its own chances, so that dropout of a
        resumed training goes on as well."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)

    def descend(self, loss: Tensor, clip: float = 0.0) -> None:
        """One optimiser step down the loss, the gradient's norm at most `clip` (0: any), and the
        average follows."""
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), clip)
        self.optimiser.step()
        self.step += 1
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            self.average[name].lerp_(
                value, 1 - decay
            ) if value.is_floating_point() else self.average[name].copy_(value)


def run(
    trainer: CosineTrainer,
    folder: Path,
    step: Callable[[], dict[str, float]],
    evaluate: Callable[[], dict[str, float]] | None = None,
    every: int = 1000,
    **about: Any,
) -> None:
    """Take steps to the end of the recipe, going on from `folder` where a state is kept there.

    step() takes one and returns its losses; evaluate() is asked every `every` steps, what it
    returns goes into `folder/validation.csv`; about: what else the record of the run says.
    """
    config = trainer.config
    load_state(folder / "state.safetensors", trainer)
    record = RunRecord(folder, config, **about)
    record.forget(trainer.step + 1, trainer.step + 1)
    progress = tqdm(
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
            save_state(
                folder / "state.safetensors", trainer
            )  # after the validation: what goes on from it lacks no row
    progress.close()
