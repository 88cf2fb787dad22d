# SPDX-License-Identifier: Apache-2.0
"""The poses of a bag as a table, whoever recorded it; no ROS installation is needed.

OUT.csv: a row for each joint of each person of each stamp, and a first row of names: stamp_ns (of
the image), frame_id, id (0: not tracked), joint (its name), x_m y_m z_m, vx_mps vy_mps vz_mps,
cov_*_m2 (xx xy xz yy yz zz: of the joint relative to the root), confidence (0 to 1), status (0
invalid, 1 inferred, 2 observed), root_cov_*_m2 (of the root alone; add it for the absolute joint);
nan where nothing is known. OUT.npz: the arrays of `lifting estimate`, a row for each of N persons,
with the bag's stamps, and frame_stamp_ns (F,) and frame_id (F,) of the F frames, those without a
person as well; age_s (N,), velocity_mps (N, 17, 3), joint_confidence (N, 17). 3D in metres, in the
frame frame_id: the camera's optical frame (x right, y down, z forward) unless the node was told
otherwise.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from lifting_ros.io.bag_poses import BagFrame
    from lifting_ros.types import Person

_AXES = ("xx", "xy", "xz", "yy", "yz", "zz")
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
    *(f"cov_{axes}_m2" for axes in _AXES),
    "confidence",
    "status",
    *(f"root_cov_{axes}_m2" for axes in _AXES),
)


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
    from lifting_ros.cli.files import write_npz
    from lifting_ros.cli.main import CommandError

    if args.out.suffix not in (".csv", ".npz"):
        raise CommandError(f"--out {args.out}: expected a name that ends in .csv or .npz")
    if not args.out.absolute().parent.is_dir():
        raise CommandError(f"--out {args.out}: the folder does not exist")
    frames = read_frames(args.bag, args.topic)
    if args.out.suffix == ".npz":
        write_npz(args.out, frame_arrays(frames))
    else:
        write_csv(args.out, frames)
    people, occupied = (
        sum(len(frame.persons) for frame in frames),
        sum(bool(frame.persons) for frame in frames),
    )
    print(f"{people} persons in {occupied} of {len(frames)} frames: {args.out}")
    return 0


def read_frames(bag: Path, topic: str) -> tuple[BagFrame, ...]:
    """The frames of a bag's only topic with skeletons, or of `topic`, by stamp; CommandError or
    ValueError in one line."""
    from lifting_ros.cli.topics import choose_topic
    from lifting_ros.io.bag_poses import TYPE_3D, read_bag, topic_counts

    return read_bag(
        bag, choose_topic(bag, topic_counts(bag, TYPE_3D), topic, "--topic", "skeletons")
    ).frames


def frame_arrays(frames: Iterable[BagFrame]) -> dict[str, np.ndarray]:
    """The arrays of an .npz."""
    import numpy as np

    from lifting_ros.cli.estimate import person_arrays

    frames = list(frames)
    arrays = person_arrays([frame.persons for frame in frames], fps=1.0)
    persons = [person for frame in frames for person in frame.persons]
    stamps = np.array([frame.stamp_ns for frame in frames], np.int64)
    return arrays | {
        "stamp_ns": stamps[arrays["frame_index"]],
        "frame_stamp_ns": stamps,
        "frame_id": np.array([frame.frame_id for frame in frames], np.str_),
        "age_s": np.array([person.age_s for person in persons], np.float64),
        "velocity_mps": np.array([person.velocity_mps for person in persons], np.float64).reshape(
            -1, 17, 3
        ),  # N, 17, 3
        "joint_confidence": np.array(
            [person.skeleton_3d.confidence for person in persons], np.float64
        ).reshape(-1, 17),  # N, 17
    }


def write_csv(path: Path, frames: Iterable[BagFrame]) -> None:
    """Write the table beside `path`, then rename."""
    import csv

    from tqdm import tqdm

    from lifting_ros.cli.files import written_beside

    with written_beside(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for frame in tqdm(frames, desc="writing", unit=" frames", delay=2):
            for person in frame.persons:
                writer.writerows(
                    (frame.stamp_ns, frame.frame_id, person.id, *row) for row in joint_rows(person)
                )


def joint_rows(person: Person) -> Iterator[list]:
    """The columns from `joint` on, for each joint."""
    from lifting_ros.skeleton import JOINT_NAMES

    pose, upper = person.skeleton_3d, ([0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2])
    root = pose.root_covariance_m2[upper].tolist()
    for j, name in enumerate(JOINT_NAMES):
        place = [
            *pose.joints_m[j].tolist(),
            *person.velocity_mps[j].tolist(),
            *pose.covariance_m2[j][upper].tolist(),
        ]
        yield [name, *place, float(pose.confidence[j]), int(pose.status[j]), *root]
