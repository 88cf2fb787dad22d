# SPDX-License-Identifier: Apache-2.0
"""What the network reads of a person does not depend on which way the camera looks, and the way
back is told."""

import numpy as np
from people import CAMERA, make_poses, see
from stereo_support import turn

from lifting_ros.geometry.camera import Camera
from lifting_ros.lifting.observation import NONE, Rays, into_views, to_rays
from lifting_ros.lifting.person_view import look_at_person

UP = np.array([0.0, -1, 0])


def view_of(joints, up, camera=CAMERA, confidence=None, noise_px=3.0):
    keypoints = camera.project(joints[:, [10, 8, 14, 15, 16, 11, 12, 13, 1, 2, 3, 4, 5, 6]])
    confidence = np.ones(keypoints.shape[:2]) if confidence is None else confidence
    rays = to_rays(
        keypoints,
        confidence,
        np.tile(noise_px**2 * np.eye(2), (*confidence.shape, 1, 1)),
        camera,
        0.0,
        0.0,
    )
    return look_at_person(rays, np.broadcast_to(up, (len(joints), 3)))


def test_turned_or_rolled_camera_gives_the_same_view():
    joints = see(make_poses(6))[0]
    before = view_of(joints, UP)
    for seed, most in ((1, 0.3), (2, 0.5), (3, 0.2)):
        rotation = turn(seed, most)
        after = view_of(joints @ rotation.T, rotation @ UP)
        np.testing.assert_allclose(after.rays, before.rays, atol=1e-12)
        np.testing.assert_allclose(after.rotation @ rotation, before.rotation, atol=1e-12)
        np.testing.assert_allclose(after.context()[:, :3], before.context()[:, :3], atol=1e-9)


def test_camera_matrix_and_distortion_do_not_matter():
    joints = see(make_poses(6))[0]
    other = Camera(
        np.array([[900.0, 0, 70], [0, 800, 600], [0, 0, 1]]), np.array([0.05, -0.02, 0, 0, 0])
    )
    np.testing.assert_allclose(view_of(joints, UP, other).rays, view_of(joints, UP).rays, atol=1e-6)


def test_view_is_a_rotation_centred_and_upright():
    view = view_of(see(make_poses(8))[0] + [1.0, 0.3, 0], turn(5) @ UP)
    np.testing.assert_allclose(
        view.rotation @ np.swapaxes(view.rotation, 1, 2),
        np.broadcast_to(np.eye(3), (8, 3, 3)),
        atol=1e-12,
    )
    np.testing.assert_allclose(np.linalg.det(view.rotation), 1.0)
    up = view.rotation @ turn(5) @ UP
    assert (
        (np.abs(up[:, 0]) < 1e-12).all()
        and (up[:, 1] < 0).all()
        and (np.abs(view.centre) < 0.02).all()
    )
    np.testing.assert_allclose(up[:, 2], view.pitch)
    np.testing.assert_allclose((view.points() ** 2).sum((1, 2)) / 14, 1.0)


def test_covariances_are_those_of_the_turned_rays():
    """Against samples: ten thousand noisy keypoints, turned by the same rotation."""
    rng, joints = np.random.default_rng(0), see(make_poses(1))[0] + [1.5, 0, 0]
    view = view_of(joints, UP, noise_px=2.0)
    keypoints = CAMERA.project(joints[:, [3]])[0, 0] + 2.0 * rng.standard_normal((10000, 2))
    rays = np.concatenate([CAMERA.rays(keypoints), np.ones((10000, 1))], 1) @ view.rotation[0].T
    np.testing.assert_allclose(
        np.cov((rays[:, :2] / rays[:, 2:]).T), view.noise[0, 10], rtol=0.06, atol=1e-7
    )


def test_unseen_keypoints_do_not_count():
    joints, confidence = see(make_poses(4))[0], np.ones((4, 14))
    confidence[:, [0, 5]] = 0
    moved = joints.copy()
    moved[:, [10, 11]] += 0.5
    for one, other in zip(
        view_of(joints, UP, confidence=confidence),
        view_of(moved, UP, confidence=confidence),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    nobody = look_at_person(
        Rays(np.full((2, 14, 2), np.nan), np.full((2, 14, 3), np.nan), np.zeros((2, 14), bool)),
        np.tile(UP, (2, 1)),
    )
    assert (nobody.points() == 0).all() and np.isfinite(nobody.rotation).all()


def test_lost_persons_are_those_other_lifters_refuse():
    joints, up = see(make_poses(12))[0], np.tile(UP, (12, 1))
    keypoints = CAMERA.project(joints[:, [10, 8, 14, 15, 16, 11, 12, 13, 1, 2, 3, 4, 5, 6]])
    noise = np.geomspace(1, 1e6, 12)[:, None, None, None] * np.eye(2) * np.ones((12, 14, 1, 1))
    rays = to_rays(keypoints, np.ones((12, 14)), noise, CAMERA, 0.0, 0.0)
    lost = look_at_person(rays, up).lost()
    np.testing.assert_array_equal(lost, into_views(*rays, up)[-1] == NONE)
    assert lost.any() and not lost.all()


def test_camera_looking_straight_down_has_pitch_one():
    joints = see(make_poses(3))[0]
    forward = view_of(joints, UP).rotation[:, 2]
    for sign in (1, -1):
        view = view_of(joints, sign * forward)
        np.testing.assert_allclose(view.pitch, sign)
        np.testing.assert_allclose(
            view.rotation @ np.swapaxes(view.rotation, 1, 2),
            np.broadcast_to(np.eye(3), (3, 3, 3)),
            atol=1e-12,
        )


def test_unknown_up_is_replaced_by_that_of_the_picture():
    joints = see(make_poses(4))[0]
    known, unknown = view_of(joints, UP), view_of(joints, np.full(3, np.nan))
    np.testing.assert_allclose(unknown.rotation, known.rotation)
    assert (
        np.isnan(unknown.pitch).all()
        and (unknown.context()[:, 2] == 0).all()
        and (known.context()[:, 2] == 1).all()
    )
    assert np.isnan(known.context(calibrated=False)[:, 0]).all()
