# SPDX-License-Identifier: Apache-2.0
"""What all trainings share: the learning rate, the seed of a step, the averaged weights."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from lifting_ros.research.training.trainer import Schedule, Trainer


@dataclass(frozen=True)
class Recipe(Schedule):
    samples: int = 800
    batch: int = 8
    learning_rate: float = 0.2
    warmup: float = 0.1
    ema: float = 0.9
    seed: int = 0


class OneWeight(Trainer):
    """A network of one weight; the tests take its steps."""

    def train_step(self, batch):
        raise NotImplementedError


def trainer(seed: int = 0, **changes) -> OneWeight:
    network = torch.nn.Linear(1, 1, bias=False)
    optimiser = torch.optim.SGD(network.parameters(), 1.0)
    return OneWeight(Recipe(seed=seed, **changes), network, optimiser)


def test_cosine_rate_warms_up_and_falls_to_zero():
    one, given = trainer(), []
    for one.step in range(100):
        one.begin_step()
        given.append(one.optimiser.param_groups[0]["lr"])
    assert np.all(np.diff(given[:10]) > 0) and np.all(np.diff(given[10:]) < 0)
    assert (
        given[0] == pytest.approx(0.02, rel=0.01)
        and given[50] == pytest.approx(0.1)
        and 0 < given[-1] < 1e-4
    )
    assert trainer(warmup=0.0).learning_rate() == pytest.approx(0.2)


def test_the_chances_of_a_step_are_its_own_and_always_the_same():
    drawn = []
    for seed, step in ((0, 4), (0, 5), (1, 4), (0, 4)):
        one = trainer(seed)
        one.step = step
        one.begin_step()
        drawn.append(torch.rand(3).tolist())
    assert drawn[0] == drawn[3] and len({tuple(row) for row in drawn}) == 3


def test_average_follows_fast_at_first_then_slowly():
    one = trainer()
    for step, left in ((0, 2 / 11), (89, 0.9)):
        one.step = step
        before, weight = one.average["weight"].clone(), one.network.weight.detach().clone()
        one.descend(one.network.weight.sum())
        assert one.step == step + 1 and not torch.equal(one.network.weight, weight)
        torch.testing.assert_close(
            one.average["weight"], left * before + (1 - left) * one.network.weight.detach()
        )


def test_gradient_is_clipped_to_its_largest_norm():
    for clip, moved in ((0.0, 50.0), (2.0, 2.0)):
        one = trainer()
        before = one.network.weight.item()
        one.descend(50 * one.network.weight.sum(), clip)
        assert before - one.network.weight.item() == pytest.approx(moved, rel=1e-4)
