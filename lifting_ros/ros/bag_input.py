# SPDX-License-Identifier: Apache-2.0
"""Reads a rosbag2: images and camera_info decoded, all other messages as bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.rosbag2 import Reader
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from lifting_ros.errors import DataError
from lifting_ros.io.bag_poses import message_counts
from lifting_ros.ros.conversions import ConversionError
from lifting_ros.ros.message_types import typestore_of

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
INFO = "sensor_msgs/msg/CameraInfo"
_READ = (IMAGE, COMPRESSED, INFO)
_IDL = "=" * 80 + "\nIDL: "
_UNKNOWN_HASH = "RIHS01_" + "0" * 64


class InputBag:
    """A folder, .mcap or .db3 file, open for reading. DataError if it cannot be read."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self._reader = Reader(path)
            self._reader.open()
        except FileNotFoundError:
            missing = (
                f"{path / 'metadata.yaml'}: no such file, so this folder is no bag"
                if path.exists()
                else f"{path}: no such bag"
            )
            raise DataError(missing) from None
        except Exception as error:
            # SQLite, zstd, YAML and struct each raise their own kinds on a damaged file
            raise DataError(
                f"{path}: not a readable bag "
                f"({' '.join(str(error).split()) or type(error).__name__})"
            ) from None

        self._store = typestore_of(list(_READ))

    @property
    def connections(self) -> list[Connection]:
        """One connection per topic, type and quality of service."""
        return self._reader.connections

    def counts(self, *types: str) -> dict[str, int]:
        """Number of messages of each topic that has one of `types`."""
        return message_counts(c for c in self.connections if c.msgtype in types)

    def of_topic(self, topic: str, *types: str) -> list[Connection]:
        """The connections of a topic that have one of `types`. DataError where the bag means
        something else by that type."""
        found = [c for c in self.connections if c.topic == topic and c.msgtype in types]
        for c in found:
            if c.msgdef.format != MessageDefinitionFormat.NONE and definition_hash(
                c
            ) != self._store.hash_rihs01(c.msgtype):
                raise DataError(
                    f"{self.path}: {topic}: its definition of {c.msgtype} is not that of ROS 2"
                )

        return found

    def messages(
        self, connections: Sequence[Connection] = ()
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Connection, time (ns) and bytes of each message, in the bag's order.

        connections: which to read; empty for all.
        """
        try:
            yield from self._reader.messages(connections)
        except Exception as error:  # as above, in the middle of the file
            raise DataError(
                f"{self.path}: damaged ({' '.join(str(error).split()) or type(error).__name__})"
            ) from None

    def decode(self, connection: Connection, data: bytes) -> Any:
        """An image or camera_info with the attributes of its ROS message; ConversionError if the
        bytes do not decode."""
        try:
            return self._store.deserialize_cdr(data, connection.msgtype)
        except SerdeError as error:
            raise ConversionError(f"{connection.msgtype}: {' '.join(str(error).split())}") from None

    def encode(self, connection: Connection, message: Any) -> bytes:
        """The bytes of a message that `decode` returned, or of one like it."""
        return bytes(self._store.serialize_cdr(message, connection.msgtype))

    def __enter__(self) -> InputBag:
        return self

    def __exit__(self, *_) -> None:
        self._reader.close()


def info_topic_of(image_topic: str) -> str:
    """The topic of the camera's CameraInfo, as image_transport has it: /a/image and
    /a/image/compressed have /a/camera_info."""
    return image_topic.removesuffix("/compressed").rpartition("/")[0] + "/camera_info"


def definition_of(connection: Connection) -> tuple[str, str]:
    """Text and hash (RIHS01) of a connection's type: the bag's own, else those installed, else an
    empty one."""
    if connection.msgdef.format == MessageDefinitionFormat.NONE:
        try:
            store = typestore_of([connection.msgtype])
        except ValueError:
            return "", connection.digest or _UNKNOWN_HASH

        return store.generate_msgdef(connection.msgtype, ros_version=2)[0], store.hash_rihs01(
            connection.msgtype
        )

    text = connection.msgdef.data

    if connection.msgdef.format == MessageDefinitionFormat.IDL and not text.startswith(_IDL):
        text = f"{_IDL}{connection.msgtype}\n{text}"  # what tells a reader that it is IDL

    return text, connection.digest or definition_hash(connection) or _UNKNOWN_HASH


def definition_hash(connection: Connection) -> str:
    """The hash (RIHS01) of a connection's own definition; empty where that does not parse."""
    return _hash(connection.msgtype, connection.msgdef.data, connection.msgdef.format)


@lru_cache(maxsize=256)
def _hash(name: str, text: str, form: MessageDefinitionFormat) -> str:
    types = {}
    try:
        if form == MessageDefinitionFormat.MSG:
            types.update(get_types_from_msg(text, name))
        else:
            for part in text.removeprefix(_IDL).split(_IDL):
                types.update(
                    get_types_from_idl(part.split("\n", 1)[1] if text.startswith(_IDL) else part)
                )

        store = get_typestore(Stores.EMPTY)
        store.register(types)
        return store.hash_rihs01(name)
    except Exception:  # whatever the parser makes of it
        return ""
