# SPDX-License-Identifier: Apache-2.0
"""The protocols do to people and cameras what their names say."""

import numpy as np
import pytest
from people import make_poses

from lifting_ros.research.datasets.mocap import Mocap
from lifting_ros.research.datasets.virtual_cameras import make_views
from lifting_ros.research.evaluation.virtual_cameras import (
    LEGS,
    MORE_PROTOCOLS,
    PROTOCOLS,
    Protocol,
    make_trial,
    validation_poses,
)
from lifting_ros.skeleton import KEYPOINT_TO_JOINT, limb_lengths

POSES = make_poses(50, seed=2)


def test_cameras_stand_where_the_protocol_says():
    views = make_views(POSES, 4)
    middle = 0.5 * (np.repeat(POSES, 4, 0).min(1) + np.repeat(POSES, 4, 0).max(1))
    distance = np.linalg.norm(0.5 * (views.joints_m.min(1) + views.joints_m.max(1)), axis=-1)
    assert 2.7 < distance.min() and distance.max() < 6.5 and len(distance) == 200
    floor = np.einsum(
        "na,nja->nj", views.up, views.joints_m
    )  # height of the joints over the camera
    height = np.repeat(POSES[..., 1], 4, 0) - floor
    np.testing.assert_allclose(height, height[:, :1].repeat(17, 1), atol=1e-9)
    assert 0.8 <= height.min() < 0.85 and 1.75 < height.max() <= 1.8
    assert np.abs(views.keypoints_px - 499.5).max() < 500 and middle.shape == (200, 3)
    np.testing.assert_allclose(limb_lengths(views.joints_m), np.repeat(limb_lengths(POSES), 4, 0))


def test_right_stays_right():
    """A mirrored camera frame would turn people's right into their left: seen from the front, the
    right hand is left in the image."""
    person = np.zeros((1, 17, 3)) + [0, 1, 0]
    person[0, :, 1] = np.linspace(0, 1.7, 17)
    person[0, 1, 0], person[0, 4, 0] = -0.1, 0.1  # right hip at -x: the figure faces +z
    views = make_views(person, 200)
    facing = views.joints_m[:, 0, 2] > 0
    across = views.joints_m[:, 4] - views.joints_m[:, 1]  # right to left hip
    front = np.cross(across, views.up)  # the way the person faces
    assert facing.all()
    assert (np.sign(across[:, 0]) == np.where(front[:, 2] < 0, 1, -1))[
        np.abs(across[:, 0]) > 1e-3
    ].all()


def test_noise_and_missing_keypoints():
    exact, noisy, fewer = (make_trial(POSES, protocol) for protocol in PROTOCOLS.values())
    np.testing.assert_array_equal(
        exact.keypoints_px, exact.camera.project(exact.joints_m[:, list(KEYPOINT_TO_JOINT)])
    )
    np.testing.assert_array_equal(exact.joints_m, noisy.joints_m)  # the same views for every row
    assert (noisy.keypoints_px - exact.keypoints_px).std() == pytest.approx(5, rel=0.03)
    assert noisy.covariance_px2[0, 0, 0, 0] == 25 and exact.covariance_px2[0, 0, 0, 0] == 4
    assert ((fewer.confidence == 0).sum(1) == 3).all() and (fewer.confidence == 0).sum(0).min() > 20
    np.testing.assert_array_equal(np.isnan(fewer.keypoints_px[..., 0]), fewer.confidence == 0)


def test_the_same_seed_gives_the_same_trial():
    one, same, other = (make_trial(POSES, Protocol(noise_px=5), seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.keypoints_px, same.keypoints_px)
    assert not np.allclose(one.keypoints_px, other.keypoints_px)


def test_harder_scenes():
    trials = {name: make_trial(POSES, protocol) for name, protocol in MORE_PROTOCOLS.items()}
    up = make_trial(POSES, Protocol()).up
    hands = trials["handstand"]
    head = np.einsum("na,na->n", hands.up, hands.joints_m[:, 10] - hands.joints_m[:, 0])
    assert (head < 0).mean() > 0.95 and np.isfinite(hands.up).all()
    assert (
        np.isnan(trials["handstand, up unknown"].up).all()
        and np.isnan(trials["up unknown"].up).all()
    )
    looking_down = np.degrees(np.arcsin(-trials["pitched 30 deg"].up[:, 2]))
    np.testing.assert_allclose(looking_down, 30, atol=1e-6)
    assert np.abs(np.degrees(np.arcsin(-up[:, 2]))).max() < 20
    assert (trials["legs missing"].confidence[:, list(LEGS)] == 0).all() and len(LEGS) == 6
    assert (trials["legs missing"].confidence.sum(1) == 8).all()
    assert trials["no K"].camera is None


def test_only_validation_subjects_are_measured():
    ids = np.arange(50) % 2
    mocap = Mocap(POSES, ids, ids, np.ones(50, bool), ("cmu01", "cmu02"))
    chosen = validation_poses(mocap, 10)
    assert len(chosen) == 10 and all((POSES[1::2] == pose).all((1, 2)).any() for pose in chosen)
    assert len(validation_poses(mocap, 1000)) == 25
    other = validation_poses(mocap._replace(subjects=("a", "b")), 10)
    assert all((POSES[1::2] == pose).all((1, 2)).any() for pose in other)
