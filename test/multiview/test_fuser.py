# SPDX-License-Identifier: Apache-2.0
"""Persons of several cameras over time: who is who, ids, exchanged sides, cameras that drop out or
are late."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from people_in_views import FPS, around, frames, sees, walker

from lifting_ros.multiview.fuser import SkeletonFuser
from lifting_ros.multiview.fusion_config import FusionConfig
from lifting_ros.multiview.matching import group_sightings, pair_costs
from lifting_ros.multiview.sighting import CameraFrame, sightings_of
from lifting_ros.multiview.timeline import CameraStream, common_stamps
from lifting_ros.skeleton import (
    JOINT_FLIP,
    JOINT_NAMES,
    KEYPOINT_FLIP,
    KEYPOINT_NAMES,
    KEYPOINT_TO_JOINT,
)
from lifting_ros.types import JointStatus

PERIOD_NS = round(1e9 / FPS)
OBSERVED = list(KEYPOINT_TO_JOINT)


def error_m(person, joints) -> float:
    """Mean error of the joints that have a keypoint."""
    apart = person.skeleton_3d.joints_m - joints
    return float(np.linalg.norm(apart, axis=1)[OBSERVED].mean())


def crossing(seconds=2.0):
    """Joints (F, 2, 17, 3) of two people who pass each other at 0.5 m."""
    one = walker((-1.2, 0.25), (1.2, 0.25), seconds)
    other = walker((1.2, -0.25), (-1.2, -0.25), seconds, stature=1.7)
    return np.stack([one, other], 1)


def test_one_camera_alone_gives_its_own_skeleton():
    (view,) = around((30,))
    joints = walker()[5]
    seen = sees(view, joints, np.random.default_rng(0))
    (person,) = SkeletonFuser().fuse(0, [CameraFrame("a", view, 0, (seen,))])
    for name in ("joints_m", "covariance_m2", "root_covariance_m2", "status"):
        assert np.array_equal(getattr(person.skeleton_3d, name), getattr(seen.skeleton_3d, name))
    assert person.id == 1 and np.isnan(person.skeleton_2d.keypoints_px).all()
    assert np.isnan(person.skeleton_3d.log_likelihood)
    assert np.array_equal(person.bone_lengths_m, seen.bone_lengths_m)


def test_two_cameras_are_a_third_of_the_error_of_one():
    views = around((0, 90))
    rng = np.random.default_rng(3)
    single = []
    fused = []
    for joints in walker()[::3]:
        given = frames(views, [joints], rng)
        (person,) = SkeletonFuser().fuse(0, given)
        single += [error_m(frame.persons[0], joints) for frame in given]
        fused.append(error_m(person, joints))
    assert np.mean(fused) < np.mean(single) / 3


def test_statuses_and_root():
    views = around((0, 90))
    joints = walker()[5]
    given = frames(views, [joints], np.random.default_rng(4))
    (person,) = SkeletonFuser().fuse(0, given)
    pose = person.skeleton_3d
    observed = pose.status == JointStatus.OBSERVED
    assert sorted(np.flatnonzero(observed)) == sorted(OBSERVED)
    assert (pose.status[~observed] == JointStatus.INFERRED).all()
    assert np.array_equal(pose.root_m, pose.joints_m[0]) and not pose.covariance_m2[0].any()
    assert (np.linalg.eigvalsh(pose.covariance_m2[1:]) > 0).all()


@pytest.mark.parametrize("angles", [(0, 90), (0, 90, 180, 270)])
def test_two_people_crossing_keep_their_ids(angles):
    views = around(angles)
    rng = np.random.default_rng(5)
    fuser = SkeletonFuser()
    for number, people in enumerate(crossing()):
        stamp = number * PERIOD_NS
        persons = fuser.fuse(stamp, frames(views, people, rng, stamp))
        assert [person.id for person in persons] == [1, 2]
        for person, joints in zip(persons, people):
            assert error_m(person, joints) < 0.1
        sources = [set(of.values()) for of in fuser.sources.values()]
        assert all(len(tracks) == 1 for tracks in sources), "two people in one"


def test_ids_do_not_follow_a_camera_that_exchanges_its_own():
    views = around((0, 120, 240))
    rng = np.random.default_rng(6)
    fuser = SkeletonFuser()
    people = np.stack([walker((-0.8, 0), (-0.7, 0))[3], walker((0.8, 0), (0.7, 0))[3]])
    for number in range(10):
        given = frames(views, people, rng)
        if number >= 5:
            one, other = given[0].persons
            exchanged = (replace(one, id=2), replace(other, id=1))
            given[0] = replace(given[0], persons=exchanged)
        persons = fuser.fuse(number * PERIOD_NS, given)
        assert [person.id for person in persons] == [1, 2]
        assert all(error_m(*pair) < 0.1 for pair in zip(persons, people))


def test_ids_stay_when_a_camera_drops_out_and_returns():
    views = around((0, 90, 200))
    rng = np.random.default_rng(7)
    fuser = SkeletonFuser()
    for number, joints in enumerate(walker(seconds=1.5)):
        stamp = number * PERIOD_NS
        given = frames(views, [joints], rng, stamp)
        if 10 <= number < 20:
            given = given[1:]
        if 20 <= number < 30:
            given = given[:1]
        if number >= 30:  # back with other ids
            given = [
                replace(frame, persons=(replace(frame.persons[0], id=7 + k),))
                for k, frame in enumerate(given)
            ]
        (person,) = fuser.fuse(stamp, given)
        assert person.id == 1
    assert person.age_s == pytest.approx(number / FPS, abs=1e-6)


@pytest.mark.parametrize("angles", [(0, 90), (0, 90, 200)])
def test_exchanged_sides_are_found(angles):
    views = around(angles)
    rng = np.random.default_rng(8)
    fuser = SkeletonFuser()
    flip = list(KEYPOINT_FLIP)
    for number, joints in enumerate(walker()[:12]):
        given = frames(views, [joints], rng, number * PERIOD_NS)
        if number >= 4:
            (person,) = given[1].persons
            flat = person.skeleton_2d
            pose = person.skeleton_3d
            wrong = replace(
                person,
                skeleton_2d=replace(flat, keypoints_px=flat.keypoints_px[flip]),
                skeleton_3d=replace(pose, joints_m=pose.joints_m[list(JOINT_FLIP)]),
            )
            given[1] = replace(given[1], persons=(wrong,))
        (person,) = fuser.fuse(number * PERIOD_NS, given)
        assert error_m(person, joints) < 0.06


def test_velocities_are_exchanged_with_their_joints():
    (view,) = around((30,))
    velocity = np.arange(51.0).reshape(17, 3)
    seen = sees(view, walker()[5], None, velocity=velocity)
    (sighting,) = sightings_of(CameraFrame("a", view, 0, (seen,)), FusionConfig())
    exchanged = sighting.exchanged(np.array(KEYPOINT_FLIP), np.array(JOINT_FLIP))
    assert np.array_equal(exchanged.person.velocity_mps, velocity[list(JOINT_FLIP)])


def without_wrist(frame):
    """The frame with an invalid left wrist."""
    (person,) = frame.persons
    wrist = JOINT_NAMES.index("left_wrist")
    pose = person.skeleton_3d
    joints = pose.joints_m.copy()
    covariance = pose.covariance_m2.copy()
    confidence = person.skeleton_2d.confidence.copy()
    status = pose.status.copy()
    joints[wrist] = np.nan
    covariance[wrist] = np.nan
    status[wrist] = JointStatus.INVALID
    confidence[KEYPOINT_NAMES.index("left_wrist")] = 0.0
    invalid = replace(
        person,
        skeleton_2d=replace(person.skeleton_2d, confidence=confidence),
        skeleton_3d=replace(pose, joints_m=joints, covariance_m2=covariance, status=status),
    )
    return replace(frame, persons=(invalid,))


def test_invalid_joint_of_one_camera_is_that_of_the_other():
    views = around((0, 90))
    joints = walker()[5]
    one, other = frames(views, [joints], np.random.default_rng(1))
    (person,) = SkeletonFuser().fuse(0, [one, without_wrist(other)])
    assert np.isfinite(person.skeleton_3d.joints_m).all()
    assert error_m(person, joints) < 0.1


def test_limb_is_known_again_after_a_frame_without_it():
    views = around((0, 90))
    rng = np.random.default_rng(1)
    fuser = SkeletonFuser()
    lengths = []
    for number, joints in enumerate(walker()[:3]):
        given = frames(views, [joints], rng, number * PERIOD_NS)
        if number < 2:
            given = [without_wrist(frame) for frame in given]
        (person,) = fuser.fuse(number * PERIOD_NS, given)
        lengths.append(person.bone_lengths_m)
    forearm = JOINT_NAMES.index("left_wrist") - 1
    assert np.isnan(lengths[0][forearm]) and np.isnan(lengths[1][forearm])
    assert np.isfinite(np.delete(lengths[0], forearm)).all()
    assert np.isfinite(lengths[2]).all()


def test_another_person_in_one_camera_is_left_out():
    views = around((0, 90, 200))
    rng = np.random.default_rng(9)
    joints = walker()[5]
    other = walker((0.5, -0.6), (0.9, 0.2))[20]
    given = [
        *frames(views[:2], [joints], rng),
        replace(frames(views[2:], [other], rng)[0], camera="camera2"),
    ]
    persons = SkeletonFuser().fuse(0, given)
    assert len(persons) == 2
    assert min(error_m(person, joints) for person in persons) < 0.06


@pytest.mark.parametrize("mode", ["interpolated", "moved"])
def test_40_ms_between_cameras_hurt_little(mode):
    views = around((0, 90))
    joints = walker((-1.0, 0), (1.0, 0.3), 1.5)
    velocity = np.gradient(joints, 1 / FPS, axis=0)
    late = 40_000_000
    rng = np.random.default_rng(10)
    streams = [[], []]
    for number in range(len(joints)):
        stamp = number * PERIOD_NS
        for camera, shift in ((0, 0), (1, late)):
            at = number + shift / 1e9 * FPS
            low = min(int(at), len(joints) - 2)
            there = joints[low] + (at - low) * (joints[low + 1] - joints[low])
            person = sees(views[camera], there, rng, velocity=velocity[low])
            frame = CameraFrame(f"camera{camera}", views[camera], stamp + shift, (person,))
            streams[camera].append(frame)

    # Both at the times of the first one
    errors = {"aligned": [], "as it is": []}
    for number in range(5, len(joints) - 3):
        stamp = number * PERIOD_NS
        known = streams[1] if mode == "interpolated" else streams[1][: number - 1]
        aligned = CameraStream(known).at(stamp, 0.1)
        for name, frame in (("aligned", aligned), ("as it is", streams[1][number])):
            persons = SkeletonFuser().fuse(stamp, [streams[0][number], frame])
            errors[name] += [error_m(person, joints[number]) for person in persons]
    assert np.mean(errors["aligned"]) < 0.045
    assert np.mean(errors["aligned"]) < np.mean(errors["as it is"])


def test_persons_between_frames_are_interpolated():
    (view,) = around((0,))
    joints = walker()
    first, last = (frames([view], [joints[k]], None, k * 10**7)[0] for k in (0, 4))
    (person,) = CameraStream([first, last]).at(10**7, 0.1).persons
    expected = joints[0] + 0.25 * (joints[4] - joints[0])
    assert np.allclose(person.skeleton_3d.joints_m, expected)
    assert np.allclose(person.skeleton_3d.root_m, expected[0])
    pixels = [frame.persons[0].skeleton_2d.keypoints_px for frame in (first, last)]
    assert np.allclose(person.skeleton_2d.keypoints_px, pixels[0] + 0.25 * (pixels[1] - pixels[0]))


def test_persons_without_ids_are_not_interpolated():
    (view,) = around((0,))
    one = walker((-1, 0), (-0.9, 0))[0]
    other = walker((1, 0), (0.9, 0))[0]
    before, after = (frames([view], people, None) for people in ([one, other], [other, one]))
    stream = CameraStream()
    for stamp, (frame,) in ((0, before), (40_000_000, after)):
        persons = tuple(replace(person, id=0) for person in frame.persons)
        assert stream.add(replace(frame, stamp_ns=stamp, persons=persons))
    assert not stream.add(replace(frame, stamp_ns=40_000_000))
    found = [person.skeleton_3d.joints_m for person in stream.at(10_000_000, 0.1).persons]
    assert np.array_equal(found, [one, other])


def test_persons_after_the_last_frame_move_on():
    (view,) = around((0,))
    joints = walker()[0]
    path = np.array([0.02, 0.03, -0.01])
    velocity = np.tile(path / 0.05, (17, 1))
    seen = sees(view, joints, None, velocity=velocity)
    later = sees(view, joints + path, None)
    stream = CameraStream([CameraFrame("a", view, 0, (seen,))])
    (person,) = stream.at(50_000_000, 0.1).persons
    assert np.allclose(person.skeleton_3d.joints_m, joints + path)
    assert np.allclose(person.skeleton_2d.keypoints_px, later.skeleton_2d.keypoints_px)


def test_somebody_else_far_away_gets_another_id():
    views = around((0, 90))
    fuser = SkeletonFuser()
    one = walker((-1.0, -1.0), (-0.9, -1.0))[0]
    other = walker((1.0, 1.0), (0.9, 1.0))[0]
    assert [p.id for p in fuser.fuse(0, frames(views, [one], None))] == [1]
    given = [
        replace(frame, persons=(replace(frame.persons[0], id=9),))
        for frame in frames(views, [other], None)
    ]
    assert [p.id for p in fuser.fuse(300_000_000, given)] == [2]
    assert [p.id for p in fuser.fuse(600_000_000, frames(views, [one], None))] == [1]
    assert [p.id for p in fuser.fuse(3_000_000_000, frames(views, [one], None))] == [3]


def test_people_whose_rays_meet_are_told_apart_by_their_range():
    """Two people at mirrored places: the rays of one pass near those of the other."""
    views = around((0, 90))
    one = walker((0.7, -0.7), (0.75, -0.75))[0]
    other = walker((-0.7, 0.7), (-0.75, 0.75))[0]
    given = [
        sighting
        for frame in frames(views, [one, other], None)
        for sighting in sightings_of(frame, FusionConfig())
    ]
    gate = FusionConfig().gate
    costs = pair_costs(given, gate)
    assert costs[0, 2] < 1 and costs[0, 3] == np.inf
    assert group_sightings(given, gate) == [[0, 2], [1, 3]]
    assert group_sightings([given[0], given[3]], gate) == [[0], [1]]


def test_frames_far_away_are_not_used():
    (view,) = around((0,))
    frame = frames([view], [walker()[0]], None, stamp_ns=10**9)[0]
    stream = CameraStream([frame])
    assert stream.at(10**9 + 150_000_000, 0.1) is None
    assert stream.at(10**9 + 50_000_000, 0.1).stamp_ns == 10**9 + 50_000_000
    assert stream.at(10**9, 0.1) is frame
    assert CameraStream().at(10**9, 0.1) is None


def test_common_times_go_on_where_a_camera_has_a_gap():
    (view,) = around((0,))

    def at(*milliseconds):
        return CameraStream(CameraFrame("a", view, ms * 10**6, ()) for ms in milliseconds)

    stamps = common_stamps([at(0, 33, 66, 233, 266), at(40, 73, 106, 139, 172, 205, 238)])
    assert [stamp // 10**6 for stamp in stamps] == [0, 33, 66, 106, 139, 172, 205, 233, 266]


def test_persons_without_a_place_are_left_out():
    views = around((0, 90))
    joints = walker()[5]
    first, second = frames(views, [joints], None)
    (person,) = second.persons
    pose = person.skeleton_3d
    for unusable in (
        replace(person, coasting=True),
        replace(person, skeleton_3d=replace(pose, metric=False)),
        replace(person, skeleton_3d=replace(pose, root_m=np.full(3, np.nan))),
        replace(person, skeleton_3d=replace(pose, status=np.zeros(17, np.uint8))),
    ):
        (fused,) = SkeletonFuser().fuse(0, [first, replace(second, persons=(unusable,))])
        assert np.array_equal(fused.skeleton_3d.joints_m, first.persons[0].skeleton_3d.joints_m)
    assert SkeletonFuser().fuse(0, []) == ()


def test_same_input_gives_the_same_numbers():
    views = around((0, 90))
    people = crossing()[10]
    given = frames(views, people, np.random.default_rng(11))
    one, other = (SkeletonFuser().fuse(0, given) for _ in range(2))
    for a, b in zip(one, other, strict=True):
        assert np.array_equal(a.skeleton_3d.joints_m, b.skeleton_3d.joints_m)
