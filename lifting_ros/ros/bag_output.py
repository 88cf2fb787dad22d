# SPDX-License-Identifier: Apache-2.0
"""A copy of a bag with poses behind its images. The same input gives the same bytes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rclpy.serialization import serialize_message
from rclpy.time import Time
from rosbags.interfaces import Connection
from std_msgs.msg import Header

from lifting_ros.errors import DataError
from lifting_ros.io.atomic import beside
from lifting_ros.io.pose_table import PoseFrame
from lifting_ros.msg import SkeletonInfo
from lifting_ros.ros.bag_estimation import Answer
from lifting_ros.ros.bag_format import BagWriter, bag_qos
from lifting_ros.ros.bag_input import InputBag, definition_of
from lifting_ros.ros.conversions import persons_to_array_2d, persons_to_array_3d
from lifting_ros.ros.markers import MarkerBuilder, MarkerConfig
from lifting_ros.ros.message_types import typestore_of
from lifting_ros.tracking.tracking import TrackedFrame

TYPES = {
    "info": "lifting_ros/msg/SkeletonInfo",
    "skeletons_2d": "lifting_ros/msg/Skeleton2DArray",
    "skeletons_3d": "lifting_ros/msg/Skeleton3DArray",
    "markers": "visualization_msgs/msg/MarkerArray",
}
"""Topics with poses, in the namespace of the node."""
FUSED_TOPICS = ("skeletons_3d", "markers")
"""Of several cameras: keypoints belong to a single image."""
_INNER_NAME = "poses"
"""Name of the file while it is written. The index contains it, so it must be the same for every
output."""


def check_free(bag: InputBag, namespace: str, hint: str) -> None:
    """DataError in one line, with `hint` at its end, where the bag has one of the topics with poses
    already."""
    there = sorted({c.topic for c in bag.connections} & {f"{namespace}/{name}" for name in TYPES})
    if there:
        raise DataError(f"{bag.path}: has {', '.join(there)} already; {hint}")


@contextmanager
def written_beside(out: Path) -> Iterator[BagWriter]:
    """A writer whose MCAP file is moved to `out` at the end of the block, or removed after an
    exception."""
    with beside(out) as partial:
        folder = partial / _INNER_NAME
        with BagWriter(folder) as writer:
            yield writer
        os.replace(folder / f"{_INNER_NAME}.mcap", out)


class PoseTopics:
    """The topics that are added to a bag."""

    def __init__(
        self,
        writer: BagWriter,
        namespace: str,
        markers: MarkerConfig,
        info: SkeletonInfo | None,
        names: Iterable[str] = tuple(TYPES),
    ):
        """names: of TYPES, the topics to write; info: None where `info` is not among them."""
        self._writer = writer
        self._builder = MarkerBuilder(markers)
        self._info = info
        self._store = typestore_of(list(TYPES.values()))
        self._connections = {name: self._add(f"{namespace}/{name}", name) for name in names}

    def _add(self, topic: str, name: str) -> Connection:
        qos = bag_qos(latched=True, depth=1) if name == "info" else bag_qos()
        return self._writer.add_connection(
            topic, TYPES[name], typestore=self._store, offered_qos_profiles=[qos]
        )

    def write(self, answer: Answer, time_ns: int) -> None:
        """Write the messages of one image at `time_ns`; the first call writes info as well."""
        if self._info is not None:
            self._put("info", self._info, time_ns)
            self._info = None

        self._put("skeletons_2d", persons_to_array_2d(answer.persons, answer.header), time_ns)
        self._put("skeletons_3d", persons_to_array_3d(answer.persons, answer.header), time_ns)
        self._put("markers", self._builder.build(answer.persons, answer.header), time_ns)

    def _put(self, name: str, message: Any, time_ns: int) -> None:
        if name not in self._connections:
            return

        # The middleware leaves padding bytes uninitialised; rosbags writes zeros. Equal input must
        # give equal bytes.
        decoded = self._store.deserialize_cdr(serialize_message(message), TYPES[name])
        self._writer.write(
            self._connections[name], time_ns, self._store.serialize_cdr(decoded, TYPES[name])
        )


def write_poses(
    out: Path, frames: Iterable[TrackedFrame], frame_id: str, info: SkeletonInfo
) -> None:
    """Write a bag with the persons of frames and nothing else, whole or not at all."""
    with written_beside(out) as writer:
        topics = PoseTopics(writer, "/lifting", MarkerConfig(), info)
        for frame in frames:
            stamp = Time(nanoseconds=frame.stamp_ns).to_msg()
            header = Header(stamp=stamp, frame_id=frame_id)
            topics.write(Answer(header, tuple(frame.persons)), frame.stamp_ns)


def write_fused(out: Path, frames: Iterable[PoseFrame], namespace: str) -> None:
    """Write a bag with persons in a common frame of several cameras, whole or not at all."""
    with written_beside(out) as writer:
        topics = PoseTopics(writer, namespace, MarkerConfig(), None, FUSED_TOPICS)
        for frame in frames:
            stamp = Time(nanoseconds=frame.stamp_ns).to_msg()
            header = Header(stamp=stamp, frame_id=frame.frame_id)
            topics.write(Answer(header, frame.persons), frame.stamp_ns)


class OriginalTopics:
    """Copies the topics of the input bag, message by message and unchanged."""

    def __init__(self, writer: BagWriter, bag: InputBag):
        self._writer = writer
        self._bag = bag
        self._by_id = {}
        added: dict[tuple, Connection] = {}

        for c in self._connections():
            # Merged bags may have the same connection twice.
            key = (c.topic, c.msgtype, str(c.ext))
            if key not in added:
                added[key] = self._add(c)

            self._by_id[c.id] = added[key]

    def _connections(self) -> list[Connection]:
        """The connections whose messages are copied."""
        return self._bag.connections

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

    def write(
        self, connection: Connection, time_ns: int, data: bytes, answer: Answer | None = None
    ) -> None:
        """Copy a message; answer: that of an image, which is not needed here."""
        self._writer.write(self._by_id[connection.id], time_ns, data)


def copy_with_poses(
    bag: InputBag,
    images: Sequence[Connection],
    answers: Sequence[Answer | None],
    poses: PoseTopics,
    originals: OriginalTopics | None,
) -> Iterator[None]:
    """Write every message of the bag, and after each image its answer; yields once per message.

    images: the connections that `answers` belong to. originals: None to write answers only.
    """
    ids = {c.id for c in images}
    following = iter(answers)

    for connection, time_ns, data in bag.messages(() if originals else images):
        answer = next(following) if connection.id in ids else None
        if originals:
            originals.write(connection, time_ns, data, answer)
        if answer is not None:
            poses.write(answer, time_ns)

        yield
