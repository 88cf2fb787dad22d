# SPDX-License-Identifier: Apache-2.0
"""The stereoscopic lifter learns stick figures and their second view, knows its errors, and goes on
after it was killed."""

import dataclasses
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from killed_training import killed_and_resumed
from people import CAMERA, make_poses, see

from lifting_ros.io.checkpoint import CheckpointError
from lifting_ros.lifting.stereo import StereoErrors
from lifting_ros.lifting.stereo_network import StereoConfig
from lifting_ros.research.datasets.mocap import Mocap
from lifting_ros.research.datasets.stereo_views import Sight
from lifting_ros.research.evaluation.metrics import n_mpjpe
from lifting_ros.research.training import train_stereo as module
from lifting_ros.research.training.calibrate_stereo import residuals
from lifting_ros.research.training.train_stereo import (
    StereoSource,
    StereoTrainConfig,
    StereoTrainer,
    train_stereo,
)

SMALL = StereoTrainConfig(
    network=StereoConfig(width=32, blocks=1, dropout=0.0), samples=640, batch=64
)


@pytest.fixture(autouse=True)
def few_views(monkeypatch):
    monkeypatch.setattr(module, "STATISTICS_VIEWS", 512)


def mocap(count: int = 300) -> Mocap:
    ids = np.where(np.arange(count) < 20, 0, 1 + np.arange(count) % 2)
    return Mocap(make_poses(count), ids, ids, np.ones(count, bool), ())


def test_it_learns_both_and_its_covariances_hold(tmp_path):
    """A thousand steps of stick figures: better than one pose for everybody, a second view nearer
    than the mean shift."""
    sight = Sight(blind=0.0, uncalibrated=0.0, steep=0.0, noise_px=4.0, missing=3)
    network = StereoConfig(width=64, blocks=1, dropout=0.0)
    recipe = dataclasses.replace(
        SMALL,
        network=network,
        samples=64_000,
        learning_rate=3e-3,
        ema=0.99,
        sight=sight,
        varied=0.0,
    )
    lifter = train_stereo(recipe, mocap(), tmp_path)
    joints, keypoints = see(make_poses(100, seed=7))
    poses = lifter.lift(
        keypoints, np.ones((100, 14)), 4.0 * np.ones((100, 14, 1, 1)) * np.eye(2), CAMERA
    )
    constant = np.broadcast_to((joints - joints[:, :1]).mean(0), joints.shape)
    assert n_mpjpe(poses.joints_m, joints).mean() < 0.75 * n_mpjpe(constant, joints).mean()
    views = StereoSource(mocap(), recipe).make(10**6, 500)
    with torch.inference_mode():
        found = lifter.network(
            *(
                torch.from_numpy(v).float()
                for v in (views.view.points(), views.view.seen, views.context)
            )
        )
    shift = (views.right - views.left)[..., 0].mean() * np.array([1.0, 0])
    off = np.linalg.norm(found.right.numpy() - views.right, axis=-1)[views.view.seen]
    assert (
        off.mean()
        < 0.7
        * np.linalg.norm(views.view.points() + shift - views.right, axis=-1)[views.view.seen].mean()
    )
    np.testing.assert_allclose(
        residuals(lifter, views).deviation, lifter.errors.deviation, rtol=0.5
    )
    error = (poses.joints_m - poses.root_m[:, None] - joints + joints[:, :1])[:, 1:]
    nees = (
        np.einsum(
            "nja,njab,njb->nj", error, np.linalg.inv(poses.covariance_m2[:, 1:]), error
        ).mean()
        / 3
    )
    assert 0.2 < nees < 3  # figures of one size and one build, so that the size's share is too much


def test_calibration_finds_the_errors_that_were_made():
    """Of a network that errs twice, once and half as much as it says along the three axes, and of
    one that hardly errs."""
    views, rng = (
        StereoSource(mocap(), dataclasses.replace(SMALL, sight=Sight(exact=1.0))).make(0, 400),
        np.random.default_rng(0),
    )

    def found(amount: float) -> StereoErrors:
        wrong = views.joints + amount * 0.01 * np.array([2.0, 1.0, 0.5]) * rng.standard_normal(
            views.joints.shape
        )
        said = SimpleNamespace(
            joints=torch.from_numpy(wrong), deviation=torch.full((400, 17, 3), 0.01)
        )
        return residuals(SimpleNamespace(network=lambda *given: said), views)

    errs, exact = found(1.0), found(1e-6)
    assert errs.deviation == pytest.approx((2.0, 1.0, 0.5), rel=0.05)
    assert 0.5 < errs.depth < 2
    assert (exact.depth, exact.across) == pytest.approx((errs.depth, errs.across), rel=0.3)


@pytest.mark.parametrize("synthesis", [True, False])
def test_killed_training_resumes_to_the_same_result(tmp_path, synthesis):
    recipe = dataclasses.replace(
        SMALL, network=StereoConfig(width=32, blocks=1, dropout=0.3, synthesis=synthesis)
    )
    whole, resumed = killed_and_resumed(partial(train_stereo, recipe, mocap()), tmp_path, 1e-6)
    assert resumed.errors.depth == pytest.approx(whole.errors.depth, rel=1e-3)
    with pytest.raises(CheckpointError, match="network.width"):
        train_stereo(
            dataclasses.replace(recipe, network=StereoConfig(width=16, blocks=1)),
            mocap(),
            tmp_path / "parts",
        )


def test_views_depend_on_the_step():
    source = StereoSource(mocap(), SMALL)
    np.testing.assert_equal(
        source.make(3)._asdict(), StereoSource(mocap(), SMALL).make(3)._asdict()
    )
    assert not np.array_equal(source.make(3).joints, source.make(4).joints)


def test_statistics_are_the_training_set_s_and_stay():
    """What is lifted later changes none of them."""
    source = StereoSource(mocap(), SMALL)
    statistics = source.statistics()
    views = source.make(SMALL.steps, module.STATISTICS_VIEWS)
    np.testing.assert_allclose(statistics.joints[1], views.joints.std(0))
    np.testing.assert_allclose(statistics.shift[0], (views.right - views.left)[..., 0].mean())
    trainer = StereoTrainer(SMALL, statistics)
    kept = {
        n: t.clone() for n, t in trainer.network.state_dict().items() if n.endswith("_statistics")
    }
    assert len(kept) == 3
    other = StereoSource(mocap()._replace(positions_m=2 * make_poses(300, seed=5)), SMALL).make(0)
    trainer.train_step(other)
    lifter = module.averaged(trainer, (1.0, 0.1))
    lifter.lift(see(make_poses(5, seed=9))[1] * 7, np.ones((5, 14)))
    for state in (trainer.network.state_dict(), lifter.network.state_dict()):
        assert all(torch.equal(state[name], value) for name, value in kept.items())
