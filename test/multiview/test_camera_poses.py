# SPDX-License-Identifier: Apache-2.0
"""Poses of cameras from the people that they see, against the poses that made the keypoints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from people_in_views import FPS, around, sees, walker
from scipy.spatial.transform import Rotation

from lifting_ros.geometry.body_frame import in_frame
from lifting_ros.multiview.camera_poses import CameraPosesError, estimate_camera_poses
from lifting_ros.multiview.sighting import CameraFrame, View
from lifting_ros.multiview.timeline import CameraStream
from lifting_ros.skeleton import JOINT_FLIP, KEYPOINT_FLIP

NAMES = ("front", "side", "rear")
WALK = walker(seconds=2.0)
OTHER = walker((0.5, -0.8), (-0.7, 0.9), 2.0)
THIRD = walker((-0.9, 0.9), (0.9, 0.7), 2.0)
LONG = np.concatenate([WALK, THIRD, OTHER])
PERIOD_NS = round(1e9 / FPS)


def stream_of(view, people, rng=None, std_px=3.0, change=None, late_ns=0) -> CameraStream:
    """What a camera sees of people by track id, in its own optical frame.

    change: what becomes of a person in a frame, given its number and the person.
    """
    to_camera = np.linalg.inv(view.pose)
    stream = CameraStream()
    for number in range(len(next(iter(people.values())))):
        persons = []
        for track, joints in people.items():
            person = in_frame(sees(view, joints[number], rng, track, std_px), to_camera)
            persons.append(change(number, person) if change else person)
        stamp = 10**9 + number * PERIOD_NS + late_ns
        stream.add(CameraFrame("", View(view.camera, np.eye(4)), stamp, tuple(persons)))
    return stream


def errors_of(found, views) -> list[tuple[float, float, float]]:
    """Of each camera but the first: error of the rotation and of the direction in degrees, and the
    scale."""
    errors = []
    for pose, view in zip(found.poses[1:], views[1:]):
        truth = np.linalg.inv(views[0].pose) @ view.pose
        turn = Rotation.from_matrix(truth[:3, :3].T @ pose[:3, :3]).magnitude()
        length = np.linalg.norm(pose[:3, 3])
        distance = np.linalg.norm(truth[:3, 3])
        cosine = pose[:3, 3] @ truth[:3, 3] / (length * distance)
        away = np.arccos(min(cosine, 1.0))
        errors.append((np.degrees(turn), np.degrees(away), length / distance))
    return errors


def estimate(streams):
    return estimate_camera_poses(NAMES[: len(streams)], streams)


@pytest.mark.parametrize("distorted", [False, True])
@pytest.mark.parametrize("angle", [40, 90, 180])
def test_exact_keypoints_give_exact_poses(angle, distorted):
    views = around((0, angle), distorted)
    found = estimate([stream_of(view, {1: WALK}) for view in views])
    ((turn, away, scale),) = errors_of(found, views)
    assert turn < 0.01 and away < 0.01 and abs(scale - 1) < 1e-3
    assert np.array_equal(found.poses[0], np.eye(4))
    assert (found.reprojection_px < 0.01).all() and found.fitting == 1


@pytest.mark.parametrize("seed", range(3))
def test_noise_gives_poses_within_the_stated_std(seed):
    rng = np.random.default_rng(seed)
    views = around((0, 90))
    found = estimate([stream_of(view, {1: LONG}, rng, 5.0) for view in views])
    ((turn, away, scale),) = errors_of(found, views)
    assert turn < 1.5 and away < 1.5 and abs(scale - 1) < 0.05
    assert turn < 3 * np.degrees(found.rotation_std_rad[1]) < 6
    assert abs(scale - 1) * 5.66 < 3 * found.place_std_m[1] < 1.5
    assert (1 < found.reprojection_px).all() and (found.reprojection_px < 6).all()


def test_scale_is_nearly_that_of_the_limb_lengths():
    def taller(number, person):
        return replace(person, bone_lengths_m=1.05 * person.bone_lengths_m)

    views = around((0, 90))
    found = estimate([stream_of(view, {1: WALK}, change=taller) for view in views])
    ((turn, away, scale),) = errors_of(found, views)
    assert turn < 0.1 and away < 0.2 and 1.03 < scale < 1.051


def test_two_people_under_exchanged_ids_and_unsynchronised():
    rng = np.random.default_rng(0)
    views = around((0, 100))
    first = stream_of(views[0], {1: WALK, 2: OTHER}, rng)
    late = {1: OTHER, 2: WALK}
    moved = {track: joints[:-1] + 0.4 * np.diff(joints, axis=0) for track, joints in late.items()}
    second = stream_of(views[1], moved, rng, late_ns=round(0.4 * PERIOD_NS))
    ((turn, away, scale),) = errors_of(estimate([first, second]), views)
    assert turn < 1.0 and away < 1.0 and abs(scale - 1) < 0.05


def test_three_cameras_of_which_two_share_nobody():
    rng = np.random.default_rng(0)
    views = around((0, 90, 200))
    streams = [
        stream_of(views[0], {1: WALK}, rng),
        stream_of(views[1], {4: WALK, 5: OTHER}, rng),
        stream_of(views[2], {7: OTHER}, rng),
    ]
    for turn, away, scale in errors_of(estimate(streams), views):
        assert turn < 3.0 and away < 3.0 and abs(scale - 1) < 0.1


def exchanged(number, person):
    """Left and right exchanged in a quarter of the frames."""
    if number % 4:
        return person

    flat = person.skeleton_2d
    flat = replace(flat, keypoints_px=flat.keypoints_px[list(KEYPOINT_FLIP)])
    pose = person.skeleton_3d
    pose = replace(pose, joints_m=pose.joints_m[list(JOINT_FLIP)])
    return replace(person, skeleton_2d=flat, skeleton_3d=pose)


def test_exchanged_sides_are_outliers():
    rng = np.random.default_rng(0)
    views = around((0, 90))
    first = stream_of(views[0], {1: LONG}, rng)
    second = stream_of(views[1], {1: LONG}, rng, change=exchanged)
    found = estimate([first, second])
    ((turn, away, scale),) = errors_of(found, views)
    assert turn < 2 and away < 1 and abs(scale - 1) < 0.05
    assert found.person_frames < 160 and found.fitting > 0.98


def test_wrong_person_in_some_frames_is_an_outlier():
    rng = np.random.default_rng(0)
    views = around((0, 90))
    wrong = WALK.copy()
    wrong[::5] = OTHER[::5]
    first = stream_of(views[0], {1: WALK}, rng)
    second = stream_of(views[1], {1: wrong}, rng)
    ((turn, away, scale),) = errors_of(estimate([first, second]), views)
    assert turn < 2 and away < 1 and abs(scale - 1) < 0.05


def test_people_whom_one_camera_sees_change_nothing():
    rng = np.random.default_rng(0)
    views = around((0, 90))
    first = stream_of(views[0], {1: WALK, 2: OTHER}, rng)
    second = stream_of(views[1], {1: THIRD, 2: WALK}, rng)
    ((turn, away, scale),) = errors_of(estimate([first, second]), views)
    assert turn < 2 and away < 1 and abs(scale - 1) < 0.05


def test_same_input_gives_the_same_poses():
    views = around((0, 90))
    found = []
    for _ in range(2):
        rng = np.random.default_rng(3)
        found.append(estimate([stream_of(view, {1: WALK[:20]}, rng) for view in views]).poses)
    assert np.array_equal(*found)


def test_nobody_in_common_is_told():
    views = around((0, 90))
    with pytest.raises(CameraPosesError, match="^side: expected .* whom front sees"):
        estimate([stream_of(views[0], {1: WALK}), CameraStream()])

    later = stream_of(views[1], {1: WALK}, late_ns=10**10)
    with pytest.raises(CameraPosesError, match="^side: expected"):
        estimate([stream_of(views[0], {1: WALK}), later])


def test_camera_that_is_not_connected_is_told():
    views = around((0, 90, 180))
    streams = [stream_of(view, {1: WALK[:20]}) for view in views[:2]]
    streams.append(stream_of(views[2], {1: WALK[:20]}, late_ns=10**10))
    with pytest.raises(CameraPosesError, match="^rear: expected .* whom front, side sees"):
        estimate(streams)


def test_still_person_far_away_leaves_the_pose_open():
    rng = np.random.default_rng(0)
    views = around((0, 10))
    still = np.repeat(WALK[:1], 8, axis=0)
    few = {1: still}

    def small(number, person):
        """As seen with keypoints that are hardly known."""
        flat = person.skeleton_2d
        flat = replace(flat, covariance_px2=100 * flat.covariance_px2)
        return replace(person, skeleton_2d=flat)

    streams = [stream_of(view, few, rng, change=small) for view in views]
    with pytest.raises(CameraPosesError, match="^side: its pose is not determined"):
        estimate(streams)
