# SPDX-License-Identifier: Apache-2.0
"""Montages: boxes lie where the people are, doubt is kept, a number gives the same montage."""

import numpy as np
import pytest

from lifting_ros.errors import DataError
from lifting_ros.research.datasets import montage as module
from lifting_ros.research.datasets.montage import (
    Montages,
    Picture,
    empty_picture,
    open_montages,
    teach,
)

BOX = np.array([20.0, 20, 49, 99])


def picture(sure: bool = True) -> Picture:
    """A white person on black, left of the middle."""
    image = np.zeros((120, 90, 3), np.uint8)
    image[20:100, 20:50] = 255
    return Picture(image, BOX[None], np.array([sure]))


def plain(image, rng):
    return image


@pytest.mark.parametrize("number", range(12))
def test_boxes_lie_on_the_people(number, monkeypatch):
    monkeypatch.setattr(module, "_recoloured", plain)
    monkeypatch.setattr(module, "_GRIDS", ((1, 1),))
    monkeypatch.setattr(module, "_GRID_SHARES", (1.0,))
    made = Montages([[picture()]], [], 0.0, seed=number).make(number, (256, 192))

    (box,) = made.boxes
    inside = made.image[
        round(box[1]) + 2 : round(box[3]) - 1, round(box[0]) + 2 : round(box[2]) - 1
    ]
    assert inside.size and (inside == 255).all()
    if box[0] >= 3:
        column = made.image[round((box[1] + box[3]) / 2), round(box[0]) - 3]
        assert (column < 255).any()
    if box[1] >= 3:
        row = made.image[round(box[1]) - 3, round((box[0] + box[2]) / 2)]
        assert (row < 255).any()


def test_people_of_all_cells_are_kept(monkeypatch):
    monkeypatch.setattr(module, "_GRIDS", ((2, 2),))
    monkeypatch.setattr(module, "_GRID_SHARES", (1.0,))
    made = Montages([[picture()]], [], 0.0, seed=0).make(3, (320, 256))
    assert len(made.boxes) == 4
    centres = (made.boxes[:, :2] + made.boxes[:, 2:]) / 2
    assert len({(x > 160, y > 128) for x, y in centres}) == 4


def test_number_and_seed_decide():
    people, empty = [[picture()]], [empty_picture(np.full((40, 60, 3), 9, np.uint8))]
    both = [Montages(people, empty, 0.3, seed=5).make(7, (256, 256)) for _ in range(2)]
    assert all(np.array_equal(a, b) for a, b in zip(*both))
    other = Montages(people, empty, 0.3, seed=6).make(7, (256, 256))
    assert not np.array_equal(both[0].image, other.image)


def test_small_and_doubtful_people_stay_in_doubt(monkeypatch):
    assert not Montages([[picture(False)]], [], 0.0, 0).make(0, (256, 256)).sure.any()
    monkeypatch.setattr(module, "_GRIDS", ((30, 30),))
    monkeypatch.setattr(module, "_GRID_SHARES", (1.0,))
    tiny = Montages([[picture()]], [], 0.0, 0).make(0, (240, 240))
    assert len(tiny.boxes) and not tiny.sure.any()


class Photos:
    """One photograph with a labelled person."""

    name = "photos"
    keypoints = np.array([[[22.0, 26, 1], [46, 92, 1], [30, 50, 0]]])

    def image(self, row):
        return picture().image


class Teacher:
    """Says the same of every photograph."""

    def __init__(self, *persons):
        self.boxes = np.array([box for box, _ in persons]).reshape(-1, 4)
        self.scores = np.array([score for _, score in persons])

    def find_persons(self, image):
        return self.boxes, self.scores


def test_labelled_person_is_sure_with_the_teachers_box():
    (taught,) = teach(Teacher((BOX, 0.1), ((0, 0, 10, 30), 0.2)), Photos(), [0])
    np.testing.assert_array_equal(taught.boxes[0], BOX)
    assert taught.sure.tolist() == [True, False]


def test_labelled_person_unknown_to_the_teacher_is_added():
    (taught,) = teach(Teacher(((0, 0, 10, 30), 0.9)), Photos(), [0])
    assert taught.sure.tolist() == [True, True]
    left, top, right, bottom = taught.boxes[0]
    assert left < 22 and top < 26 and right > 46 and bottom > 92


@pytest.mark.parametrize("shape", [(1, 2000, 3), (2000, 1, 3), (1, 1, 3)])
def test_thin_pictures_are_taken(shape):
    image = empty_picture(np.zeros(shape, np.uint8)).image
    assert min(image.shape[:2]) == 1 and max(image.shape[:2]) <= module.SIDE_PX


def test_no_photograph_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "photo_sets_in", lambda folder: ())
    with pytest.raises(DataError, match="no photograph of the side 'train'"):
        open_montages(tmp_path, "train", Teacher(), 3, 0.1, 0)
