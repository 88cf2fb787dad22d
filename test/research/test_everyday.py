# SPDX-License-Identifier: Apache-2.0
"""Everyday photographs with several labelled people: who counts, whose answer is whose, and what
the ellipses hold."""

import numpy as np
import pytest
from people import STANDING_PX
from photos import png, write_tar

from lifting_ros.research.evaluation.everyday import (
    Answers,
    EverydaySet,
    best_answer,
    everyday_row,
    everyday_tables,
    find_everybody,
    kinds_of_people,
    read_everyday,
)
from lifting_ros.skeleton import KEYPOINT_FLIP, KEYPOINT_NAMES, LSP_TO_KEYPOINT
from lifting_ros.types import Skeleton2D

TORSO = np.linalg.norm(STANDING_PX[5] - STANDING_PX[8])


def labelled(points: np.ndarray = STANDING_PX) -> np.ndarray:
    """(14, 3) with head and neck not labelled, as in the set."""
    label = np.column_stack([points, np.ones(14)])
    label[:2, 2] = 0
    return label


def skeleton(points: np.ndarray, std_px: float = 2.0) -> Skeleton2D:
    box = np.concatenate([points.min(0), points.max(0)])
    return Skeleton2D(points, np.ones(14), np.tile(std_px**2 * np.eye(2), (14, 1, 1)), box, 0.9)


class Finds:
    """Stands for an estimator that sees the same people in every photograph."""

    def __init__(self, *people: Skeleton2D):
        self.people = list(people)

    def detect(self, image: np.ndarray) -> list:
        return []

    def find_keypoints(self, image: np.ndarray, detections: list) -> list[Skeleton2D]:
        return self.people


def test_best_answer_is_the_one_with_most_keypoints_right():
    near, exact = skeleton(STANDING_PX + 0.25 * TORSO), skeleton(STANDING_PX)
    assert best_answer([near, exact], labelled()) is exact
    assert best_answer([near], labelled()) is near
    assert best_answer([skeleton(STANDING_PX + 2 * TORSO)], labelled()) is None
    assert best_answer([], labelled()) is None


def test_missing_keypoints_are_wrong_not_skipped():
    partly = STANDING_PX.copy()
    partly[2:10] = np.nan
    assert best_answer([skeleton(partly)], labelled()) is None


def test_kinds_of_people():
    sitting = STANDING_PX.copy()
    sitting[[9, 12], 1] = 62
    partly = labelled()
    partly[KEYPOINT_NAMES.index("left_ankle"), 2] = 0
    small = labelled(STANDING_PX * 0.4)
    no_hip = labelled()
    no_hip[KEYPOINT_NAMES.index("left_hip"), 2] = 0
    kinds = kinds_of_people(np.stack([labelled(), labelled(sitting), partly, small, no_hip]))
    assert kinds["all"].tolist() == [True, True, True, False, False]
    assert kinds["whole"].tolist() == [True, True, False, False, False]
    assert kinds["partly seen"].tolist() == [False, False, True, False, False]
    assert kinds["sitting"].tolist() == [False, True, False, False, False]


def test_a_person_not_found_is_wrong_in_every_keypoint():
    photos = EverydaySet(
        (np.zeros((8, 8, 3), np.uint8),) * 2,
        np.stack([labelled(), labelled(STANDING_PX + 500)]),
        np.array([0, 1]),
    )
    rows = everyday_tables(Finds(skeleton(STANDING_PX)), photos)
    assert rows["all"]["PCK"] == pytest.approx(50) and rows["all"]["found"] == pytest.approx(50)
    assert rows["sitting"]["people"] == 0 and np.isnan(rows["sitting"]["PCK"])


def test_a_row_of_nobody_has_the_columns_of_the_others():
    photos = EverydaySet((np.zeros((8, 8, 3), np.uint8),), labelled()[None], np.array([0]))
    rows = everyday_tables(Finds(skeleton(STANDING_PX)), photos)
    assert rows["sitting"]["people"] == 0 and rows["all"]["people"] == 1
    assert list(rows["sitting"]) == list(rows["all"])


def test_exchanged_sides_are_wrong():
    photos = EverydaySet((np.zeros((8, 8, 3), np.uint8),), labelled()[None], np.array([0]))
    exchanged = skeleton(STANDING_PX[list(KEYPOINT_FLIP)])
    assert everyday_tables(Finds(exchanged), photos)["all"]["PCK"] < 20


@pytest.mark.parametrize(("std", "inside"), [(2.0, 50), (4.0, 94), (1.0, 16)])
def test_ellipses_hold_what_their_size_says(std, inside):
    rng = np.random.default_rng(0)
    people = 400
    error = 2.0 * rng.standard_normal((people, 14, 2))
    answers = Answers(error, np.tile(std**2 * np.eye(2), (people, 14, 1, 1)))
    row = everyday_row(answers, np.tile(labelled(), (people, 1, 1)), np.ones(people, bool))
    assert row["50 %"] == pytest.approx(inside, abs=2)
    assert row["NEES"] == pytest.approx((2.0 / std) ** 2, rel=0.05)


def test_the_set_is_read_in_our_order(tmp_path):
    image = np.full((20, 30, 3), 77, np.uint8)
    write_tar(tmp_path / "images.tar", {"a.png": png(image)})
    joints = np.arange(42, dtype=float).reshape(1, 14, 3)
    np.savez(
        tmp_path / "annotations.npz",
        names=np.array(["a.png"]),
        joints=joints,
        image_index=np.array([0]),
    )
    photos = read_everyday(tmp_path)
    np.testing.assert_array_equal(photos.images[0], image)
    np.testing.assert_array_equal(photos.keypoints[0], joints[0, list(LSP_TO_KEYPOINT)])
    assert np.isnan(find_everybody(Finds(), photos).error_px).all()
