# SPDX-License-Identifier: Apache-2.0
"""The supervised baseline learns stick figures, reads only what is seen, says how wrong it is, and
a killed training goes on as it was."""

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from killed_training import killed_and_resumed
from people import CAMERA, make_poses, see

from lifting_ros.io.checkpoint import CheckpointError
from lifting_ros.lifting.encoding import encode
from lifting_ros.lifting.residual_mlp import ResidualMLPConfig, SupervisedLifter
from lifting_ros.research.datasets.mocap import Mocap
from lifting_ros.research.evaluation.calibration import calibrate
from lifting_ros.research.evaluation.metrics import n_mpjpe
from lifting_ros.research.training.covariance_head import calibration_rows, surprise
from lifting_ros.research.training.mlp_trainer import PictureSource, balanced_pictures
from lifting_ros.research.training.train_supervised import (
    SupervisedTrainConfig,
    SupervisedTrainer,
    train_supervised,
)
from lifting_ros.skeleton import limb_lengths

SMALL = SupervisedTrainConfig(
    network=ResidualMLPConfig(width=64, blocks=1, dropout=0.0),
    images=300,
    samples=640,
    batch=64,
    spread_steps=5,
)


def mocap(count: int = 300) -> Mocap:
    ids = np.arange(count) % 8
    return Mocap(make_poses(count), ids, ids, np.ones(count, bool), ())


@pytest.mark.parametrize("loss", ["squared", "distance"])
def test_it_learns(tmp_path, loss):
    """A thousand steps of stick figures: better than one pose for everybody, with covariances that
    are about right."""
    recipe = dataclasses.replace(
        SMALL,
        images=4000,
        samples=64_000,
        learning_rate=3e-3,
        ema=0.99,
        loss=loss,
        spread_steps=200,
        posed=0.0,
        half=0.0,
    )
    lifter = train_supervised(recipe, mocap(600), tmp_path)
    joints, keypoints = see(make_poses(100, seed=7))
    poses = lifter.lift(
        keypoints, np.ones((100, 14)), np.tile(4 * np.eye(2), (100, 14, 1, 1)), CAMERA
    )
    constant = np.broadcast_to((joints - joints[:, :1]).mean(0), joints.shape)
    assert n_mpjpe(poses.joints_m, joints).mean() < 0.75 * n_mpjpe(constant, joints).mean()
    size = np.sqrt((limb_lengths(poses.joints_m) ** 2).sum(-1))
    assert size.mean() == pytest.approx(lifter.size[0], rel=0.15)
    found = calibrate(poses, joints)
    assert all(0.4 < found[kind].nees < 2.5 for kind in ("observed joints", "inferred joints"))


def test_killed_training_resumes_to_the_same_result(tmp_path):
    recipe = dataclasses.replace(SMALL, network=ResidualMLPConfig(width=32, blocks=1, dropout=0.3))
    killed_and_resumed(partial(train_supervised, recipe, mocap()), tmp_path)


def test_batch_depends_on_the_step():
    pictures = balanced_pictures(mocap(), 200, 0)
    one, other = (PictureSource(pictures, SMALL).make(3) for _ in range(2))
    assert torch.equal(one.encoded, other.encoded) and (one.rows == other.rows).all()
    assert not torch.equal(one.encoded, PictureSource(pictures, SMALL).make(4).encoded)


def test_strangers_are_held_back():
    """By name where the file has the names, by clip otherwise; never everybody."""
    named = mocap(80)._replace(
        subjects=("cmu01", "cmu06", "cmu02", "cmu35", "a", "b", "c", "cmu39")
    )
    assert set(named.subject_id[calibration_rows(named)]) == {1, 3, 7}
    rows = calibration_rows(mocap(80))
    assert 0 < rows.sum() < 40
    one = mocap(80)._replace(clip_id=np.zeros(80, int))
    assert calibration_rows(one).sum() == 10


def test_what_is_not_seen_does_not_count():
    keypoints = see(make_poses(5))[1] / 600
    visible, deviation, pitch = np.ones((5, 14), bool), np.full((5, 14), 0.003), np.zeros(5)
    visible[:, [3, 8]] = False
    other, unknown = keypoints.copy(), deviation.copy()
    other[:, [3, 8]], unknown[:, [3, 8]] = np.nan, np.nan
    first = encode(keypoints, deviation, visible, pitch)
    np.testing.assert_array_equal(first, encode(other, unknown, visible, pitch))
    np.testing.assert_allclose(
        encode(3 * keypoints + 5, 3 * deviation, visible, pitch)[:, :43], first[:, :43], atol=1e-5
    )
    assert (encode(3 * keypoints, 3 * deviation, visible, pitch)[:, 43] > first[:, 43]).all()
    assert (encode(keypoints, deviation, visible, pitch, metric=False)[:, 43] == 0).all()
    assert np.isfinite(
        encode(np.full((2, 14, 2), np.nan), np.zeros((2, 14)), np.zeros((2, 14)), np.zeros(2))
    ).all()
    assert (
        encode(np.ones((1, 14, 2)), np.zeros((1, 14)), np.ones((1, 14)), np.zeros(1))[:, :28] == 0
    ).all()


def test_less_certain_keypoints_are_told_apart():
    keypoints = see(make_poses(1))[1] / 600
    certain = encode(
        keypoints, np.array([[0.0] + [0.01] * 12 + [1e6]]), np.ones((1, 14)), np.zeros(1)
    )[0, 28:42]
    assert certain[0] == 1 and 0.2 < certain[1] < 0.9 and certain[13] < 1e-3


def test_surprise_is_the_density_of_a_gaussian():
    torch.manual_seed(0)
    factors = torch.randn(7, 3, 3, dtype=torch.float64).tril()
    factors.diagonal(dim1=-2, dim2=-1).abs_().add_(0.1)
    missed = torch.randn(7, 3, dtype=torch.float64)
    exact = torch.distributions.MultivariateNormal(
        torch.zeros(3, dtype=torch.float64), scale_tril=factors
    ).log_prob(missed)
    torch.testing.assert_close(-surprise(factors, missed) - 1.5 * np.log(2 * np.pi), exact)


def test_learning_rate_rises_and_falls_to_zero():
    trainer = SupervisedTrainer(
        dataclasses.replace(SMALL, warmup=0.2), balanced_pictures(mocap(), 50, 0)
    )
    rates = []
    for trainer.step in range(SMALL.steps + 1):
        rates.append(trainer.learning_rate())
    assert rates[0] < rates[1] and max(rates) > 0.9 * SMALL.learning_rate and rates[-1] < 1e-12


def test_a_file_that_holds_something_else_is_named(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="x.safetensors"):
        SupervisedLifter.load(tmp_path / "x.safetensors")
