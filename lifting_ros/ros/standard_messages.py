# SPDX-License-Identifier: Apache-2.0
"""Persons in messages that programs of others already read: people_msgs, vision_msgs and
geometry_msgs.

A topic is offered where the package of its type is installed. 3D messages hold the persons who are
placed in metres: the others have no place in the frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseArray, Quaternion, Vector3
from std_msgs.msg import Header

from lifting_ros.geometry.body_box import BodyBox, body_box
from lifting_ros.geometry.body_frame import body_frame
from lifting_ros.ros.bridge import quaternion_xyzw
from lifting_ros.skeleton import ROOT
from lifting_ros.types import Person

CLASS_ID = "person"
"""The class of every detection."""

UNKNOWN_ANGLE_RAD2 = np.pi**2 / 3
"""Variance of an angle of which nothing is known: uniform over a turn."""


@dataclass(frozen=True)
class StandardTopic:
    """A topic with messages of a package that may be missing."""

    messages: ModuleType
    """The package's module of messages."""
    kind: type
    """The type of the topic."""
    build: Callable[[ModuleType, Sequence[Person], Header], Any]
    """Makes a message of the module, the persons and the header of their frame."""
    in_image: bool
    """Whether the persons are given in pixels, under the image's own header."""


def persons_to_poses(messages: ModuleType, persons: Sequence[Person], header: Header) -> PoseArray:
    """geometry_msgs/PoseArray: the pelvis, x forward and z up along the trunk.

    Persons whose body has no known orientation are left out.
    """
    message = PoseArray(header=header)
    for person in _placed(persons):
        frame = body_frame(person.skeleton_3d)
        if frame is not None:
            message.poses.append(_pose(frame[:3, 3], frame[:3, :3]))

    return message


def persons_to_people(messages: ModuleType, persons: Sequence[Person], header: Header) -> Any:
    """people_msgs/People, for the social layers of Nav2: pelvis and its velocity.

    A velocity that is not known yet is zero; the message has no other way to say so.
    """
    message = messages.People(header=header)
    for person in _placed(persons):
        velocity = np.nan_to_num(person.velocity_mps[ROOT])
        message.people.append(
            messages.Person(
                name=_name(person),
                position=_point(person.skeleton_3d.root_m),
                velocity=_point(velocity),
                reliability=float(person.skeleton_2d.score),
            )
        )

    return message


def persons_to_detections_2d(
    messages: ModuleType, persons: Sequence[Person], header: Header
) -> Any:
    """vision_msgs/Detection2DArray: the boxes of the keypoints, in pixels; the poses are empty."""
    message = messages.Detection2DArray(header=header)
    for person in persons:
        box = person.skeleton_2d.box_px
        if not np.isfinite(box).all():
            continue

        low = box[:2]
        high = box[2:]
        detection = messages.Detection2D(header=header, id=_name(person))
        detection.results.append(_hypothesis(messages, person))
        detection.bbox.center.position.x, detection.bbox.center.position.y = map(
            float, (low + high) / 2
        )
        detection.bbox.size_x, detection.bbox.size_y = map(float, high - low)
        message.detections.append(detection)

    return message


def persons_to_detections_3d(
    messages: ModuleType, persons: Sequence[Person], header: Header
) -> Any:
    """vision_msgs/Detection3DArray: the boxes of the joints along the body's axes, and the pose of
    the pelvis with the covariance of its place.

    No covariance of the orientation is estimated: its block is that of unknown angles.
    """
    message = messages.Detection3DArray(header=header)
    for person in _placed(persons):
        box = body_box(person.skeleton_3d)
        if box is None:
            continue

        detection = messages.Detection3D(header=header, id=_name(person))
        hypothesis = _hypothesis(messages, person)
        hypothesis.pose.pose = _pose(person.skeleton_3d.root_m, box.rotation)
        hypothesis.pose.covariance = _pose_covariance(person)
        detection.results.append(hypothesis)
        _fill_box(detection.bbox, box)
        message.detections.append(detection)

    return message


STANDARD_TOPICS: dict[str, tuple[str, str, Callable, bool]] = {
    "~/poses": ("geometry_msgs", "PoseArray", persons_to_poses, False),
    "~/people": ("people_msgs", "People", persons_to_people, False),
    "~/detections_2d": ("vision_msgs", "Detection2DArray", persons_to_detections_2d, True),
    "~/detections_3d": ("vision_msgs", "Detection3DArray", persons_to_detections_3d, False),
}
"""Package, type, function that builds the message, and `StandardTopic.in_image`."""


def standard_topics() -> dict[str, StandardTopic]:
    """The topics whose types are installed, by name."""
    topics = {}
    for topic, (package, kind, build, in_image) in STANDARD_TOPICS.items():
        try:
            messages = import_module(f"{package}.msg")
        except ImportError:
            continue
        topics[topic] = StandardTopic(messages, getattr(messages, kind), build, in_image)

    return topics


def _placed(persons: Sequence[Person]) -> Iterator[Person]:
    """The persons who are placed in metres."""
    for person in persons:
        pose = person.skeleton_3d
        if pose.metric and np.isfinite(pose.root_m).all():
            yield person


def _name(person: Person) -> str:
    """The track id; empty where the person is not tracked."""
    return str(person.id) if person.id else ""


def _hypothesis(messages: ModuleType, person: Person) -> Any:
    hypothesis = messages.ObjectHypothesisWithPose()
    hypothesis.hypothesis.class_id = CLASS_ID
    hypothesis.hypothesis.score = float(person.skeleton_2d.score)
    return hypothesis


def _fill_box(message: Any, box: BodyBox) -> None:
    x, y, z = map(float, box.size_m)
    message.center = _pose(box.centre_m, box.rotation)
    message.size = Vector3(x=x, y=y, z=z)


def _pose_covariance(person: Person) -> np.ndarray:
    """(36,) of x, y, z and the rotations about them."""
    covariance = np.eye(6) * UNKNOWN_ANGLE_RAD2
    covariance[:3, :3] = person.skeleton_3d.root_covariance_m2
    return covariance.ravel()


def _pose(place: np.ndarray, rotation: np.ndarray) -> Pose:
    x, y, z, w = quaternion_xyzw(rotation)
    return Pose(position=_point(place), orientation=Quaternion(x=x, y=y, z=z, w=w))


def _point(place: np.ndarray) -> Point:
    x, y, z = map(float, place)
    return Point(x=x, y=y, z=z)
