# SPDX-License-Identifier: Apache-2.0
"""Writes bags: rosbag2 in MCAP. A bag stays readable if the disk fills up."""

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
"""rosbag2's metadata version; Iron and later read it."""

_MARKS = 8
"""Chunks that can be dropped to make room for the index. A chunk has a megabyte; its index entry a
few hundred bytes."""


def bag_qos(reliable: bool = True, latched: bool = False, depth: int = 10) -> Qos:
    """Quality of service of a topic, as stored in a bag for players."""
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
    """The state of the file after a chunk that is completely on disk."""

    size: int
    chunks: int
    counts: dict[int, int]
    start_ns: int
    end_ns: int


class _Mcap(McapWriter):
    """An MCAP file that can be truncated to its last complete chunk."""

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
        """Drop everything after the last complete chunk; each further call drops one chunk more.

        OSError if no chunk is left.
        """
        if not self._marks:
            raise OSError("nothing could be kept")

        mark = self._marks.pop()
        _forget(self.bio)
        os.truncate(self.path, mark.size)
        self.bio = self.path.open("r+b")
        self.bio.seek(0, os.SEEK_END)
        self.chunks = self.chunks[: mark.chunks]
        self.chunk = PendingChunk(2**63 - 1, 0, BytesIO(), defaultdict(list))
        self.channel_stats = {
            channel: mark.counts.get(channel, 0) for channel in self.channel_stats
        }
        self.message_start_time = mark.start_ns
        self.message_end_time = mark.end_ns

        return mark


def _forget(file: BinaryIO) -> None:
    """Close a file without flushing its buffer, whose bytes the disk did not take."""
    if not file.closed:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), file.fileno())
        file.close()


class BagWriter(Writer):
    """Writes a folder with an MCAP file. If its context ends with an exception, the bag has no
    index."""

    STORAGE_PLUGINS = {StoragePlugin.MCAP: _Mcap}

    def __init__(self, path: Path):
        super().__init__(path, version=BAG_VERSION, storage_plugin=StoragePlugin.MCAP)

    def salvage(self) -> None:
        """Close a bag after an OSError, with the messages that are on disk; OSError if there is no
        room for the index either."""
        storage = self.storage
        while True:
            self.storage = storage
            mark = storage.rewind()
            self.counts = {channel: mark.counts.get(channel, 0) for channel in self.counts}
            self.min_timestamp = mark.start_ns
            self.max_timestamp = mark.end_ns

            try:
                self.close()
                return
            except OSError:
                continue
