# SPDX-License-Identifier: Apache-2.0
"""Overlays show the skeletons where they are, and take whatever an image gives: nobody, many,
people of whom nothing is known."""

import dataclasses

import numpy as np
import pytest
from people import CAMERA, make_poses, see, small_prior

from lifting_ros.lifting.lifting import Lifter
from lifting_ros.types import JointStatus, Person, Skeleton2D, Skeleton3D
from lifting_ros.viz.overlay import contact_sheet, draw_overlay
from lifting_ros.viz.overlay_3d import make_view, placed, room_around

GREY = np.full((480, 640, 3), 90, np.uint8)


def make_persons(count, camera=CAMERA, hidden=()):
    """People seen by the tests' camera and lifted."""
    _, pixels = see(make_poses(count))
    confidence = np.ones((count, 14))
    confidence[:, list(hidden)] = 0
    covariance = np.tile(16.0 * np.eye(2), (count, 14, 1, 1))
    lifted = Lifter(small_prior()).lift(
        pixels, confidence, covariance, camera, np.array([0.0, -1, 0])
    )
    out = []
    for i in range(count):
        box = np.concatenate([pixels[i].min(0), pixels[i].max(0)])
        flat = Skeleton2D(pixels[i], confidence[i], covariance[i], box, 1.0)
        out.append(
            Person(
                i + 1,
                0.0,
                flat,
                lifted.skeleton(i, confidence[i], camera is not None),
                np.full((17, 3), np.nan),
            )
        )
    return out


def unknown(person):
    """The same person with everything NaN and nothing seen."""

    def nan(value):
        gone = {
            f.name: np.full_like(v, np.nan)
            for f in dataclasses.fields(value)
            if isinstance(v := getattr(value, f.name), np.ndarray) and v.dtype == np.float64
        }
        return dataclasses.replace(value, **gone)

    flat = dataclasses.replace(nan(person.skeleton_2d), confidence=np.zeros(14))
    lifted: Skeleton3D = dataclasses.replace(nan(person.skeleton_3d), status=np.zeros(17, np.uint8))
    return dataclasses.replace(person, skeleton_2d=flat, skeleton_3d=lifted)


@pytest.fixture(scope="module")
def person():
    return make_persons(1)[0]


def test_pixels_change_where_the_skeleton_is_and_nowhere_else(person):
    empty, drawn = draw_overlay(GREY, []), draw_overlay(GREY, [person])
    assert drawn.shape == empty.shape and drawn.dtype == np.uint8
    changed = (drawn[:480, :640] != empty[:480, :640]).any(-1)
    for x, y in np.rint(person.skeleton_2d.keypoints_px).astype(int):
        assert changed[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4].any()
    x0, y0, x1, y1 = person.skeleton_2d.box_px.astype(int) + np.array([-10, -10, 10, 10])
    changed[max(y0, 0) : y1, max(x0, 0) : x1] = False
    assert not changed.any()


def test_the_sides_have_their_colours(person):
    drawn = draw_overlay(GREY, [person])[:480, :640].astype(int)
    elbows = {side: person.skeleton_2d.keypoints_px[k] for side, k in (("right", 3), ("left", 6))}
    for side, (x, y) in elbows.items():
        red, _, blue = drawn[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2].mean((0, 1))
        assert (red > blue) == (side == "right")


def test_what_is_less_certain_is_dimmer(person):
    flat = dataclasses.replace(person.skeleton_2d, confidence=np.full(14, 0.2))
    empty, sure, unsure = (
        draw_overlay(GREY, persons)[:480, :640].astype(int)
        for persons in ([], [person], [dataclasses.replace(person, skeleton_2d=flat)])
    )
    assert 0 < np.abs(unsure - empty).sum() < 0.7 * np.abs(sure - empty).sum()


def test_inferred_joints_look_different():
    seen, hidden = make_persons(1)[0], make_persons(1, hidden=(3, 4))[0]
    assert (hidden.skeleton_3d.status[[15, 16]] == JointStatus.INFERRED).all()
    solid = np.where(
        hidden.skeleton_3d.status == JointStatus.INFERRED,
        JointStatus.OBSERVED,
        hidden.skeleton_3d.status,
    )
    painted = dataclasses.replace(
        hidden, skeleton_3d=dataclasses.replace(hidden.skeleton_3d, status=solid.astype(np.uint8))
    )
    assert seen.skeleton_3d.status[15] == JointStatus.OBSERVED
    assert (draw_overlay(GREY, [hidden])[:, 640:] != draw_overlay(GREY, [painted])[:, 640:]).any()


def test_a_person_of_whom_nothing_is_known_is_as_nobody(person):
    np.testing.assert_array_equal(draw_overlay(GREY, [unknown(person)]), draw_overlay(GREY, []))


def test_some_joints_unknown_are_left_out(person):
    pose = person.skeleton_3d
    joints, covariance, status = pose.joints_m.copy(), pose.covariance_m2.copy(), pose.status.copy()
    joints[[3, 10]], covariance[[3, 10, 12]], status[[3, 10]] = np.nan, np.nan, JointStatus.INVALID
    partly = dataclasses.replace(pose, joints_m=joints, covariance_m2=covariance, status=status)
    assert (
        draw_overlay(GREY, [dataclasses.replace(person, skeleton_3d=partly)]).shape
        == draw_overlay(GREY, []).shape
    )


@pytest.mark.parametrize("size", [(480, 640), (1, 1), (37, 900), (1500, 800)])
def test_any_image_size_and_number_of_people(size):
    image = np.zeros((*size, 3), np.uint8)
    for persons in ([], make_persons(3), make_persons(3, camera=None)):
        assert draw_overlay(image, persons, height_px=200).shape[2] == 3


def test_the_image_is_not_changed(person):
    image = GREY.copy()
    draw_overlay(image, [person])
    np.testing.assert_array_equal(image, GREY)


def test_a_sheet_holds_every_image(person):
    one = contact_sheet([GREY], [[person]], ["a"], columns=2, height_px=200)
    three = contact_sheet(
        [GREY, GREY, GREY[:200]], [[person], [], []], ["a", "b", "c"], columns=2, height_px=200
    )
    assert three.shape[1] > 1.5 * one.shape[1] and three.shape[0] > 1.5 * one.shape[0]
    with pytest.raises(ValueError, match="at least one image"):
        contact_sheet([], [], [])


def test_people_stand_upright_and_depth_goes_to_the_right():
    view = make_view()
    origin, up, ahead = view(np.zeros(3)), view(np.array([0, -1.0, 0])), view(np.array([0, 0, 1.0]))
    assert up[1] > origin[1] and abs(up[0]) < 1e-9
    assert ahead[0] > origin[0] and ahead[1] > origin[1]
    np.testing.assert_allclose(view.plane @ view.plane.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(view.plane @ view.away, 0, atol=1e-12)


def test_people_without_a_place_stand_side_by_side():
    people = placed(make_persons(3, camera=None))
    middles = [joints[0, 0] for _, joints in people]
    assert np.diff(middles).min() > 1.0
    assert all(
        np.array_equal(p.skeleton_3d.joints_m, j)
        for p, (_, j) in zip(make_persons(1), placed(make_persons(1)))
    )


def test_the_room_holds_everybody():
    people = [joints for _, joints in placed(make_persons(3))]
    room = room_around(people)
    assert (np.concatenate(people) >= room.low).all() and (
        np.concatenate(people) <= room.high + 1e-12
    ).all()
    assert room.floor == max(joints[:, 1].max() for joints in people)
