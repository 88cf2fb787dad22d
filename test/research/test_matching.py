# SPDX-License-Identifier: Apache-2.0
import numpy as np

from lifting_ros.research.datasets.matching import REPEATED, RIGHT, UNKNOWN, WRONG, judge
from lifting_ros.research.datasets.scene_parts import Scene

PEOPLE = np.array([[10.0, 10, 30, 60], [50, 10, 70, 60]])


def scene() -> Scene:
    """Two people on the left of a picture whose right end is not known."""
    known = np.ones((80, 160), bool)
    known[:, 120:] = False
    return Scene(np.zeros((80, 160, 3), np.uint8), PEOPLE, np.zeros((2, 14, 3)), known)


def test_true_boxes_are_right_in_any_order():
    for order in ([0, 1], [1, 0]):
        verdicts, found_by = judge(PEOPLE[order], scene())
        assert (
            verdicts.tolist() == [RIGHT, RIGHT] and found_by.tolist() == np.argsort(order).tolist()
        )


def test_the_second_box_of_a_person_is_no_second_person():
    verdicts, found_by = judge(np.array([PEOPLE[0], PEOPLE[0] + 2]), scene())
    assert verdicts.tolist() == [RIGHT, REPEATED] and found_by.tolist() == [0, -1]


def test_a_box_elsewhere_is_wrong_where_nobody_is_known_to_be():
    boxes = np.array([[90.0, 10, 110, 60], [130, 10, 150, 60], [150, 10, 190, 60]])
    assert judge(boxes, scene())[0].tolist() == [WRONG, UNKNOWN, UNKNOWN]


def test_half_a_person_is_not_that_person():
    verdicts, found_by = judge(PEOPLE[:1] * [1, 1, 1, 0.5], scene())
    assert verdicts.tolist() == [WRONG] and found_by.tolist() == [-1, -1]


def test_nothing_found_and_nobody_there():
    empty = scene()._replace(boxes=np.zeros((0, 4)))
    assert judge(np.zeros((0, 4)), scene())[1].tolist() == [-1, -1]
    assert judge(PEOPLE, empty)[0].tolist() == [WRONG, WRONG]
