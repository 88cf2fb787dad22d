# SPDX-License-Identifier: Apache-2.0
"""Fused people over time: steadier and with better velocities, and still themselves."""

from dataclasses import replace

import numpy as np
from people_in_views import FPS, around, frames, walker

from lifting_ros.multiview.fuser import SkeletonFuser
from lifting_ros.multiview.fusion_config import FusionConfig
from lifting_ros.multiview.live import LiveFusion
from lifting_ros.multiview.smoother import FusedSmoother

VIEWS = around((0, 90))
JOINTS = walker(seconds=2.0)


def stamp(number: int) -> int:
    return 10**9 + round(number * 1e9 / FPS)


def fused(people, seed: int = 0):
    """(stamp, persons, sources) of each frame. people: joints (F, 17, 3) of each."""
    rng = np.random.default_rng(seed)
    fuser = SkeletonFuser()
    out = []
    for number, together in enumerate(zip(*people)):
        cameras = frames(VIEWS, together, rng, stamp(number))
        out.append((stamp(number), fuser.fuse(stamp(number), cameras), fuser.sources))
    return out


def errors_of(persons) -> tuple[float, float]:
    """Mean error of joints in m, and rms of their second differences."""
    joints = np.stack([one.skeleton_3d.joints_m for one in persons])
    error = np.linalg.norm(joints - JOINTS[: len(joints)], axis=-1).mean()
    shaking = np.diff(joints - JOINTS[: len(joints)], 2, axis=0)
    return float(error), float(np.sqrt((shaking**2).mean()))


def test_people_shake_less_and_are_no_farther_from_the_truth():
    rows = fused([JOINTS])
    smoother = FusedSmoother(2.0)
    smooth = [smoother.smooth(*row)[0] for row in rows]
    plain_error, plain_shaking = errors_of([persons[0] for _, persons, _ in rows])
    error, shaking = errors_of(smooth)
    assert shaking < 0.7 * plain_shaking and error < 1.02 * plain_error

    velocity = np.gradient(JOINTS, axis=0) * FPS
    apart = np.stack([one.velocity_mps for one in smooth[15:]]) - velocity[15:]
    speed = np.linalg.norm(velocity[15:], axis=-1).mean()
    assert np.linalg.norm(apart, axis=-1).mean() < 0.7 * speed


def test_everything_else_is_that_of_the_fusion():
    rows = fused([JOINTS, JOINTS + (1.5, 0, 0)])
    smoother = FusedSmoother(2.0)
    for row in rows:
        smooth = smoother.smooth(*row)
        assert [one.id for one in smooth] == [one.id for one in row[1]] == [1, 2]
        for one, other in zip(smooth, row[1]):
            assert one.age_s == other.age_s and one.bone_lengths_m is other.bone_lengths_m
            assert (one.skeleton_3d.status == other.skeleton_3d.status).all()
            assert np.isfinite(one.skeleton_3d.covariance_m2).all()


def test_whom_one_camera_sees_is_not_smoothed_twice():
    smoother = FusedSmoother(2.0)
    for number in range(10):
        fuser = SkeletonFuser()
        alone = frames(VIEWS[:1], [JOINTS[number]], np.random.default_rng(number), stamp(number))
        persons = fuser.fuse(stamp(number), alone)
        assert smoother.smooth(stamp(number), persons, fuser.sources) == persons


def test_time_that_goes_back_begins_anew():
    rows = fused([JOINTS])[:20]
    smoother = FusedSmoother(2.0)
    first = [smoother.smooth(*row)[0].skeleton_3d.joints_m for row in rows]
    again = [smoother.smooth(*row)[0].skeleton_3d.joints_m for row in rows]
    assert np.array_equal(first, again)


def test_live_fusion_smooths_where_told():
    def last(smooth: bool):
        live = LiveFusion(FusionConfig(), 1000.0, 0.0, smooth)
        rng = np.random.default_rng(0)
        answers = []
        for number, joints in enumerate(JOINTS[:20]):
            for camera, frame in enumerate(frames(VIEWS, [joints], rng, stamp(number))):
                # A little later, so that there is an answer with both cameras
                later = replace(frame, stamp_ns=frame.stamp_ns + 2_000_000 * camera)
                answers.append(live.add(later))
        return answers[-1]

    plain, smooth = last(False), last(True)
    assert plain.sources == smooth.sources == {1: {"camera0": 1, "camera1": 1}}
    assert [frame.camera for frame in plain.frames] == ["camera0", "camera1"]
    one, other = plain.persons[0].skeleton_3d, smooth.persons[0].skeleton_3d
    assert not np.allclose(one.joints_m, other.joints_m)
