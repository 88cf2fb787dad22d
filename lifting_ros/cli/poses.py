# SPDX-License-Identifier: Apache-2.0
"""Write the poses of a bag as a table, whoever recorded it; no ROS installation is needed.

OUT.csv has a row for each joint of each person of each stamp, below a row of names: stamp_ns (of
the image), frame_id, id (0: not tracked), joint (its name), x_m y_m z_m, vx_mps vy_mps vz_mps,
cov_*_m2 (xx xy xz yy yz zz: of the joint relative to the root), confidence (0 to 1), status (0
invalid, 1 inferred, 2 observed), root_cov_*_m2 (of the root alone; add it for the absolute joint);
nan where nothing is known.

OUT.npz has the arrays of `lifting estimate`, a row for each of N persons, with the bag's stamps and
the frame_id (F,) of each of the F frames, those without a person included.

3D is in metres, in the frame frame_id: the camera's optical frame (x right, y down, z forward)
unless the node was configured otherwise.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifting_ros.cli.options import require_folder_of, require_suffix

if TYPE_CHECKING:
    from lifting_ros.io.pose_table import PoseFrame
    from lifting_ros.types import Person

_UPPER_TRIANGLE = {
    "xx": (0, 0),
    "xy": (0, 1),
    "xz": (0, 2),
    "yy": (1, 1),
    "yz": (1, 2),
    "zz": (2, 2),
}
"""The entries of a symmetric matrix that are written, by name."""

COLUMNS = (
    "stamp_ns",
    "frame_id",
    "id",
    "joint",
    "x_m",
    "y_m",
    "z_m",
    "vx_mps",
    "vy_mps",
    "vz_mps",
    *(f"cov_{axes}_m2" for axes in _UPPER_TRIANGLE),
    "confidence",
    "status",
    *(f"root_cov_{axes}_m2" for axes in _UPPER_TRIANGLE),
)
"""Of the CSV."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bag", metavar="BAG", type=Path, help="rosbag2: a folder, or a .mcap or .db3 file"
    )
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="POSES.csv|.npz",
        help="the table to write; see above",
    )
    parser.add_argument(
        "--topic",
        default="",
        metavar="TOPIC",
        help="the skeletons (default: the only topic with Skeleton3DArray)",
    )


def run(args: argparse.Namespace) -> int:
    require_suffix("--out", args.out, ".csv", ".npz")
    require_folder_of("--out", args.out)
    write_poses(args.bag, args.out, args.topic)
    return 0


def write_poses(bag: Path, out: Path, topic: str = "") -> None:
    """Write the poses of a bag as .csv or .npz, and print how many there are."""
    from lifting_ros.cli.files import write_npz
    from lifting_ros.io.pose_table import frame_arrays

    frames = read_bag_frames(bag, topic)
    if out.suffix == ".npz":
        write_npz(out, frame_arrays(frames))
    else:
        write_csv(out, frames)

    people = sum(len(frame.persons) for frame in frames)
    occupied = sum(bool(frame.persons) for frame in frames)
    print(f"{people} persons in {occupied} of {len(frames)} frames: {out}")


def read_bag_frames(bag: Path, topic: str) -> list[PoseFrame]:
    """The frames of `topic`, or of a bag's only topic with skeletons, in the bag's order.

    LiftingError where the bag cannot be read or has no such topic.
    """
    from lifting_ros.cli.topics import choose_topic
    from lifting_ros.io.bag_poses import TYPE_3D, read_bag, topic_counts

    counts = topic_counts(bag, TYPE_3D)
    chosen = choose_topic(bag, counts, topic, "--topic", "skeletons")
    return list(read_bag(bag, chosen).frames)


def write_csv(path: Path, frames: Iterable[PoseFrame]) -> None:
    """Write the frames as CSV, whole or not at all."""
    import csv

    from lifting_ros.io.atomic import replacing
    from lifting_ros.io.progress import Progress

    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for frame in Progress(frames, desc="writing", unit=" frames", delay=2):
            for person in frame.persons:
                start = (frame.stamp_ns, frame.frame_id, person.id)
                writer.writerows((*start, *row) for row in joint_rows(person))


def joint_rows(person: Person) -> Iterator[list[Any]]:
    """The values of COLUMNS from `joint` on, for each joint."""
    from lifting_ros.skeleton import JOINT_NAMES

    pose = person.skeleton_3d
    upper = tuple(zip(*_UPPER_TRIANGLE.values(), strict=True))
    root_covariance = pose.root_covariance_m2[upper].tolist()

    for j, name in enumerate(JOINT_NAMES):
        yield [
            name,
            *pose.joints_m[j].tolist(),
            *person.velocity_mps[j].tolist(),
            *pose.covariance_m2[j][upper].tolist(),
            float(pose.confidence[j]),
            int(pose.status[j]),
            *root_covariance,
        ]
