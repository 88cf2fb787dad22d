# SPDX-License-Identifier: Apache-2.0
"""The tables of the lifter are of the right numbers: answers, means and best ones of known
hypotheses."""

import numpy as np
import pytest
from people import make_poses, small_prior

from lifting_ros.lifting.lifting import LiftedPoses, Lifter, LifterConfig
from lifting_ros.research.evaluation.lifting import (
    Lifted,
    error_rows,
    errors,
    guesses,
    joint_errors,
    lift_trial,
    where_it_sits,
)
from lifting_ros.research.evaluation.metrics import n_mpjpe
from lifting_ros.research.evaluation.virtual_cameras import Protocol, make_trial
from lifting_ros.skeleton import JOINT_NAMES

TRIAL = make_trial(make_poses(6, seed=9), Protocol(noise_px=2.0), cameras=2)


def answer(hypotheses: np.ndarray, weight: np.ndarray, best: int = 0) -> LiftedPoses:
    """An answer of given hypotheses (N, M, 17, 3) and weights (N, M)."""
    count = len(hypotheses)
    joints, ones = hypotheses[:, best], np.ones((count, 17), np.uint8)
    zeros = np.zeros((count, 17, 3, 3))
    return LiftedPoses(
        joints, joints[:, 0], zeros, zeros[:, 0], ones, np.zeros(count), hypotheses, weight
    )


def test_the_mean_is_by_weight_and_the_best_is_the_best():
    truth = make_poses(4, seed=1)
    hypotheses = np.stack(
        [truth + 0.1 * np.random.default_rng(m).standard_normal(truth.shape) for m in range(3)], 1
    )
    hypotheses[:, 2] = truth + [0, 0, 5.0]
    found = guesses(answer(hypotheses, np.tile([0.5, 0.25, 0.25], (4, 1))))
    relative = hypotheses - hypotheses[:, :, :1]
    np.testing.assert_allclose(
        found["Bayes mean"][:, 0], relative[:, 0] / 2 + relative[:, 1] / 4 + relative[:, 2] / 4
    )
    np.testing.assert_allclose(found["best mode"][:, 0], relative[:, 0])
    assert max(v.max() for v in errors(found["best of the hypotheses"], truth).values()) < 1e-6


def test_hypotheses_that_are_not_there_do_not_count():
    truth = make_poses(2, seed=1)
    hypotheses = np.stack([truth + [1.0, 0, 0], np.full_like(truth, np.nan)], 1)
    for weight in ([1.0, 0.0], [1.0, np.nan]):
        for guess in guesses(answer(hypotheses, np.tile(weight, (2, 1)))).values():
            assert max(v.max() for v in errors(guess, truth).values()) < 1e-6


def test_persons_not_lifted_are_left_out_and_counted():
    truth = TRIAL.joints_m
    poses = answer(truth[:, None].copy(), np.ones((len(truth), 1)))
    poses.joints_m[0], valid = np.nan, np.arange(len(truth)) > 0
    rows = error_rows(Lifted(poses, valid, 1.0), TRIAL)
    assert (
        rows["best mode"]["lifted %"] == pytest.approx(100 * 11 / 12)
        and rows["best mode"]["MPJPE"] < 1e-6
    )


def test_the_whole_trial_is_lifted_in_order(monkeypatch):
    """Batches do not mix people up: the answer in batches of five is the answer at once."""
    lifter = Lifter(small_prior(), LifterConfig(rotations=24, modes=2))
    whole = lift_trial(lifter, TRIAL)
    monkeypatch.setattr("lifting_ros.research.evaluation.lifting.BATCH", 5)
    parts = lift_trial(lifter, TRIAL)
    np.testing.assert_allclose(parts.poses.joints_m, whole.poses.joints_m, atol=1e-5)
    assert whole.valid.all() and n_mpjpe(whole.poses.joints_m, TRIAL.joints_m).mean() < 0.15


def test_where_an_error_sits():
    truth = TRIAL.joints_m
    deep = truth.copy()
    deep[:, 16, 2] += 0.01
    sits = where_it_sits(deep, truth)
    assert sits["along depth"] > 2 * sits["across"] and sits["p50"] <= sits["p90"] <= sits["p99"]
    each = joint_errors(deep, truth)
    assert (
        tuple(each) == JOINT_NAMES
        and max(each, key=each.get) == "right_wrist"
        and each["pelvis"] == 0
    )
