# SPDX-License-Identifier: Apache-2.0
"""Scenes and packs of rendered crowds, from a small folder of pictures that the tests draw (see
`photos`)."""

import cv2
import numpy as np
import pytest
from photos import png, write_data, write_tar

from lifting_ros.research.datasets import crowd_pack
from lifting_ros.research.datasets.crowd_pack import open_crowd_pack, write_crowd_pack
from lifting_ros.research.datasets.keypoints2d import PHOTO_SETS, PhotoSet
from lifting_ros.research.datasets.negatives import read_negatives
from lifting_ros.research.datasets.scene_parts import labelled_scene, random_window, read_cutouts
from lifting_ros.research.datasets.scenes import (
    LEAST_SEEN,
    PHOTO_REACH,
    crowd_scene,
    empty_scene,
    surroundings,
)
from lifting_ros.research.rendering import synthetic
from lifting_ros.research.rendering.body import BodyDataError
from lifting_ros.research.rendering.synthetic_picture import SyntheticPerson, SyntheticSample

WIDTH, HEIGHT = 320, 256


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


class Crowds:
    """Stands for the renderer: two people in every crowd, the second hardly seen."""

    size = (WIDTH, HEIGHT)

    def crowd(self, index: int) -> SyntheticSample:
        people = (self._person(60, 1.0), self._person(200, 0.1))
        image = np.full((HEIGHT, WIDTH, 3), (0, 0, 200), np.uint8)
        for person in people:
            x0, y0, x1, y1 = person.box_px.astype(int)
            image[y0 : y1 + 1, x0 : x1 + 1] = 255
        return SyntheticSample(image, people, np.eye(3), np.array([0, -1, 0]))

    def empty(self, index: int) -> SyntheticSample:
        return SyntheticSample(
            np.full((HEIGHT, WIDTH, 3), (0, 0, 200), np.uint8), (), np.eye(3), np.array([0, -1, 0])
        )

    @staticmethod
    def _person(x: float, seen: float) -> SyntheticPerson:
        keypoints = np.column_stack([np.linspace(x, x + 50, 14), np.linspace(60, 200, 14)])
        box = np.concatenate([keypoints.min(0), keypoints.max(0)])
        return SyntheticPerson(
            keypoints, np.arange(14) > 3, np.arange(14) > 3, box, np.zeros((17, 3)), seen
        )


@pytest.mark.parametrize("side", ["train", "tune", "validation"])
def test_crowd_sides_share_no_people_backgrounds_or_seeds(data, monkeypatch, side):
    asked = []
    monkeypatch.setattr(synthetic, "SyntheticPeople", lambda *args: asked.append(args))
    crowd_pack.crowd_source(data, side, (32, 24))
    crowd_pack.crowd_source(data, "tune" if side == "train" else "train", (32, 24))
    (_, _, backgrounds, seed, size, subjects), other = asked
    assert (
        subjects == ("validation" if side == "validation" else "training")
        and size == (32, 24)
        and seed != other[3]
    )
    expected = read_negatives(data / "negatives", side)
    assert len(backgrounds) == len(expected) and all(map(np.array_equal, backgrounds, expected))


def test_hidden_person_is_neither_there_nor_absent():
    keypoints = np.stack([Crowds._person(x, 1).keypoints_px for x in (60, 200)])
    scene = crowd_scene(
        np.zeros((HEIGHT, WIDTH, 3), np.uint8),
        np.dstack([keypoints, np.ones((2, 14))]),
        np.array([1, LEAST_SEEN / 2]),
    )
    np.testing.assert_allclose(scene.boxes, [[60, 60, 110, 200]])
    assert scene.known[130, 85] and not scene.known[60:201, 200:251].any() and scene.known[130, 260]


def test_everything_is_known_where_nobody_is():
    scene = empty_scene(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    assert scene.known.all() and scene.boxes.shape == (0, 4) and scene.keypoints.shape == (0, 14, 3)


def test_surroundings_reach_as_far_as_the_set_says():
    near = surroundings(np.array([100.0, 60, 140, 160]), (WIDTH, HEIGHT), 0.25)
    rows, columns = np.nonzero(near)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (35, 185, 75, 165)
    assert set(PHOTO_REACH) == set(PHOTO_SETS)


def test_random_window_is_a_part_of_the_image():
    image = np.tile(np.arange(200, dtype=np.uint8)[:, None, None], (1, 300, 3))
    window = random_window(image, (64, 48), np.random.default_rng(0))
    assert (
        window.shape == (48, 64, 3)
        and (np.diff(window[:, 0, 0].astype(int)) >= 0).all()
        and np.ptp(window) > 20
    )


def test_boxes_of_rendered_people_take_hidden_keypoints_too():
    keypoints = np.dstack([np.linspace([20, 30], [60, 130], 14)[None], np.zeros((1, 14, 1))])
    scene = crowd_scene(np.zeros((HEIGHT, WIDTH, 3), np.uint8), keypoints, np.ones(1))
    np.testing.assert_allclose(scene.boxes, [[20, 30, 60, 130]])


def test_person_almost_outside_is_unknown():
    keypoints = np.dstack([np.linspace([-60, 30], [10, 130], 14)[None], np.ones((1, 14, 1))])
    scene = labelled_scene(
        np.zeros((HEIGHT, WIDTH, 3), np.uint8), keypoints, [True], np.ones((HEIGHT, WIDTH), bool)
    )
    assert not len(scene.boxes) and not scene.known[80, 5] and scene.known[80, 50]


def test_keypoints_of_a_cutout_lie_where_they_lay(tmp_path):
    """A picture at half size: what was at a pixel's centre is a quarter of a pixel off its own
    half. Who has no mask is left out."""
    image, x, y = np.zeros((80, 60, 3), np.uint8), 21, 40
    cv2.circle(image, (x, y), 8, (255, 255, 255), -1)
    write_tar(tmp_path / "masks.tar", {"a.png": png(image[..., 0])})
    np.savez(
        tmp_path / "annotations.npz",
        names=np.array(["a.jpg", "b.jpg"]),
        has_mask=np.array([True, False]),
    )
    street = PhotoSet(
        "street",
        ("a.jpg", "b.jpg"),
        (png(image),) * 2,
        np.tile(np.float32([x, y, 1]), (2, 14, 1)),
        np.zeros(2, bool),
    )
    (cutout,) = read_cutouts(tmp_path, street, np.ones(2, bool))
    for shown in (cutout.image[..., 0], cutout.mask):
        row, column = np.nonzero(shown)
        weight = shown[row, column].astype(float)
        centre = np.average(column, weights=weight), np.average(row, weights=weight)
        np.testing.assert_allclose(cutout.keypoints[:, :2], np.tile(centre, (14, 1)), atol=0.02)


def test_pack_of_older_version_is_made_again(tmp_path, data, monkeypatch):
    made = []
    monkeypatch.setattr(crowd_pack, "crowd_source", lambda *_: made.append("again") or Crowds())
    write_crowd_pack(tmp_path / "p", Crowds, Crowds.size, 2, 1, workers=1)
    labels = dict(np.load(tmp_path / "p" / "labels.npz"))
    np.savez(
        tmp_path / "p" / "labels.npz",
        **{name: values for name, values in labels.items() if name != "version"},
    )
    monkeypatch.setattr(
        "lifting_ros.research.rendering.synthetic_pack.os.sched_getaffinity", lambda _: {0}
    )  # rendered here, where the stand-in is
    open_crowd_pack(tmp_path / "p", data, "train", Crowds.size, 2, 1)
    assert not made
    np.savez(tmp_path / "p" / "labels.npz", **labels | {"version": 0})
    assert (
        open_crowd_pack(tmp_path / "p", data, "train", Crowds.size, 2, 1).picture.tolist()
        == [0, 0, 1, 1]
        and made
    )


def test_a_pack_of_as_many_pictures_but_fewer_crowds_is_refused(tmp_path, data):
    write_crowd_pack(tmp_path / "p", Crowds, Crowds.size, 2, 1, workers=1)
    with pytest.raises(ValueError, match="nobody is expected: remove it"):
        open_crowd_pack(tmp_path / "p", data, "train", Crowds.size, 1, 2)


def test_a_pack_that_was_not_finished_is_no_pack(tmp_path, data):
    write_crowd_pack(tmp_path / "p", Crowds, Crowds.size, 2, 1, workers=1)
    pack = open_crowd_pack(tmp_path / "p", data, "train", Crowds.size, 2, 1)
    assert (
        pack.picture.tolist() == [0, 0, 1, 1]
        and pack.seen.shape == (4,)
        and pack.images.shape == (3, HEIGHT, WIDTH, 3)
    )
    with pytest.raises(ValueError, match="remove it"):
        open_crowd_pack(tmp_path / "p", data, "train", Crowds.size, 5, 1)
    (tmp_path / "p" / "labels.npz").unlink()
    with pytest.raises(
        BodyDataError, match="missing"
    ):  # rendered anew, for which the tests' folder has no body
        open_crowd_pack(tmp_path / "p", data, "train", Crowds.size, 2, 1)
