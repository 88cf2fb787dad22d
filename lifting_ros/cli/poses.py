# SPDX-License-Identifier: Apache-2.0
"""Write recorded poses for other tools; no ROS installation is needed.

POSES is a rosbag2 with Skeleton3DArray, whoever recorded it, or an .npz of `lifting estimate`,
`lifting poses` or `lifting lift`, or a .csv, .json or .parquet that this verb wrote. The suffix of
OUT is the format.

Whole recordings: all people, with stamps, metres, in the frame frame_id, which is the camera's
optical frame (x right, y down, z forward) unless the node was configured otherwise.

.csv and .parquet have a row for each joint of each person of each stamp: stamp_ns (of the image),
frame_id, id (0: not tracked), joint (its name), x_m y_m z_m, vx_mps vy_mps vz_mps, cov_*_m2 (xx xy
xz yy yz zz: of the joint relative to the root), confidence (0 to 1), status (0 invalid, 1 inferred,
2 observed), root_cov_*_m2 (of the root alone; add it for the absolute joint); nan where nothing is
known. Frames without a person have no rows.
.npz has the arrays of `lifting estimate`, a row for each of N persons, with the stamps and the
frame_id (F,) of each of the F frames, those without a person included.
.json has the frames, those without a person included, and names and units; null where nothing is
known.

One person per file, at a uniform rate, with y up, x right and z towards the camera. The only person
goes to OUT, each of several to a file with its id: walk.trc becomes walk_1.trc, walk_2.trc. Frames
count from the earliest stamp of the recording. Gaps of up to 0.1 s or of one frame are
interpolated; joints that are inferred or predicted have positions and are no gaps.
.trc (OpenSim): mm; empty cells in longer gaps.
.c3d (pip install c3d): mm; residual: standard deviation of the position (mm), -1 in longer gaps, 0
where it was interpolated.
.bvh: cm; a skeleton of rigid bones; longer gaps are interpolated, too, and listed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.options import require_folder_of, require_suffix

if TYPE_CHECKING:
    from lifting_ros.io.pose_table import PoseFrame


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "poses",
        metavar="POSES",
        type=Path,
        help="rosbag2 (a folder, or a .mcap or .db3 file), or a table of poses",
    )
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="OUT.csv|.npz|.json|.parquet|.trc|.c3d|.bvh",
        help="the file to write; see above",
    )
    parser.add_argument(
        "--topic",
        default="",
        metavar="TOPIC",
        help="the skeletons of a bag (default: the only topic with Skeleton3DArray)",
    )
    parser.add_argument(
        "--up",
        nargs=3,
        type=float,
        metavar=("X", "Y", "Z"),
        help="upward direction in the frame of the poses, for .trc, .c3d and .bvh"
        " (default 0 -1 0: a level camera)",
    )


def run(args: argparse.Namespace) -> int:
    from lifting_ros.io.pose_files import ENCODERS, WRITERS

    require_suffix("--out", args.out, *WRITERS, *ENCODERS, any_case=True)
    require_folder_of("--out", args.out)
    check_up(args.up, args.out.suffix.lower() in ENCODERS)

    write_poses(args.poses, args.out, args.topic, args.up)
    return 0


def check_up(up: list[float] | None, is_used: bool) -> None:
    """Raise CommandError for a direction that is none, or that the format has no use for."""
    import numpy as np

    if up is None:
        return
    if not is_used:
        raise CommandError("--up: only for .trc, .c3d and .bvh; other formats keep their frame")
    if not 0 < np.linalg.norm(up) < np.inf:
        raise CommandError(f"--up: expected a direction, got {' '.join(map(str, up))}")


def write_poses(
    source: Path, out: Path, topic: str = "", up: Sequence[float] | None = None
) -> None:
    """Write the poses of a bag or a table in the format of `out`, and print how many there are."""
    from lifting_ros.io.pose_files import ENCODERS, WRITERS, write_persons
    from lifting_ros.io.uniform_track import UP

    frames = read_pose_frames(source, topic)
    suffix = out.suffix.lower()
    if suffix in ENCODERS:
        for line in write_persons(out, frames, up or UP):
            print(line)
        return

    WRITERS[suffix](out, frames)
    people = sum(len(frame.persons) for frame in frames)
    occupied = sum(bool(frame.persons) for frame in frames)
    print(f"{people} persons in {occupied} of {len(frames)} frames: {out}")


def read_pose_frames(source: Path, topic: str) -> list[PoseFrame]:
    """The frames of a bag, or of a table of poses.

    LiftingError or OSError where it cannot be read.
    """
    from lifting_ros.io.pose_files import ENCODERS, READERS, read_poses

    suffix = source.suffix.lower()
    if suffix in ENCODERS:
        raise CommandError(f"{source}: not read; expected a bag or {', '.join(READERS)}")
    if suffix not in READERS:
        return read_bag_frames(source, topic)
    if topic:
        raise CommandError(f"{source}: --topic is for bags")
    return read_poses(source)


def read_bag_frames(bag: Path, topic: str) -> list[PoseFrame]:
    """The frames of `topic`, or of a bag's only topic with skeletons, in the bag's order.

    LiftingError where the bag cannot be read or has no such topic.
    """
    from lifting_ros.cli.topics import choose_topic
    from lifting_ros.io.bag_poses import TYPE_3D, read_bag, topic_counts

    counts = topic_counts(bag, TYPE_3D)
    chosen = choose_topic(bag, counts, topic, "--topic", "skeletons")
    return list(read_bag(bag, chosen).frames)
