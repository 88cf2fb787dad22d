# SPDX-License-Identifier: Apache-2.0
"""People cut off above the hips: where photographs are cut, and what is counted."""

from types import SimpleNamespace

import numpy as np
import pytest
from people import STANDING_PX
from photos import png

from lifting_ros.research.datasets.keypoints2d import PhotoSet
from lifting_ros.research.evaluation.half_bodies import ABOVE_HIPS, LEGS, cut_row, half_body_row
from lifting_ros.skeleton import KEYPOINT_NAMES
from lifting_ros.types import Skeleton2D


def labelled(points: np.ndarray = STANDING_PX) -> np.ndarray:
    return np.column_stack([points, np.ones(14)])


def test_photographs_end_above_the_hips():
    assert cut_row(labelled()) == int(60 - ABOVE_HIPS * 35)


def test_people_who_hang_or_lack_labels_are_left_out():
    assert cut_row(labelled(STANDING_PX * [1, -1] + [0, 110])) is None
    assert cut_row(labelled(STANDING_PX[:, ::-1])) is None
    no_ankle = labelled()
    no_ankle[KEYPOINT_NAMES.index("left_ankle"), 2] = 0
    assert cut_row(no_ankle) is None


class Finds:
    """Stands for an estimator: of a whole picture it reports all keypoints, of a cut one only some
    of the legs."""

    def __init__(self, legs: int, whole: float = 1.0):
        self.legs, self.whole = legs, whole
        self.config = SimpleNamespace(min_keypoint_confidence=0.15)

    def detect(self, image: np.ndarray) -> list:
        return []

    def find_keypoints(self, image: np.ndarray, detections: list) -> list[Skeleton2D]:
        confidence = np.full(14, self.whole)
        if image.shape[0] < 110:
            confidence[LEGS[self.legs :]] = 0.1
        box = np.concatenate([STANDING_PX.min(0), STANDING_PX.max(0)])
        return [Skeleton2D(STANDING_PX, confidence, np.tile(np.eye(2), (14, 1, 1)), box, 0.9)]


@pytest.mark.parametrize("legs", [0, 2, 6])
def test_reported_legs_are_counted(legs):
    picture = png(np.zeros((110, 110, 3), np.uint8))
    photos = PhotoSet(
        "street",
        ("a.png", "b.png"),
        (picture, picture),
        np.stack([labelled()] * 2),
        np.ones(2, bool),
    )
    row = half_body_row(Finds(legs), photos, np.arange(2))
    assert row == {"people": 2.0, "found": 1.0, "absent": float(legs), "present": 1.0}


def test_legs_in_view_but_not_reported_are_told():
    photos = PhotoSet(
        "street",
        ("a.png",),
        (png(np.zeros((110, 110, 3), np.uint8)),),
        labelled()[None],
        np.ones(1, bool),
    )
    assert half_body_row(Finds(0, whole=0.1), photos, np.arange(1))["present"] == 0.0
