# SPDX-License-Identifier: Apache-2.0
"""Frames of bodies on /tf: few names, each the same person's for as long as it is tracked."""

from __future__ import annotations

import dataclasses

import numpy as np
from ros_support import FRAME, header, person

from lifting_ros.geometry.transform_tree import TransformTree
from lifting_ros.ros.transforms import BodyFrames
from lifting_ros.skeleton import JOINT_NAMES


def built(frames: BodyFrames, persons, prefix: str = "", seconds: float = 12.0):
    frames.assign(persons, round(seconds * 1e9))
    return frames.build(persons, header(), prefix)


def bodies(message) -> list[str]:
    return [t.child_frame_id for t in message.transforms if "body_" in t.child_frame_id]


def test_tf_chain_ends_at_the_joints():
    one = person(np.random.default_rng(0), 5, invalid=(16,))
    message = built(BodyFrames(3), [one], "robot/")
    tree = TransformTree()
    for t in message.transforms:
        stamp, move, turn = t.header.stamp, t.transform.translation, t.transform.rotation
        assert (stamp.sec, stamp.nanosec) == (12, 345)
        tree.add(
            t.header.frame_id,
            t.child_frame_id,
            7,
            (move.x, move.y, move.z),
            (turn.x, turn.y, turn.z, turn.w),
        )
    assert {t.child_frame_id for t in message.transforms} == {"robot/body_1"} | {
        f"robot/{n}_1" for n in JOINT_NAMES[:16]
    }
    for name, joint in zip(JOINT_NAMES[:16], one.skeleton_3d.joints_m):
        np.testing.assert_allclose(
            tree.lookup(FRAME, f"robot/{name}_1", 7)[:3, 3], joint, atol=1e-9
        )


def test_a_number_stays_with_its_person_and_is_used_again():
    rng = np.random.default_rng(1)
    a, b, c = (person(rng, track) for track in (4, 9, 200))
    frames = BodyFrames(2)
    assert bodies(built(frames, [a, b])) == ["body_1", "body_2"]
    assert bodies(built(frames, [b, a, c])) == ["body_2", "body_1"]  # none is left for c
    assert bodies(built(frames, [c, b])) == ["body_1", "body_2"]


def test_who_is_missed_for_a_frame_has_the_same_number_after_it():
    rng = np.random.default_rng(1)
    a, b, c, d = (person(rng, track) for track in (4, 9, 200, 201))
    frames = BodyFrames(3, keep_s=2.0)
    assert bodies(built(frames, [a, b], seconds=12.0)) == ["body_1", "body_2"]
    assert bodies(built(frames, [], seconds=12.1)) == []
    assert bodies(built(frames, [b], seconds=12.2)) == ["body_2"]  # alone, and still the second
    assert bodies(built(frames, [b, c, a], seconds=14.0)) == ["body_2", "body_3", "body_1"]
    assert bodies(built(frames, [c, b], seconds=14.1)) == ["body_3", "body_2"]
    assert bodies(built(frames, [c, d], seconds=14.2)) == [
        "body_3",
        "body_1",
    ]  # somebody has to give up a number: who is away longest
    assert bodies(built(frames, [], seconds=18.0)) == [] and bodies(
        built(frames, [b], seconds=18.1)
    ) == ["body_1"]  # nobody is awaited
    assert bodies(built(frames, [c], seconds=5.0)) == ["body_1"]  # time went back


def test_who_is_not_tracked_or_not_placed_has_no_frame():
    rng = np.random.default_rng(2)
    lost, flat = person(rng, 0), person(rng, 3)
    flat = dataclasses.replace(
        flat, skeleton_3d=dataclasses.replace(flat.skeleton_3d, metric=False)
    )
    assert built(BodyFrames(2), [lost, flat]).transforms == []


def test_hri_frames_end_in_the_rep_155_id():
    one, frames = person(np.random.default_rng(3), 12), BodyFrames(2, hri=True)
    message = built(frames, [one], "front_")
    assert frames.hri_ids("front_") == {12: "front_p1"} and bodies(message) == ["body_front_p1"]
    assert {t.child_frame_id for t in message.transforms} == {"body_front_p1"} | {
        f"{n}_front_p1" for n in JOINT_NAMES
    }
