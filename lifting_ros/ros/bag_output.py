# SPDX-License-Identifier: Apache-2.0
"""A copy of a bag with poses behind its images. The same input gives the same bytes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rclpy.serialization import serialize_message
from rclpy.time import Time
from rosbags.interfaces import Connection
from std_msgs.msg import Header

from lifting_ros.msg import SkeletonInfo
from lifting_ros.ros.bag_estimation import Answer
from lifting_ros.ros.bag_format import BagWriter, bag_qos
from lifting_ros.ros.bag_input import InputBag, definition_of
from lifting_ros.ros.conversions import persons_to_array_2d, persons_to_array_3d
from lifting_ros.ros.markers import MarkerBuilder, MarkerConfig
from lifting_ros.ros.message_types import typestore_of
from lifting_ros.types import Person

TYPES = {
    "info": "lifting_ros/msg/SkeletonInfo",
    "skeletons_2d": "lifting_ros/msg/Skeleton2DArray",
    "skeletons_3d": "lifting_ros/msg/Skeleton3DArray",
    "markers": "visualization_msgs/msg/MarkerArray",
}
"""Topics with poses, in the namespace of the node."""
_INNER_NAME = "poses"
"""The file's name while it is written stands in its index: always the same one, so that the bytes
do not depend on where it goes."""


def check_free(bag: InputBag, namespace: str) -> None:
    """ValueError in one line where the bag has one of the topics with poses already."""
    there = sorted({c.topic for c in bag.connections} & {f"{namespace}/{name}" for name in TYPES})
    if there:
        raise ValueError(
            f"{bag.path}: has {', '.join(there)} already; choose another --namespace, or --poses-only"
        )


@contextmanager
def written_beside(out: Path) -> Iterator[BagWriter]:
    """A writer whose MCAP file becomes `out` at the end of the block; nothing is left where that is
    not reached."""
    beside = out.with_name(out.name + ".partial")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with BagWriter(beside / _INNER_NAME) as writer:
            yield writer
        os.replace(beside / _INNER_NAME / f"{_INNER_NAME}.mcap", out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


class PoseTopics:
    """The topics that are added to a bag."""

    def __init__(
        self, writer: BagWriter, namespace: str, markers: MarkerConfig, info: SkeletonInfo
    ):
        self._writer, self._builder, self._info = writer, MarkerBuilder(markers), info
        self._store = typestore_of(list(TYPES.values()))
        self._connections = {name: self._add(f"{namespace}/{name}", name) for name in TYPES}

    def _add(self, topic: str, name: str) -> Connection:
        qos = bag_qos(latched=True, depth=1) if name == "info" else bag_qos()
        return self._writer.add_connection(
            topic, TYPES[name], typestore=self._store, offered_qos_profiles=[qos]
        )

    def write(self, answer: Answer, time_ns: int) -> None:
        """The messages of an image whose own has the time `time_ns`; info once, with the first."""
        if self._info is not None:
            self._put("info", self._info, time_ns)
            self._info = None
        self._put("skeletons_2d", persons_to_array_2d(answer.persons, answer.header), time_ns)
        self._put("skeletons_3d", persons_to_array_3d(answer.persons, answer.header), time_ns)
        self._put("markers", self._builder.build(answer.persons, answer.header), time_ns)

    def _put(self, name: str, message: Any, time_ns: int) -> None:
        # The middleware's serialiser leaves what was in memory between the fields; rosbags writes
        # zeros there.
        decoded = self._store.deserialize_cdr(serialize_message(message), TYPES[name])
        self._writer.write(
            self._connections[name], time_ns, self._store.serialize_cdr(decoded, TYPES[name])
        )


def write_poses(
    out: Path, persons: Mapping[int, Sequence[Person]], frame_id: str, info: SkeletonInfo
) -> None:
    """Write a bag with persons by stamp (ns) and nothing else, whole or not at all."""
    with written_beside(out) as writer:
        topics = PoseTopics(writer, "/lifting", MarkerConfig(), info)
        for stamp_ns, there in persons.items():
            topics.write(
                Answer(
                    Header(stamp=Time(nanoseconds=stamp_ns).to_msg(), frame_id=frame_id),
                    tuple(there),
                ),
                stamp_ns,
            )


class OriginalTopics:
    """The topics of the bag that came in, message by message as they are."""

    def __init__(self, writer: BagWriter, bag: InputBag):
        self._writer, self._by_id = writer, {}
        added: dict[tuple, Connection] = {}
        for c in bag.connections:
            key = (
                c.topic,
                c.msgtype,
                str(c.ext),
            )  # a bag may have the same one twice, as merged ones do
            if key not in added:
                added[key] = self._add(c)
            self._by_id[c.id] = added[key]

    def _add(self, connection: Connection) -> Connection:
        text, digest = definition_of(connection)
        return self._writer.add_connection(
            connection.topic,
            connection.msgtype,
            msgdef=text,
            rihs01=digest,
            serialization_format=connection.ext.serialization_format,
            offered_qos_profiles=connection.ext.offered_qos_profiles,
        )

    def write(self, connection: Connection, time_ns: int, data: bytes) -> None:
        """The copy of a message."""
        self._writer.write(self._by_id[connection.id], time_ns, data)


def copy_with_poses(
    bag: InputBag,
    images: Sequence[Connection],
    answers: Sequence[Answer | None],
    poses: PoseTopics,
    originals: OriginalTopics | None,
) -> Iterator[None]:
    """Write every message of the bag (none without `originals`) and, behind each of `images`, its
    answer. Yields at each message read."""
    ids, following = {c.id for c in images}, iter(answers)
    for connection, time_ns, data in bag.messages(() if originals else images):
        if originals:
            originals.write(connection, time_ns, data)
        answer = next(following) if connection.id in ids else None
        if answer is not None:
            poses.write(answer, time_ns)
        yield
