# SPDX-License-Identifier: Apache-2.0
"""Persons in other frames, and the frame of a body."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from people import make_poses
from scipy.spatial.transform import Rotation

from lifting_ros.geometry.body_frame import body_frame, in_frame
from lifting_ros.skeleton import JOINT_NAMES
from lifting_ros.types import Person, Skeleton2D, Skeleton3D

J = 17


def person(joints: np.ndarray, seed: int = 0) -> Person:
    rng = np.random.default_rng(seed)
    spread = rng.normal(0, 0.1, (J + 1, 3, 3))
    covariance = spread @ spread.swapaxes(1, 2)
    flat = Skeleton2D(np.zeros((14, 2)), np.ones(14), np.zeros((14, 2, 2)), np.zeros(4), 1.0)
    pose = Skeleton3D(
        joints,
        joints[0],
        covariance[:J],
        covariance[J],
        np.ones(J),
        np.full(J, 2, np.uint8),
        0.0,
        True,
        joints[None] + 0.1,
        np.ones(1),
    )
    return Person(1, 0.0, flat, pose, rng.normal(size=(J, 3)))


def transform(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = Rotation.random(random_state=rng).as_matrix(), rng.normal(size=3)
    return out


def test_there_and_back_is_the_same_and_covariances_turn():
    before, t = person(make_poses(1)[0]), transform(1)
    after = in_frame(before, t)
    direction = np.array([0.3, -0.5, 0.8])
    turned = t[:3, :3] @ direction
    for name in ("covariance_m2", "root_covariance_m2"):
        ours, theirs = getattr(after.skeleton_3d, name), getattr(before.skeleton_3d, name)
        np.testing.assert_allclose(turned @ ours @ turned, direction @ theirs @ direction)
    np.testing.assert_allclose(
        np.linalg.norm(after.velocity_mps, axis=1), np.linalg.norm(before.velocity_mps, axis=1)
    )
    back = in_frame(after, np.linalg.inv(t))
    for field in dataclasses.fields(Skeleton3D):
        np.testing.assert_allclose(
            getattr(back.skeleton_3d, field.name),
            getattr(before.skeleton_3d, field.name),
            atol=1e-12,
        )


def test_velocity_covariance_turns_with_the_velocity():
    """A quarter turn about z maps x to y: the variances of x and y are swapped."""
    t = np.eye(4)
    t[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    t[:3, 3] = [1, 2, 3]
    own = np.array([[1.0, 0.5, 0.1], [0.5, 4.0, 0.2], [0.1, 0.2, 9.0]])
    turned = np.array([[4.0, -0.5, -0.2], [-0.5, 1.0, 0.1], [-0.2, 0.1, 9.0]])
    covariances = np.tile(own, (J, 1, 1))
    covariances[5] = np.nan
    before = dataclasses.replace(person(make_poses(1)[0]), velocity_covariance_m2ps2=covariances)

    after = in_frame(before, t).velocity_covariance_m2ps2

    np.testing.assert_allclose(after[0], turned, atol=1e-12)
    np.testing.assert_allclose(after[6], turned, atol=1e-12)
    assert np.isnan(after[5]).all()


def test_body_looks_forward_and_stands_up():
    """The stick figure faces +z with y up, its right at -x."""
    frame = body_frame(person(make_poses(1, yaw=False)[0]).skeleton_3d)
    forward, left, up = frame[:3, :3].T
    assert forward @ [0, 0, 1] > 0.9 and left @ [1, 0, 0] > 0.9 and up @ [0, 1, 0] > 0.9
    np.testing.assert_allclose(frame[:3, :3] @ frame[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(frame[:3, :3]) > 0


def test_body_frame_moves_with_the_body():
    figure, t = person(make_poses(1, seed=3)[0]), transform(4)
    np.testing.assert_allclose(
        body_frame(in_frame(figure, t).skeleton_3d), t @ body_frame(figure.skeleton_3d), atol=1e-12
    )


@pytest.mark.parametrize("missing", ["pelvis", "thorax", "left_hip"])
def test_no_body_frame_without_a_trunk(missing):
    joints = make_poses(1)[0]
    joints[JOINT_NAMES.index(missing)] = np.nan
    assert body_frame(person(joints).skeleton_3d) is None


def test_non_metric_person_is_turned_and_stays_at_the_origin():
    before, t = person(make_poses(1)[0]), transform(5)
    joints = before.skeleton_3d.joints_m - before.skeleton_3d.root_m
    pose = dataclasses.replace(
        before.skeleton_3d, joints_m=joints, root_m=np.zeros(3), metric=False
    )
    after = in_frame(dataclasses.replace(before, skeleton_3d=pose), t).skeleton_3d
    np.testing.assert_array_equal(after.root_m, np.zeros(3))
    np.testing.assert_allclose(after.joints_m, pose.joints_m @ t[:3, :3].T)
    np.testing.assert_allclose(after.hypotheses_m, pose.hypotheses_m @ t[:3, :3].T)
