# SPDX-License-Identifier: Apache-2.0
"""Poses and images read from a rosbag2, without a ROS installation.

Poses are decoded with the message definitions that the bag carries.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.rosbag2 import Reader
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from lifting_ros.errors import DataError, one_line
from lifting_ros.io.pose_table import PoseFrame
from lifting_ros.skeleton import JOINT_COUNT
from lifting_ros.types import JointStatus, Person, Skeleton2D, Skeleton3D

TYPE_2D = "lifting_ros/msg/Skeleton2DArray"
TYPE_3D = "lifting_ros/msg/Skeleton3DArray"
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
INFO_TYPE = "sensor_msgs/msg/CameraInfo"


@dataclass(frozen=True)
class BagPoses:
    """What a bag holds."""

    frames: tuple[PoseFrame, ...]
    """In the bag's order; one for each Skeleton3DArray, whatever its stamp."""
    messages: dict[str, int]
    """Number of messages of each topic."""

    @property
    def occupied(self) -> list[PoseFrame]:
        """The frames with a person."""
        return [frame for frame in self.frames if frame.persons]


def read_bag(path: Path, topic: str = "") -> BagPoses:
    """Every pose of a rosbag2, or those of one Skeleton3DArray topic with the keypoints beside it.

    DataError where the bag cannot be read.
    """
    found: dict[str, list[_Found]] = {TYPE_2D: [], TYPE_3D: []}
    with _opened(path) as reader:
        counts = message_counts(reader.connections)
        wanted = [
            connection
            for connection in reader.connections
            if connection.msgtype in found and _belongs(connection.topic, topic)
        ]
        store = _store_of(wanted)
        for place, (connection, data) in enumerate(_messages_of(reader, wanted)):
            message: Any = store.deserialize_cdr(data, connection.msgtype)
            namespace = connection.topic.rpartition("/")[0]
            stamp_ns = _stamp(message.header)
            found[connection.msgtype].append(_Found(place, (namespace, stamp_ns), message))

    in_image = _flat_of_each(found[TYPE_3D], found[TYPE_2D])
    frames = []
    for lifted, flat in zip(found[TYPE_3D], in_image, strict=True):
        frames.append(frame_of(lifted.key[1], lifted.message, flat))
    return BagPoses(tuple(frames), counts)


class _Found(NamedTuple):
    """A message with skeletons."""

    place: int
    """Among the messages that are read."""
    key: tuple[str, int]
    """Namespace and stamp, which other messages may share: stamps can be zero or coarse, and bags
    are played in loops."""
    message: Any


def _flat_of_each(lifted: list[_Found], flat: list[_Found]) -> list[Any | None]:
    """The Skeleton2DArray of each Skeleton3DArray; None where there is none.

    Of messages with the same key, the first belongs to the first, and so on. Where their numbers
    differ, the last one before it does, if there is one after the Skeleton3DArray before.
    """
    same_flat: dict[tuple[str, int], deque[_Found]] = {}
    for one in flat:
        same_flat.setdefault(one.key, deque()).append(one)
    counts = Counter(one.key for one in lifted)
    complete = {key for key, same in same_flat.items() if len(same) == counts[key]}

    chosen = []
    for one in lifted:
        waiting = same_flat.get(one.key, deque())
        if one.key in complete:
            chosen.append(waiting.popleft().message)
            continue

        last = None
        while waiting and waiting[0].place < one.place:
            last = waiting.popleft().message
        chosen.append(last)
    return chosen


def topic_counts(path: Path, *types: str) -> dict[str, int]:
    """Number of messages of each topic that has one of `types`; DataError as `read_bag`."""
    with _opened(path) as reader:
        found = [connection for connection in reader.connections if connection.msgtype in types]
        return dict(sorted(message_counts(found).items()))


def read_messages(path: Path, topic: str, *types: str) -> Iterator[tuple[int, Any]]:
    """Stamp (ns) and message of each image, camera_info or TFMessage of a topic, in the bag's
    order; those that do not decode are left out. A TFMessage has no stamp: 0."""
    store = get_typestore(Stores.LATEST)
    message: Any
    with _opened(path) as reader:
        wanted = [
            connection
            for connection in reader.connections
            if connection.topic == topic and connection.msgtype in types
        ]
        for connection, data in _messages_of(reader, wanted):
            try:
                message = store.deserialize_cdr(data, connection.msgtype)
            except SerdeError:
                continue
            header = getattr(message, "header", None)
            yield _stamp(header) if header else 0, message


def joint_shares(frames: tuple[PoseFrame, ...]) -> dict[JointStatus, float]:
    """Share of all persons' joints with each status; NaN where there is nobody."""
    statuses = [person.skeleton_3d.status for frame in frames for person in frame.persons]
    if not statuses:
        return dict.fromkeys(JointStatus, float("nan"))

    counts = np.bincount(np.concatenate(statuses), minlength=len(JointStatus))
    return {status: float(counts[status] / counts.sum()) for status in JointStatus}


@contextmanager
def _opened(path: Path) -> Iterator[Reader]:
    """A reader of a bag; DataError for whatever goes wrong with the file."""
    if not path.exists():
        raise DataError(f"{path}: no such bag")

    try:
        with Reader(path) as reader:
            yield reader
    except Exception as error:  # SQLite, zstd, YAML and struct each raise their own kinds
        raise DataError(f"{path}: not a readable bag ({one_line(error)})") from None


def message_counts(connections: Iterable[Connection]) -> dict[str, int]:
    """Topic -> number of its messages."""
    counts: dict[str, int] = {}
    for connection in connections:
        counts[connection.topic] = counts.get(connection.topic, 0) + connection.msgcount
    return counts


def _messages_of(
    reader: Reader, connections: list[Connection]
) -> Iterator[tuple[Connection, bytes]]:
    """The serialised messages of connections; none where there is no connection."""
    if not connections:  # for which the reader would take all
        return

    for connection, _, data in reader.messages(connections):
        yield connection, data


def _belongs(topic: str, wanted: str) -> bool:
    """Whether a topic is `wanted`, or the one with keypoints in the same namespace."""
    if not wanted:
        return True

    namespace = wanted.rpartition("/")[0]
    return topic in (wanted, f"{namespace}/skeletons_2d")


def _store_of(connections: list[Connection]) -> Typestore:
    """The types of `connections`, as the bag defines them."""
    types = {}
    for connection in connections:
        if connection.msgdef.format != MessageDefinitionFormat.MSG:
            raise DataError(f"{connection.topic}: it does not define {connection.msgtype}")
        types.update(get_types_from_msg(connection.msgdef.data, connection.msgtype))

    store = get_typestore(Stores.EMPTY)
    store.register(types)
    return store


def _stamp(header: Any) -> int:
    """The stamp of a header in ns."""
    return header.stamp.sec * 10**9 + header.stamp.nanosec


def frame_of(stamp: int, in_space: Any, in_image: Any | None) -> PoseFrame:
    """The frame of a Skeleton3DArray and of its Skeleton2DArray, if any: those of rosbags or of
    rclpy."""
    lifted = in_space.skeletons
    flat = in_image.skeletons if in_image is not None else ()
    image_frame = in_image.header.frame_id if in_image is not None else ""
    if len(flat) != len(lifted):
        flat = [None] * len(lifted)
    persons = [_person(*pair) for pair in zip(flat, lifted, strict=True)]

    return PoseFrame(stamp, in_space.header.frame_id, tuple(persons), image_frame)


def _person(flat: Any | None, lifted: Any) -> Person:
    """The person of a Skeleton3D and of its Skeleton2D, if there is one.

    Bags of older versions have no velocity covariances, bone lengths and `coasting`.
    """
    more: dict[str, Any] = {}
    if hasattr(lifted, "coasting"):
        covariances = [joint.velocity_covariance for joint in lifted.joints]
        more = {
            "velocity_covariance_m2ps2": np.array(covariances).reshape(-1, 3, 3),  # 17, 3, 3
            "bone_lengths_m": np.array(lifted.bone_lengths),
            "bone_lengths_std_m": np.array(lifted.bone_length_deviations),
            "coasting": bool(lifted.coasting),
        }

    return Person(
        id=lifted.id,
        age_s=lifted.age.sec + 1e-9 * lifted.age.nanosec,
        skeleton_2d=_skeleton_2d(flat, lifted.score),
        skeleton_3d=_skeleton_3d(lifted),
        velocity_mps=np.array([_xyz(joint.velocity) for joint in lifted.joints]),
        **more,
    )


def _skeleton_2d(message: Any | None, score: float) -> Skeleton2D:
    if message is None:
        return Skeleton2D.unknown(score)

    points = message.keypoints
    covariances = [
        (p.covariance_xx, p.covariance_xy, p.covariance_xy, p.covariance_yy) for p in points
    ]
    return Skeleton2D(
        keypoints_px=np.array([(p.x, p.y) for p in points]),
        confidence=np.array([p.confidence for p in points]),
        covariance_px2=np.array(covariances).reshape(-1, 2, 2),
        box_px=np.array(message.box),
        score=float(message.score),
    )


def _skeleton_3d(message: Any) -> Skeleton3D:
    joints = message.joints
    return Skeleton3D(
        joints_m=np.array([_xyz(joint.position) for joint in joints]),
        root_m=np.array(_xyz(message.root_position)),
        covariance_m2=np.array([joint.covariance for joint in joints]).reshape(-1, 3, 3),
        root_covariance_m2=np.array(message.root_covariance).reshape(3, 3),
        confidence=np.array([joint.confidence for joint in joints]),
        status=np.array([joint.status for joint in joints], np.uint8),
        log_likelihood=float(message.log_likelihood),
        metric=bool(message.metric),
        hypotheses_m=np.zeros((0, JOINT_COUNT, 3)),
        hypothesis_weight=np.zeros(0),
    )


def _xyz(point: Any) -> tuple[float, float, float]:
    return point.x, point.y, point.z
