# SPDX-License-Identifier: Apache-2.0
"""Simulated annotators err as often as they are said to, and annotated pictures are what a lifter
would be shown."""

import numpy as np
import pytest
from people import make_poses

from lifting_ros.research.datasets.comparisons import probability_correct, simulate
from lifting_ros.research.datasets.pictured import Disturbance, disturb, mirror, picture
from lifting_ros.skeleton import JOINT_FLIP, KEYPOINT_TO_JOINT, limb_lengths


def right(depth, told):
    """Whether each comparison (M, K) is right, and how far apart its joints are."""
    first, second = (
        np.take_along_axis(depth, told.pairs[..., side].astype(int), 1) for side in (0, 1)
    )
    return np.sign(first - second) == told.label, np.abs(first - second)


def test_the_crowd_errs_as_in_the_study():
    """P(correct) = min(50 + 1.25 |dz in cm|, 100) %, in every range of distances."""
    rng = np.random.default_rng(0)
    depth = rng.uniform(0, 0.8, (60_000, 17))
    correct, apart = right(depth, simulate(depth, rng, 1, "crowd"))
    for low in (0.0, 0.1, 0.2, 0.3):
        inside = (apart >= low) & (apart < low + 0.02)
        assert correct[inside].mean() == pytest.approx(0.5 + 1.25 * (low + 0.01), abs=0.035)
    assert correct[apart > 0.4].all()
    assert probability_correct(np.array([0.0, 0.2, -0.2, 0.5]), "crowd").tolist() == [
        0.5,
        0.75,
        0.75,
        1.0,
    ]


@pytest.mark.parametrize(("annotator", "rate"), [("exact", 1.0), ("constant", 0.8)])
def test_the_others_err_at_their_rate(annotator, rate):
    rng = np.random.default_rng(0)
    depth = rng.standard_normal((20_000, 14))
    correct, _ = right(depth, simulate(depth, rng, 3, annotator, 0.8))
    assert correct.mean() == pytest.approx(rate, abs=0.01)


def test_pairs_are_distinct_and_uniform():
    told = simulate(
        np.random.default_rng(0).standard_normal((30_000, 17)), np.random.default_rng(1), 4
    )
    assert (told.pairs[..., 0] < told.pairs[..., 1]).all()
    code = told.pairs[..., 0] * 17 + told.pairs[..., 1]
    counts = np.unique(code, return_counts=True)[1]
    assert len(counts) == 136 and counts.min() > 0.8 * counts.mean()
    assert all(len(set(row)) == 4 for row in code[:200].tolist())


def test_zero_means_all_pairs_and_tolerance_makes_ties():
    depth = np.array([[0.0, 0.05, 0.3]])
    told = simulate(depth, np.random.default_rng(0), 0, "exact", tolerance_m=0.1)
    assert told.pairs[0].tolist() == [[0, 1], [0, 2], [1, 2]] and told.label[0].tolist() == [
        0,
        -1,
        -1,
    ]
    with_errors = simulate(np.zeros((1000, 2)), np.random.default_rng(0), 1, "constant", 0.0)
    assert set(with_errors.label.ravel().tolist()) == {-1, 1}


def test_the_same_seed_gives_the_same_answers():
    depth = np.random.default_rng(3).standard_normal((50, 17))
    one, other = (simulate(depth, np.random.default_rng(1), 2) for _ in range(2))
    assert (one.pairs == other.pairs).all() and (one.label == other.label).all()


def test_a_picture_looks_at_the_person_and_is_true_to_scale():
    poses = make_poses(50)
    seen = picture(poses, seed=1)
    size = np.sqrt((limb_lengths(poses) ** 2).sum(-1))
    np.testing.assert_allclose(seen.size_m, size, rtol=1e-5)
    np.testing.assert_allclose(np.sqrt((limb_lengths(seen.joints) ** 2).sum(-1)), 1, rtol=1e-5)
    middle = seen.rays[:, list(KEYPOINT_TO_JOINT)].mean(1)
    assert (
        np.abs(middle[:, 0]).max() < 0.01 and np.abs(middle[:, 1]).max() < 0.06
    )  # the pitch is on a grid of five degrees
    level = seen.pitch == 0
    standing = (seen.joints[:, 10] - seen.joints[:, 3])[level]
    assert level.any() and (standing[:, 1] < -0.8).all()  # the head is up, which is -y
    assert seen.rays.dtype == np.float32 and (picture(poses, seed=1).rays == seen.rays).all()


def test_a_mirror_changes_sides():
    seen = picture(make_poses(4), seed=1)
    chosen = np.array([True, False, True, False])
    there = mirror(seen, chosen)
    np.testing.assert_array_equal(there.rays[1], seen.rays[1])
    np.testing.assert_array_equal(there.rays[0], seen.rays[0, list(JOINT_FLIP)] * [-1, 1])
    np.testing.assert_array_equal(there.joints[0, :, 0], -seen.joints[0, list(JOINT_FLIP), 0])
    np.testing.assert_array_equal(there.joints[0, :, 2], seen.joints[0, list(JOINT_FLIP), 2])
    back = mirror(there, chosen)
    assert all((a == b).all() for a, b in zip(back, seen))


def test_views_are_exact_noisy_and_incomplete_as_the_recipe_says():
    rays = np.zeros((4000, 17, 2), np.float32)
    seen = disturb(rays, np.random.default_rng(0), Disturbance(0.33, 8.0, 4))
    missing, untouched = 14 - seen.visible.sum(1), (seen.points == 0).all((1, 2))
    assert set(missing) == {0, 1, 2, 3, 4} and (missing[untouched] == 0).all()
    assert untouched.mean() == pytest.approx(0.33, abs=0.03)
    assert (np.diff(np.bincount(missing.astype(int))[1:]) < 0).all()  # few more often than many
    told = (seen.points / seen.deviation[..., None])[
        ~untouched & (seen.deviation.min(1) > 2.1 / 1150)
    ]
    assert told.std() == pytest.approx(1.0, abs=0.03) and seen.deviation.min() == pytest.approx(
        2 / 1150
    )
