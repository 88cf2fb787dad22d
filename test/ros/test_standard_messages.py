# SPDX-License-Identifier: Apache-2.0
"""people_msgs, vision_msgs and PoseArray: the values, and which topics there are. Where a package
is not installed, plain objects stand in its place."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from geometry_msgs.msg import Point, Pose, PoseArray, Vector3
from node_support import Stage
from ros_support import header, person
from scipy.spatial.transform import Rotation

from lifting_ros.geometry.body_box import body_box
from lifting_ros.geometry.body_frame import body_frame
from lifting_ros.ros import standard_messages
from lifting_ros.ros.standard_messages import (
    STANDARD_TOPICS,
    UNKNOWN_ANGLE_RAD2,
    persons_to_detections_2d,
    persons_to_detections_3d,
    persons_to_people,
    persons_to_poses,
    standard_topics,
)


def kind(name: str, /, **defaults):
    """A message class with these fields and no others."""

    def make(self, **values):
        assert set(values) <= set(defaults)
        self.__dict__ = {field: default() for field, default in defaults.items()} | values

    return type(name, (), {"__init__": make})


def box_2d():
    return SimpleNamespace(
        center=SimpleNamespace(position=SimpleNamespace(x=0.0, y=0.0), theta=0.0),
        size_x=0.0,
        size_y=0.0,
    )


def hypothesis():
    return SimpleNamespace(
        hypothesis=SimpleNamespace(class_id="", score=0.0),
        pose=SimpleNamespace(pose=Pose(), covariance=None),
    )


STAND_INS = {
    "people_msgs": {
        "People": kind("People", header=object, people=list),
        "Person": kind(
            "Person",
            name=str,
            position=Point,
            velocity=Point,
            reliability=float,
        ),
    },
    "vision_msgs": {
        "Detection2DArray": kind("Detection2DArray", header=object, detections=list),
        "Detection3DArray": kind("Detection3DArray", header=object, detections=list),
        "Detection2D": kind("Detection2D", header=object, results=list, bbox=box_2d, id=str),
        "Detection3D": kind(
            "Detection3D",
            header=object,
            results=list,
            bbox=lambda: SimpleNamespace(center=Pose(), size=Vector3()),
            id=str,
        ),
        "ObjectHypothesisWithPose": hypothesis,
    },
}


def messages(package: str) -> ModuleType:
    """The package's messages, or what stands in their place."""
    try:
        return importlib.import_module(f"{package}.msg")
    except ImportError:
        return SimpleNamespace(**STAND_INS[package])


@pytest.fixture
def people():
    """Tracked, not tracked, and not placed in metres."""
    rng = np.random.default_rng(4)
    first = person(rng, 7)
    second = person(rng, 0, invalid=(12, 13))
    third = person(rng, 9)
    pose = dataclasses.replace(third.skeleton_3d, metric=False)
    return [first, second, dataclasses.replace(third, skeleton_3d=pose)]


def xyz(message) -> tuple[float, float, float]:
    return message.x, message.y, message.z


def rotation(pose: Pose) -> np.ndarray:
    q = pose.orientation
    return Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()


def test_people_have_pelvis_velocity_and_id(people):
    message = persons_to_people(messages("people_msgs"), people, header())
    assert [one.name for one in message.people] == ["7", ""] and message.header == header()
    for one, p in zip(message.people, people):
        assert xyz(one.position) == tuple(p.skeleton_3d.root_m)
        assert xyz(one.velocity) == tuple(p.velocity_mps[0])
        assert one.reliability == p.skeleton_2d.score


def test_unknown_velocity_is_zero(people):
    p = dataclasses.replace(people[0], velocity_mps=np.full((17, 3), np.nan))
    (one,) = persons_to_people(messages("people_msgs"), [p], header()).people
    assert xyz(one.velocity) == (0, 0, 0)


def test_detections_2d_are_the_boxes_of_all(people):
    message = persons_to_detections_2d(messages("vision_msgs"), people, header())
    assert [one.id for one in message.detections] == ["7", "", "9"]
    for one in message.detections:
        centre = one.bbox.center.position
        assert (centre.x, centre.y, one.bbox.size_x, one.bbox.size_y) == (105, 120, 190, 200)
        (result,) = one.results
        assert (result.hypothesis.class_id, result.hypothesis.score) == ("person", 0.75)
        assert one.header == header()

    flat = dataclasses.replace(people[0].skeleton_2d, box_px=np.full(4, np.nan))
    unknown = dataclasses.replace(people[0], skeleton_2d=flat)
    empty = persons_to_detections_2d(messages("vision_msgs"), [unknown], header())
    assert not empty.detections


def test_detections_3d_hold_every_joint(people):
    message = persons_to_detections_3d(messages("vision_msgs"), people, header())
    assert [one.id for one in message.detections] == ["7", ""]
    for one, p in zip(message.detections, people):
        joints = p.skeleton_3d.joints_m
        known = joints[np.isfinite(joints).all(-1)]
        axes = rotation(one.bbox.center)
        inside = (known - xyz(one.bbox.center.position)) @ axes
        half = np.array(xyz(one.bbox.size)) / 2
        assert np.allclose(np.abs(inside).max(0), half)  # the smallest box along these axes

        frame = body_frame(p.skeleton_3d)
        (result,) = one.results
        assert xyz(result.pose.pose.position) == tuple(p.skeleton_3d.root_m)
        covariance = np.reshape(result.pose.covariance, (6, 6))
        assert np.array_equal(covariance[:3, :3], p.skeleton_3d.root_covariance_m2)
        assert np.array_equal(covariance[3:, 3:], np.eye(3) * UNKNOWN_ANGLE_RAD2)
        expected = np.eye(3) if frame is None else frame[:3, :3]
        assert np.allclose(rotation(result.pose.pose), expected) and np.allclose(axes, expected)


def test_box_without_a_trunk_is_along_the_frame(people):
    rng = np.random.default_rng(5)
    pose = person(rng, invalid=(8,)).skeleton_3d
    box = body_box(pose)
    assert np.array_equal(box.rotation, np.eye(3))
    assert np.allclose(box.size_m, np.ptp(pose.joints_m[np.arange(17) != 8], axis=0))
    assert body_box(person(rng, invalid=tuple(range(17))).skeleton_3d) is None


def test_poses_are_the_frames_of_the_bodies(people):
    message = persons_to_poses(None, people, header())
    assert isinstance(message, PoseArray) and len(message.poses) == 2
    for pose, p in zip(message.poses, people):
        frame = body_frame(p.skeleton_3d)
        assert xyz(pose.position) == tuple(p.skeleton_3d.joints_m[0])
        assert np.allclose(rotation(pose), frame[:3, :3])


def test_without_a_package_there_is_no_topic(monkeypatch):
    for package in ("people_msgs", "vision_msgs"):
        monkeypatch.setitem(sys.modules, f"{package}.msg", None)  # its import fails
    assert list(standard_topics()) == ["~/poses"]

    for package, types in STAND_INS.items():
        module = ModuleType(f"{package}.msg")
        vars(module).update(types)
        monkeypatch.setitem(sys.modules, package, ModuleType(package))
        monkeypatch.setitem(sys.modules, f"{package}.msg", module)
    assert list(standard_topics()) == list(STANDARD_TOPICS)
    assert standard_topics()["~/people"].kind is STAND_INS["people_msgs"]["People"]


def test_node_builds_what_somebody_hears_alone(monkeypatch):
    built = []
    for name, (package, type_name, build, in_image) in list(STANDARD_TOPICS.items()):

        def recorded(*arguments, build=build, name=name):
            built.append(name)
            return build(*arguments)

        entry = (package, type_name, recorded, in_image)
        monkeypatch.setitem(standard_messages.STANDARD_TOPICS, name, entry)

    stage = Stage()
    try:
        stage.node.start()
        stage.connect()
        stage.ask()
        assert built == []

        offered = stage.feed.outputs._standard
        for topic, standard in offered.items():
            stage.listen(standard.kind, topic.replace("~", "/lifting"))
        stage.until(lambda: all(stage.feed.outputs._is_wanted(topic) for topic in offered))
        answer = stage.ask()
        stage.until(lambda: all(stage.received[t.replace("~", "/lifting")] for t in offered))
        assert sorted(built) == sorted(offered)
        for topic in offered:
            assert stage.received[topic.replace("~", "/lifting")][0].header == answer.header
    finally:
        stage.close()
