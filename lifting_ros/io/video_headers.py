# SPDX-License-Identifier: Apache-2.0
"""What the headers of a video file say about its length: MP4 and QuickTime files, and AVI.

A container's number of frames is no promise. A clip that was trimmed without encoding it again
keeps the frames before the cut, and an edit list says that they are not shown. A recorder that was
interrupted may have written another number than it stored.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_BRANCHES = (b"moov", b"trak", b"mdia")
"""Boxes of MP4 files that contain the boxes which are read."""

_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
"""Kinds of the first box of an MP4 or QuickTime file."""

_MOST_BOXES = 10_000
"""Boxes after which a file is not read further."""

_BOX_HEADER = 8
_LONG_HEADER = 16
_LONG = 1
"""Size of a box whose size follows in 64 bits."""
_TO_THE_END = 0
"""Size of a box that extends to the end of the file."""


@dataclass(frozen=True)
class VideoHeader:
    """What the headers of a video file say. For formats that are not read: the defaults."""

    is_cut_off: bool = False
    """The file ends before the end that its headers state."""
    shown: float = 1.0
    """Share of the stored frames, by duration, that are shown: below 1 with an edit list."""


class _Box:
    """Box of an MP4 file, or chunk of an AVI file, and where its content lies."""

    def __init__(self, kind: bytes, begin: int, end: int):
        self.kind = kind
        self.begin = begin
        self.end = end


def read_video_header(path: Path) -> VideoHeader:
    """What the file says; the defaults where it cannot be read."""
    try:
        size = os.path.getsize(path)
        with path.open("rb") as file:
            start = file.read(_BOX_HEADER)
            if start[:4] == b"RIFF":
                return VideoHeader(is_cut_off=_is_riff_cut_off(file, size))
            if start[4:] in _FIRST_BOXES:
                return _mp4_header(file, size)
    except (OSError, struct.error):
        pass

    return VideoHeader()


def _is_riff_cut_off(file: BinaryIO, size: int) -> bool:
    """Whether a RIFF list of an AVI file, which may have several, extends beyond its end."""
    begin = 0
    for _ in range(_MOST_BOXES):
        file.seek(begin)
        header = file.read(_BOX_HEADER)
        if len(header) < _BOX_HEADER or header[:4] != b"RIFF":
            return False

        (length,) = struct.unpack("<I", header[4:])
        begin += _BOX_HEADER + length + length % 2
        if begin > size + 1:  # the last byte of padding is often left out
            return True

    return False


def _mp4_header(file: BinaryIO, size: int) -> VideoHeader:
    boxes = list(_boxes(file, 0, size))
    is_cut_off = any(box.end > size for box in boxes)

    for movie in boxes:
        if movie.kind == b"moov":
            return VideoHeader(is_cut_off, _shown_share(file, movie))
    return VideoHeader(is_cut_off)


def _shown_share(file: BinaryIO, movie: _Box) -> float:
    """Shown duration of the first video track, divided by the duration of what it stores."""
    movie_ticks = 0.0
    for box in _boxes(file, movie.begin, movie.end):
        if box.kind == b"mvhd":
            movie_ticks = _ticks_and_duration(file, box)[0]
        if box.kind != b"trak":
            continue

        inside = {part.kind: part for part in _descendants(file, box)}
        if not {b"tkhd", b"mdhd", b"hdlr"} <= set(inside):
            continue
        if _bytes(file, inside[b"hdlr"], 8, 4) != b"vide":
            continue

        ticks, stored = _ticks_and_duration(file, inside[b"mdhd"])
        shown = _track_duration(file, inside[b"tkhd"])
        if min(ticks, stored, shown, movie_ticks) <= 0:
            return 1.0  # such as a fragmented file, which states nothing here
        return min((shown / movie_ticks) / (stored / ticks), 1.0)

    return 1.0


def _descendants(file: BinaryIO, parent: _Box) -> Iterator[_Box]:
    for box in _boxes(file, parent.begin, parent.end):
        yield box
        if box.kind in _BRANCHES:
            yield from _descendants(file, box)


def _boxes(file: BinaryIO, begin: int, end: int) -> Iterator[_Box]:
    """The boxes from `begin` on; the last one may extend beyond `end`."""
    for _ in range(_MOST_BOXES):
        file.seek(begin)
        header = file.read(_LONG_HEADER)
        if begin >= end or len(header) < _BOX_HEADER:
            return

        length, kind = struct.unpack(">I4s", header[:_BOX_HEADER])
        content = begin + _BOX_HEADER
        if length == _LONG:
            (length,) = struct.unpack(">Q", header[_BOX_HEADER:])
            content = begin + _LONG_HEADER
        elif length == _TO_THE_END:
            length = end - begin

        if begin + length < content:  # not a box
            return

        yield _Box(kind, content, begin + length)
        begin += length


def _ticks_and_duration(file: BinaryIO, box: _Box) -> tuple[float, float]:
    """Ticks per second and duration in ticks, of `mvhd` and `mdhd`."""
    if _bytes(file, box, 0, 1) == b"\1":
        return struct.unpack(">IQ", _bytes(file, box, 20, 12))
    return struct.unpack(">II", _bytes(file, box, 12, 8))


def _track_duration(file: BinaryIO, box: _Box) -> float:
    """Duration of `tkhd`, in ticks of the movie."""
    if _bytes(file, box, 0, 1) == b"\1":
        return struct.unpack(">Q", _bytes(file, box, 28, 8))[0]
    return struct.unpack(">I", _bytes(file, box, 20, 4))[0]


def _bytes(file: BinaryIO, box: _Box, offset: int, count: int) -> bytes:
    file.seek(box.begin + offset)
    return file.read(count)
