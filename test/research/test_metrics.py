# SPDX-License-Identifier: Apache-2.0
"""Each metric is blind to exactly what it says, and to nothing else."""

import numpy as np
import pytest
from people import make_poses

from lifting_ros.research.evaluation.metrics import (
    depth_and_across,
    flipped_limbs,
    mpjpe,
    n_aligned,
    n_mpjpe,
    pa_mpjpe,
)
from lifting_ros.skeleton import LIMBS

POSES = make_poses(20, seed=5)
TURN = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
TURN *= np.sign(np.linalg.det(TURN))


def wobbly() -> np.ndarray:
    return POSES + 0.05 * np.random.default_rng(0).standard_normal(POSES.shape)


def test_place_does_not_count():
    for metric in (mpjpe, n_mpjpe, pa_mpjpe):
        np.testing.assert_allclose(metric(POSES + [1, 2, 3], POSES), 0, atol=1e-9)


def test_scale_counts_for_mpjpe_alone():
    assert mpjpe(1.3 * POSES, POSES).min() > 0.1
    for metric in (n_mpjpe, pa_mpjpe):
        np.testing.assert_allclose(metric(1.3 * POSES, POSES), 0, atol=1e-9)


def test_rotation_counts_for_all_but_procrustes():
    assert n_mpjpe(POSES @ TURN, POSES).min() > 0.1
    np.testing.assert_allclose(pa_mpjpe(POSES @ TURN, POSES), 0, atol=1e-9)


def test_a_mirror_image_is_not_aligned_away():
    assert np.median(pa_mpjpe(POSES * [-1, 1, 1], POSES)) > 0.03


def test_every_step_of_alignment_helps():
    assert (n_mpjpe(wobbly(), POSES) <= mpjpe(wobbly(), POSES) * 1.1).all()
    assert pa_mpjpe(wobbly(), POSES).mean() < n_mpjpe(wobbly(), POSES).mean()


def test_a_known_error():
    moved = POSES.copy()
    moved[:, 5, 2] += 0.17
    np.testing.assert_allclose(mpjpe(moved, POSES), 0.01)
    depth, across = depth_and_across(moved, POSES)
    assert depth == pytest.approx(0.01) and across == pytest.approx(0)


def test_the_scale_is_the_best():
    predicted, truth = n_aligned(wobbly(), POSES)
    best = ((predicted - truth) ** 2).sum((1, 2))
    for factor in (0.99, 1.01):
        assert (((factor * predicted - truth) ** 2).sum((1, 2)) >= best).all()


def test_flipped_limbs_counts_what_points_the_wrong_way_in_depth():
    assert flipped_limbs(POSES, POSES) == 0
    assert flipped_limbs(POSES * [1, 1, -1], POSES) == 1
    assert np.isnan(flipped_limbs(POSES, 0 * POSES))
    one = np.zeros((1, 17, 3))
    one[0, :, 2] = np.arange(17)  # all limbs point away
    said = one.copy()
    said[0, 10, 2] = 0  # the last limb of the head turned round
    assert flipped_limbs(said, one) == pytest.approx(1 / len(LIMBS))


def test_a_point_is_not_an_error():
    assert np.isfinite(pa_mpjpe(np.zeros((1, 17, 3)), POSES[:1])).all()
