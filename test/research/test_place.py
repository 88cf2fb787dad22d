# SPDX-License-Identifier: Apache-2.0
"""Range and place of people found in pictures, and which kinds of people there are."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from people import CAMERA, make_poses, see
from walkers import person

from lifting_ros.geometry.camera import Camera
from lifting_ros.research.datasets.pack import Pack
from lifting_ros.research.evaluation.half_bodies import LEGS
from lifting_ros.research.evaluation.people_groups import facing_deg, groups_of, knee_deg
from lifting_ros.research.evaluation.place import SIGHTS, Placed, Sight, place_row, place_rows, show
from lifting_ros.research.evaluation.synthetic_people import RenderedPeople

STD_M = np.array([0.02, 0.02, 0.3])


def standing(turn_deg: float, knee_deg: float = 180.0) -> np.ndarray:
    """A person (1, 17, 3) in the optical frame, turned from facing the camera; one knee bent."""
    joints = np.zeros((17, 3))
    joints[[1, 4]] = [[-0.1, 0, 0], [0.1, 0, 0]]
    joints[[2, 5]] = joints[[1, 4]] + [0, 0.4, 0]
    joints[[3, 6]] = joints[[2, 5]] + [0, 0.4, 0]
    bend = np.radians(180 - knee_deg)
    joints[3] = joints[2] + 0.4 * np.array([0, np.cos(bend), np.sin(bend)])
    joints[8] = [0, -0.5, 0]
    c, s = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    return (joints @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) + [0, 0, 4.0])[None]


@pytest.mark.parametrize("turn", [0.0, 30.0, 90.0, 180.0])
def test_where_a_person_faces(turn):
    assert facing_deg(standing(turn))[0] == pytest.approx(turn, abs=1e-5)
    assert facing_deg(standing(-turn))[0] == pytest.approx(turn, abs=1e-5)


def test_kinds_of_people():
    people = np.concatenate([standing(10, 100), standing(170), standing(-80, 130)])
    assert knee_deg(people, "right") == pytest.approx([100, 180, 130])
    groups = groups_of(people)
    assert [groups[name].tolist() for name in groups] == [
        [False, True, True],
        [True, False, False],
        [True, False, False],
        [False, False, True],
        [False, True, False],
    ]


def placed(count: int = 4000) -> Placed:
    """Errors as the covariances say, straight ahead and far away."""
    rng = np.random.default_rng(0)
    truth = np.tile([0.0, 0.0, 100.0], (count, 17, 1))
    root = truth[:, 0] + STD_M * rng.standard_normal((count, 3))
    return Placed(root, np.tile(np.diag(STD_M**2), (count, 1, 1)), truth, np.full(count, 9.0), 5000)


def test_right_ranges_are_called_right():
    row = place_row(placed())
    assert row["NEES"] == pytest.approx(1, abs=0.08)
    assert row["place NEES"] == pytest.approx(1, abs=0.06)
    assert row["50 %"] == pytest.approx(50, abs=3) and row["90 %"] == pytest.approx(90, abs=2)
    assert row["range / true"] == pytest.approx(1, abs=1e-3)
    mean_error = 100 * np.sqrt(2 / np.pi) * STD_M[2] / 100
    assert row["range error %"] == pytest.approx(mean_error, rel=0.05)


def test_a_row_of_nobody_has_no_figures():
    row = place_row(placed(3), np.zeros(3, bool))
    assert row["people"] == 0 and np.isnan(row["NEES"]) and np.isnan(row["range error %"])


def test_a_smaller_picture_shows_the_same_rays():
    joints, keypoints = see(make_poses(1))
    labels = np.concatenate([keypoints[0], np.ones((14, 1))], -1)
    image = np.zeros((480, 640, 3), np.uint8)
    small, matrix, moved = show(image, CAMERA.matrix, labels, Sight(scale=0.5))
    assert small.shape == (240, 320, 3)
    np.testing.assert_allclose(
        Camera(matrix).rays(moved[:, :2]), CAMERA.rays(labels[:, :2]), atol=1e-9
    )


def test_a_cut_picture_shows_no_legs():
    _, keypoints = see(make_poses(1))
    labels = np.concatenate([keypoints[0], np.ones((14, 1))], -1)
    image = np.zeros((480, 640, 3), np.uint8)
    cut, matrix, left = show(image, CAMERA.matrix, labels, Sight(is_cut=True))
    assert len(cut) < labels[LEGS, 1].min() and len(left) == 14 - len(LEGS)
    np.testing.assert_array_equal(matrix, CAMERA.matrix)
    lying = labels[:, [1, 0, 2]]
    assert show(image, CAMERA.matrix, lying, Sight(is_cut=True)) is None


class Placer:
    """An estimator that finds one person too far away by a tenth, but for small pictures."""

    def __init__(self, joints_m: np.ndarray, keypoints_px: np.ndarray):
        self._people = joints_m, keypoints_px

    def estimate(self, image, camera, up):
        joints_m, keypoints_px = self._people
        scale = image.shape[1] / 640
        if scale < 0.5:
            return SimpleNamespace(persons=())

        index = image[0, 0, 0]
        shown = scale * keypoints_px[index]
        shown = shown[shown[:, 1] < len(image)]
        found = person(
            np.zeros((14, 2)),
            1.0,
            joints_m[index],
            1.1 * joints_m[index, 0],
            np.tile(np.eye(3), (17, 1, 1)),
            np.eye(3),
            True,
        )
        box_px = np.concatenate([shown.min(0), shown.max(0)])
        flat = dataclasses.replace(found.skeleton_2d, box_px=box_px)
        return SimpleNamespace(persons=(dataclasses.replace(found, skeleton_2d=flat),))


def test_every_sight_has_its_rows():
    joints, keypoints = see(make_poses(6))
    count = len(joints)
    images = np.zeros((count, 480, 640, 3), np.uint8)
    images[:] = np.arange(count)[:, None, None, None]
    labels = np.concatenate([keypoints, np.ones((count, 14, 1))], -1)
    people = RenderedPeople(
        Pack("rendered", images, labels, np.ones(count, bool)),
        np.arange(count),
        joints,
        np.tile(CAMERA.matrix, (count, 1, 1)),
        np.tile([0.0, -1, 0], (count, 1)),
    )
    rows = place_rows(Placer(joints, keypoints), people)
    assert len(rows) == 3 * len(SIGHTS)
    assert rows["whole, all"]["range / true"] == pytest.approx(1.1)
    assert rows["whole, all"]["people"] == count and rows["whole, all"]["found %"] == 100
    whole_px = rows["whole, all"]["longer side px"]
    assert rows["half the size, all"]["longer side px"] == pytest.approx(whole_px / 2, rel=1e-3)
    assert rows["a quarter of the size, all"]["found %"] == 0
    assert rows["cut off above the hips, all"]["range error %"] == pytest.approx(10)
