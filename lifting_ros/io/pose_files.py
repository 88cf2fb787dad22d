# SPDX-License-Identifier: Apache-2.0
"""Files of poses by the suffix of their name, in upper or lower case: which there are, and what
writes and reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from lifting_ros.errors import DataError
from lifting_ros.io.atomic import replacing
from lifting_ros.io.pose_bvh import encode_bvh
from lifting_ros.io.pose_c3d import encode_c3d
from lifting_ros.io.pose_json import read_json, write_json
from lifting_ros.io.pose_rows import read_csv, read_parquet, write_csv, write_parquet
from lifting_ros.io.pose_table import PoseFrame, read_frames, write_frames
from lifting_ros.io.pose_trc import encode_trc
from lifting_ros.io.progress import Progress
from lifting_ros.io.uniform_track import UP, UniformTrack, uniform_tracks

WRITERS: dict[str, Callable[[Path, Sequence[PoseFrame]], None]] = {
    ".csv": write_csv,
    ".npz": write_frames,
    ".json": write_json,
    ".parquet": write_parquet,
}
"""Formats of whole recordings: all people, with stamps, in the frame of the poses."""

READERS: dict[str, Callable[[Path], list[PoseFrame]]] = {
    ".csv": read_csv,
    ".npz": read_frames,
    ".json": read_json,
    ".parquet": read_parquet,
}

ENCODERS: dict[str, Callable[[UniformTrack, str], tuple[bytes, str]]] = {
    ".trc": encode_trc,
    ".c3d": encode_c3d,
    ".bvh": encode_bvh,
}
"""Formats of one person at a uniform rate: the content of a file, and what else to
print about it."""


def read_poses(path: Path) -> list[PoseFrame]:
    """The frames of a file in one of the formats of READERS.

    FileNotFoundError where there is no file; DataError where it cannot be read.
    """
    read = READERS[path.suffix.lower()]
    return read(path)


def write_persons(out: Path, frames: Sequence[PoseFrame], up: Sequence[float] = UP) -> list[str]:
    """Write each person to a file in one of the formats of ENCODERS, all or none of them.

    The only person goes to `out`, each of several to a file with its id in the name: `walk.trc`
    becomes `walk_1.trc`, `walk_2.trc`. up: the upward direction in the frame of the poses.

    Returned: a line of text for each file. DataError where there is nobody, or where the poses do
    not fit the format.
    """
    tracks = uniform_tracks(frames, up, out)
    if not tracks:
        raise DataError(f"{out}: not written: there is nobody in {len(frames)} frames")

    encode = ENCODERS[out.suffix.lower()]
    lines = []
    with ExitStack() as files:
        for track in Progress(tracks, desc="writing", unit=" people", delay=2):
            path = out
            if len(tracks) > 1:
                path = out.with_stem(f"{out.stem}_{track.person_id}")

            content, note = encode(track, path.name)
            writing = replacing(path)
            partial = files.enter_context(writing)
            partial.write_bytes(content)

            summary = _summary(track)
            lines.append(f"{path}: {summary}{note}")

    return lines


def _summary(track: UniformTrack) -> str:
    """What a track holds, in words."""
    known = track.known
    unknown = known.size - known.sum()
    return (
        f"person {track.person_id}, {len(known)} frames at {track.rate_hz:.3f} Hz from"
        f" {track.times_s[0]:.3f} s on; {track.filled.sum()} of {known.size} joints filled in,"
        f" {unknown} unknown"
    )
