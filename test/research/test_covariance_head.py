# SPDX-License-Identifier: Apache-2.0
"""Covariances of learned lifters: their loss is a Gaussian's, and factors make errors as large as
they say on people not learnt from."""

import numpy as np
import torch
from people import make_poses

from lifting_ros.lifting.residual_mlp import ResidualMLP, ResidualMLPConfig, SupervisedLifter
from lifting_ros.research.datasets.mocap import Mocap
from lifting_ros.research.datasets.pictured import Disturbance
from lifting_ros.research.evaluation.calibration import calibrate
from lifting_ros.research.evaluation.virtual_cameras import PROTOCOLS, make_trial
from lifting_ros.research.training.covariance_head import (
    CALIBRATION_SUBJECTS,
    calibration_rows,
    fit_inflation,
    inflation_of,
    surprise,
)
from lifting_ros.skeleton import limb_lengths


def mocap(count: int, subjects: tuple[str, ...] = ()) -> Mocap:
    ids = np.arange(count) % 16
    return Mocap(make_poses(count, seed=6), ids, ids, np.ones(count, bool), subjects)


def test_surprise_is_the_negative_log_density():
    torch.manual_seed(0)
    factors = torch.randn(5, 4, 3, 3, dtype=torch.float64).tril()
    factors.diagonal(dim1=-2, dim2=-1).abs_().add_(0.1)
    missed = torch.randn(5, 4, 3, dtype=torch.float64)
    truth = torch.distributions.MultivariateNormal(
        torch.zeros(3, dtype=torch.float64), scale_tril=factors
    ).log_prob(missed)
    torch.testing.assert_close(surprise(factors, missed), -truth - 1.5 * np.log(2 * np.pi))


def test_calibration_rows_are_held_back_subjects_or_clips():
    named = mocap(64, ("cmu01", CALIBRATION_SUBJECTS[1], *(f"x{k}" for k in range(14))))
    assert (calibration_rows(named) == (named.subject_id == 1)).all()
    assert set(mocap(64).clip_id[calibration_rows(mocap(64))]) == {3, 10}
    one = mocap(64)._replace(clip_id=np.zeros(64, int))
    assert np.flatnonzero(calibration_rows(one)).tolist() == list(range(56, 64))


def test_inflation_is_robust_to_a_displaced_joint():
    """Errors twice as large as they say want four times the covariance, also where one in seven is
    ten times as large."""
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(20_000, 3, 3))
    covariance = factor @ factor.swapaxes(1, 2) + 0.1 * np.eye(3)
    errors = 2 * np.einsum(
        "nab,nb->na", np.linalg.cholesky(covariance), rng.normal(size=(20_000, 3))
    )
    assert abs(inflation_of(errors, covariance) - 4) < 0.1
    errors[::7] *= 10
    assert 4 < inflation_of(errors, covariance) < 7.5


def test_factors_match_the_covariances_to_the_errors():
    """Of weights that have learnt nothing, whose errors are far larger than they say."""
    poses = make_poses(200, seed=6)
    size = float(np.sqrt((limb_lengths(poses) ** 2).sum(-1)).mean())
    torch.manual_seed(0)
    network = ResidualMLP(ResidualMLPConfig(width=16))
    network.unit.data.fill_(0.05)
    joints = torch.from_numpy(poses - poses[:, :1]).float() / size
    network.middle.copy_(joints.mean(0))
    lifter = SupervisedLifter(network, (size, 0.02))
    trial = make_trial(poses, PROTOCOLS["3 missing"], 1)

    def nees() -> dict[str, float]:
        found = lifter.lift(
            trial.keypoints_px, trial.confidence, trial.covariance_px2, trial.camera, trial.up
        )
        return {name: result.nees for name, result in calibrate(found, trial.joints_m).items()}

    before = nees()
    fit_inflation(lifter, mocap(200), 0, Disturbance(noise_px=8.0, missing=3), views=600)
    after = nees()
    for name in ("observed joints", "inferred joints", "place of the root"):
        assert 0.4 < after[name] < 2.5 and abs(np.log(after[name])) < abs(np.log(before[name])), (
            name,
            before,
            after,
        )
