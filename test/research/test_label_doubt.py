# SPDX-License-Identifier: Apache-2.0
"""Two opinions on one photograph: what they agree on is believed, what they contradict less, what
only one says is kept."""

import numpy as np
import pytest
from people import make_poses, see

from lifting_ros.research.datasets.label_doubt import (
    CONTRADICTED,
    settle,
    sides_swapped,
    teacher_weight,
)
from lifting_ros.skeleton import KEYPOINT_FLIP, torso_px


def labels(count: int = 6) -> np.ndarray:
    """Hand labels (N, 14, 3) of stick figures, all there."""
    _, keypoints = see(make_poses(count, seed=5))
    return np.concatenate([keypoints, np.ones((count, 14, 1))], -1).astype(np.float32)


def test_agreement_is_left_alone():
    hand = labels()
    np.testing.assert_array_equal(settle(hand, hand * [1, 1, 0.7], torso_px(hand)), hand)


def test_people_labelled_the_wrong_way_round_are_turned_back():
    hand = labels()
    teacher = hand.copy()
    hand[:3] = hand[:3, list(KEYPOINT_FLIP)]
    assert sides_swapped(hand, teacher, torso_px(teacher)).tolist() == [True] * 3 + [False] * 3
    np.testing.assert_array_equal(settle(hand, teacher, torso_px(teacher)), teacher)


def test_a_contradicted_label_stays_where_it_is_and_counts_less():
    teacher = labels()
    hand = teacher.copy()
    torso = torso_px(teacher)
    hand[:, 7, 0] += 0.6 * torso
    hand[:, 4, 0] += 0.1 * torso
    settled = settle(hand, teacher, torso)
    np.testing.assert_allclose(settled[:, 7, 2], CONTRADICTED)
    np.testing.assert_array_equal(settled[..., :2], hand[..., :2])
    assert (np.delete(settled[..., 2], 7, 1) == 1).all()


def test_what_one_opinion_lacks_the_other_gives():
    hand, teacher = labels(), labels()
    hand[:, 2], teacher[:, 9], teacher[:, 2, 2] = 0, 0, 0.8
    torso = torso_px(labels())
    settled = settle(hand, teacher, torso)
    np.testing.assert_allclose(settled[:, 2, 2], 0.4)
    np.testing.assert_array_equal(settled[:, 9], hand[:, 9])
    neither = settle(hand * 0, teacher * 0, np.full(6, np.nan))
    assert (neither == 0).all()


@pytest.mark.parametrize("spread", [0.0, 0.03, 0.15])
def test_weights_fall_with_the_spread(spread):
    assert 0 < teacher_weight(spread + 0.01) < teacher_weight(spread) <= 1
