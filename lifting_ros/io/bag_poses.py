# SPDX-License-Identifier: Apache-2.0
"""Poses and images read back from a rosbag2, poses with the definitions that it carries itself: no
ROS installation is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.rosbag2 import Reader
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from lifting_ros.skeleton import JOINT_COUNT
from lifting_ros.types import JointStatus, Person, Skeleton2D, Skeleton3D

TYPE_2D, TYPE_3D = "lifting_ros/msg/Skeleton2DArray", "lifting_ros/msg/Skeleton3DArray"
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
INFO_TYPE = "sensor_msgs/msg/CameraInfo"


@dataclass(frozen=True)
class BagFrame:
    """The answer to one image."""

    stamp_ns: int
    frame_id: str
    persons: tuple[Person, ...]


@dataclass(frozen=True)
class BagPoses:
    """What a bag holds."""

    frames: tuple[BagFrame, ...]
    """By stamp; one for each Skeleton3DArray."""
    messages: dict[str, int]
    """Number of messages of each topic."""

    @property
    def occupied(self) -> list[BagFrame]:
        """The frames with a person."""
        return [frame for frame in self.frames if frame.persons]


def read_bag(path: Path, topic: str = "") -> BagPoses:
    """Every pose of a rosbag2; with `topic`, of that Skeleton3DArray topic and of the keypoints
    beside it.

    ValueError in one line where it cannot be read.
    """
    skeletons: dict[str, dict[int, Any]] = {TYPE_2D: {}, TYPE_3D: {}}
    with _opened(path) as reader:
        messages = {connection.topic: 0 for connection in reader.connections}
        for connection in reader.connections:
            messages[connection.topic] += connection.msgcount
        wanted = [
            c for c in reader.connections if c.msgtype in skeletons and _belongs(c.topic, topic)
        ]
        store = _store_of(wanted)
        for connection, _, data in reader.messages(wanted) if wanted else ():
            message = store.deserialize_cdr(data, connection.msgtype)
            skeletons[connection.msgtype][_stamp(message.header)] = message
    in_space, in_image = skeletons[TYPE_3D], skeletons[TYPE_2D]
    frames = [_frame(stamp, in_space[stamp], in_image.get(stamp)) for stamp in sorted(in_space)]
    return BagPoses(tuple(frames), messages)


def topic_counts(path: Path, *types: str) -> dict[str, int]:
    """Number of messages of each topic that has one of `types`; ValueError as `read_bag`."""
    with _opened(path) as reader:
        found = [c for c in reader.connections if c.msgtype in types]
        return {
            topic: sum(c.msgcount for c in found if c.topic == topic)
            for topic in sorted({c.topic for c in found})
        }


def read_messages(path: Path, topic: str, *types: str) -> Iterator[tuple[int, Any]]:
    """Stamp (ns) and message of each image or camera_info of a topic, in the bag's order; those
    that do not decode are left out."""
    store = get_typestore(Stores.LATEST)
    with _opened(path) as reader:
        wanted = [c for c in reader.connections if c.topic == topic and c.msgtype in types]
        for connection, _, data in reader.messages(wanted) if wanted else ():
            try:
                message = store.deserialize_cdr(data, connection.msgtype)
            except SerdeError:
                continue
            yield _stamp(message.header), message


@contextmanager
def _opened(path: Path) -> Iterator[Reader]:
    """ValueError in one line for whatever goes wrong with the file."""
    if not path.exists():
        raise ValueError(f"{path}: no such bag")
    try:
        with Reader(path) as reader:
            yield reader
    except (
        Exception
    ) as error:  # SQLite, zstd, YAML and struct each raise their own kinds on a damaged file
        raise ValueError(
            f"{path}: not a readable bag ({' '.join(str(error).split()) or type(error).__name__})"
        ) from None


def _belongs(topic: str, wanted: str) -> bool:
    """Whether a topic is `wanted`, or the one with keypoints in the same namespace."""
    return not wanted or topic in (wanted, wanted.rpartition("/")[0] + "/skeletons_2d")


def _store_of(connections: list[Connection]) -> Typestore:
    """The types of `connections`, as the bag defines them."""
    types = {}
    for connection in connections:
        if connection.msgdef.format != MessageDefinitionFormat.MSG:
            raise ValueError(f"{connection.topic}: it does not define {connection.msgtype}")
        types.update(get_types_from_msg(connection.msgdef.data, connection.msgtype))
    store = get_typestore(Stores.EMPTY)
    store.register(types)
    return store


def joint_shares(frames: tuple[BagFrame, ...]) -> dict[JointStatus, float]:
    """Share of all persons' joints with each status; NaN where there is nobody."""
    statuses = [person.skeleton_3d.status for frame in frames for person in frame.persons]
    counts = np.bincount(np.concatenate(statuses), minlength=3) if statuses else np.zeros(3)
    return {
        status: float(counts[status] / counts.sum()) if statuses else float("nan")
        for status in JointStatus
    }


def _stamp(header: Any) -> int:
    return header.stamp.sec * 10**9 + header.stamp.nanosec


def _frame(stamp: int, in_space: Any, in_image: Any | None) -> BagFrame:
    flat = in_image.skeletons if in_image is not None else ()
    if len(flat) != len(in_space.skeletons):
        flat = [None] * len(in_space.skeletons)
    persons = tuple(_person(*pair) for pair in zip(flat, in_space.skeletons, strict=True))
    return BagFrame(stamp, in_space.header.frame_id, persons)


def _person(flat: Any | None, lifted: Any) -> Person:
    velocity = np.array([(j.velocity.x, j.velocity.y, j.velocity.z) for j in lifted.joints])
    age_s = lifted.age.sec + 1e-9 * lifted.age.nanosec
    return Person(
        lifted.id, age_s, _skeleton_2d(flat, lifted.score), _skeleton_3d(lifted), velocity
    )


def _skeleton_2d(message: Any | None, score: float) -> Skeleton2D:
    if message is None:
        nothing = np.full(14, np.nan)
        return Skeleton2D(
            np.full((14, 2), np.nan),
            0 * np.nan_to_num(nothing),
            np.full((14, 2, 2), np.nan),
            nothing[:4],
            score,
        )
    points = message.keypoints
    covariance = [
        (p.covariance_xx, p.covariance_xy, p.covariance_xy, p.covariance_yy) for p in points
    ]
    return Skeleton2D(
        np.array([(p.x, p.y) for p in points]),
        np.array([p.confidence for p in points]),
        np.array(covariance).reshape(-1, 2, 2),
        np.array(message.box),
        float(message.score),
    )


def _skeleton_3d(message: Any) -> Skeleton3D:
    joints, root = message.joints, message.root_position
    return Skeleton3D(
        joints_m=np.array([(j.position.x, j.position.y, j.position.z) for j in joints]),
        root_m=np.array([root.x, root.y, root.z]),
        covariance_m2=np.array([j.covariance for j in joints]).reshape(-1, 3, 3),  # 17, 3, 3
        root_covariance_m2=np.array(message.root_covariance).reshape(3, 3),  # 3, 3
        confidence=np.array([j.confidence for j in joints]),
        status=np.array([j.status for j in joints], np.uint8),
        log_likelihood=float(message.log_likelihood),
        metric=bool(message.metric),
        hypotheses_m=np.zeros((0, JOINT_COUNT, 3)),
        hypothesis_weight=np.zeros(0),
    )
