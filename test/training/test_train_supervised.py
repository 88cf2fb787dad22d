# SPDX-License-Identifier: Apache-2.0
"""The supervised baseline learns stick figures, reads only what is seen, and a training that was killed goes on as if it had not been."""
import dataclasses

import numpy as np
import pytest
import torch
from people import CAMERA, make_poses, see

from lifting_ros.core.checkpoint import CheckpointError
from lifting_ros.core.residual_mlp import ResidualMLP, ResidualMLPConfig, SupervisedLifter, encode
from lifting_ros.core.skeleton import limb_lengths
from lifting_ros.data.mocap import Mocap
from lifting_ros.evaluation.metrics import n_mpjpe
from lifting_ros.training.train_supervised import SupervisedTrainConfig, SupervisedTrainer, ViewSource, train_supervised

SMALL = SupervisedTrainConfig(network=ResidualMLPConfig(width=64, blocks=1, dropout=0.0), samples=640, batch=64)


def mocap(count: int = 300) -> Mocap:
    ids = np.arange(count) % 3
    return Mocap(make_poses(count), ids, ids, np.ones(count, bool), ())


def test_it_learns(tmp_path):
    """A thousand steps of stick figures: better than one pose for everybody (measured: 0.6 of its error)."""
    recipe = dataclasses.replace(SMALL, samples=64_000, learning_rate=3e-3, ema=0.99)
    lifter = train_supervised(recipe, mocap(), tmp_path)
    joints, keypoints = see(make_poses(100, seed=7))
    found = lifter.lift(keypoints, np.ones((100, 14)), CAMERA)
    constant = np.broadcast_to((joints - joints[:, :1]).mean(0), joints.shape)
    assert n_mpjpe(found, joints).mean() < 0.75 * n_mpjpe(constant, joints).mean()
    size = np.sqrt((limb_lengths(found) ** 2).sum(-1))
    assert size.mean() == pytest.approx(lifter.size_m, rel=0.15)


def test_a_killed_training_goes_on_as_if_it_had_not_been(tmp_path):
    recipe = dataclasses.replace(SMALL, network=ResidualMLPConfig(width=32, blocks=1, dropout=0.3))
    whole = train_supervised(recipe, mocap(), tmp_path / "whole")

    class Killed(Exception):
        pass

    seen = []

    def kill(lifter):  # a state is kept once it is validated
        seen.append(lifter)
        if len(seen) == 2:
            raise Killed
        return {"error": 1.0}

    with pytest.raises(Killed):
        train_supervised(recipe, mocap(), tmp_path / "parts", kill, every=4)
    assert (tmp_path / "parts" / "state.safetensors").exists()
    resumed = train_supervised(recipe, mocap(), tmp_path / "parts")
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(resumed.network.state_dict()[name], value, rtol=0, atol=1e-6)


def test_the_same_step_is_the_same_views_and_another_is_not():
    source = ViewSource(mocap(), SMALL)
    for one, other in zip(source.make(3), ViewSource(mocap(), SMALL).make(3), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(source.make(3)[1], source.make(4)[1])


def test_views_are_exact_noisy_and_incomplete_as_the_recipe_says():
    source = ViewSource(mocap(), dataclasses.replace(SMALL, batch=4000))
    exact = np.zeros((4000, 14, 2))
    keypoints, visible = source._disturb(exact, np.random.default_rng(0))
    missing, untouched = 14 - visible.sum(1), (keypoints == exact).all((1, 2))
    assert set(missing) == {0, 1, 2, 3, 4} and (missing[untouched] == 0).all()
    assert untouched.mean() == pytest.approx(SMALL.exact, abs=0.03)
    spread = keypoints[~untouched].std((1, 2))
    assert spread.mean() == pytest.approx(SMALL.noise_px / 2, rel=0.05) and spread.max() < 1.6 * SMALL.noise_px


def test_what_is_not_seen_does_not_count():
    keypoints = see(make_poses(5))[1]
    visible = np.ones((5, 14), bool)
    visible[:, [3, 8]] = False
    other = keypoints.copy()
    other[:, [3, 8]] = np.nan
    np.testing.assert_array_equal(encode(keypoints, visible), encode(other, visible))
    np.testing.assert_allclose(encode(3 * keypoints + 50, visible), encode(keypoints, visible), atol=1e-5)
    assert np.isfinite(encode(np.full((2, 14, 2), np.nan), np.zeros((2, 14)))).all()
    assert (encode(np.ones((1, 14, 2)), np.ones((1, 14)))[:, :28] == 0).all()


def test_the_learning_rate_rises_and_falls_to_nothing():
    trainer = SupervisedTrainer(dataclasses.replace(SMALL, warmup=0.2))
    rates = []
    for trainer.step in range(SMALL.steps + 1):
        rates.append(trainer.learning_rate())
    assert rates[0] < rates[1] and max(rates) > 0.9 * SMALL.learning_rate and rates[-1] < 1e-12


def test_weights_come_back_from_the_file(tmp_path):
    torch.manual_seed(3)
    lifter = SupervisedLifter(ResidualMLP(SMALL.network).eval(), 1.05)
    lifter.save(tmp_path / "w.safetensors", {"seed": 0})
    keypoints = see(make_poses(4))[1]
    there, back = (each.lift(keypoints, np.ones((4, 14))) for each in (lifter, SupervisedLifter.load(tmp_path / "w.safetensors")))
    np.testing.assert_allclose(back, there, atol=0.01 * np.abs(there).max())  # half precision
    assert (there[:, 0] == 0).all()


def test_a_file_that_holds_something_else_is_named(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="x.safetensors"):
        SupervisedLifter.load(tmp_path / "x.safetensors")
