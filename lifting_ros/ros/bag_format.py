# SPDX-License-Identifier: Apache-2.0
"""How this package writes bags: rosbag2 in MCAP, which ends in order even where the disk has
refused to take more."""

from __future__ import annotations

import os
from collections import defaultdict, deque
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionMode
from rosbags.rosbag2.storage_mcap import McapWriter, PendingChunk

BAG_VERSION = 8
"""rosbag2's metadata version that Humble's successors up to the present read."""
_MARKS = 8
"""Chunks that can be given up to make room for the index: a megabyte each, where it wants a few
hundred bytes a chunk."""


def bag_qos(reliable: bool = True, latched: bool = False, depth: int = 10) -> Qos:
    """Quality of service of a topic as a bag keeps it, for those who play it."""
    forever = QosTime(sec=2147483647, nsec=4294967295)
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=depth,
        reliability=QosReliability.RELIABLE if reliable else QosReliability.BEST_EFFORT,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=forever,
        lifespan=forever,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=forever,
        avoid_ros_namespace_conventions=False,
    )


class _Mark(NamedTuple):
    """The state of the file behind a chunk that is wholly on the disk."""

    size: int
    chunks: int
    counts: dict[int, int]
    start_ns: int
    end_ns: int


class _Mcap(McapWriter):
    """An MCAP file that can be taken back to where it was whole."""

    def __init__(self, path: Path, compression: CompressionMode):
        super().__init__(path, compression)
        self._marks = deque([self._mark()], maxlen=_MARKS)

    def _mark(self) -> _Mark:
        return _Mark(
            self.bio.tell(),
            len(self.chunks),
            dict(self.channel_stats),
            self.message_start_time,
            self.message_end_time,
        )

    def close_chunk(self) -> None:
        super().close_chunk()
        self.bio.flush()  # a full disk shows here, not a megabyte later
        self._marks.append(self._mark())

    def rewind(self) -> _Mark:
        """Drop what came after the last chunk that is whole; at the next call the chunk before.
        OSError where there is none left."""
        if not self._marks:
            raise OSError("nothing could be kept")
        mark = self._marks.pop()
        _forget(self.bio)
        os.truncate(self.path, mark.size)
        self.bio = self.path.open("r+b")
        self.bio.seek(0, os.SEEK_END)
        self.chunks, self.chunk = (
            self.chunks[: mark.chunks],
            PendingChunk(2**63 - 1, 0, BytesIO(), defaultdict(list)),
        )
        self.channel_stats = {
            channel: mark.counts.get(channel, 0) for channel in self.channel_stats
        }
        self.message_start_time, self.message_end_time = mark.start_ns, mark.end_ns
        return mark


def _forget(file: BinaryIO) -> None:
    """Close a file whose last bytes the disk did not take, so that it does not try once more behind
    what is written in their place."""
    if not file.closed:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), file.fileno())
        file.close()


class BagWriter(Writer):
    """rosbags' writer of a folder with an MCAP file; a context that is left by an exception leaves
    the folder without index."""

    STORAGE_PLUGINS = {StoragePlugin.MCAP: _Mcap}

    def __init__(self, path: Path):
        super().__init__(path, version=BAG_VERSION, storage_plugin=StoragePlugin.MCAP)

    def salvage(self) -> None:
        """End a bag, after an OSError, with the messages that the disk took; OSError where there is
        no room for that either."""
        storage = self.storage
        while True:
            self.storage, mark = storage, storage.rewind()
            self.counts = {channel: mark.counts.get(channel, 0) for channel in self.counts}
            self.min_timestamp, self.max_timestamp = mark.start_ns, mark.end_ns
            try:
                self.close()
                return
            except OSError:
                continue
