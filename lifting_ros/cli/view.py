# SPDX-License-Identifier: Apache-2.0
"""Opens poses in an interactive 3D viewer (Rerun), on a timeline by stamp, or writes them for it.

BAG is a rosbag2 with Skeleton3DArray (`lifting bag`, `lifting record`); POSES.npz is what `lifting
poses` or `lifting estimate` wrote. Shown in metres, in the camera's optical frame (x right, y down,
z forward): limbs, joints, and an ellipsoid of one standard deviation for each joint's covariance
(N, 17, 3, 3) relative to the root; over the image, where the bag has it, the keypoints (pixels).
The viewer is an extra: pip install rerun-sdk.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lifting_ros.io.bag_poses import BagFrame
    from lifting_ros.viz.viewer import SkeletonViewer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="BAG|POSES.npz", type=Path, help="what to show")
    parser.add_argument(
        "--save",
        type=Path,
        metavar="FILE.rrd",
        help="write a file for the viewer; no window is opened",
    )
    parser.add_argument(
        "--topic",
        default="",
        metavar="TOPIC",
        help="the skeletons (default: the only topic with Skeleton3DArray)",
    )
    parser.add_argument(
        "--image",
        default="",
        metavar="TOPIC",
        help="the images (default: the only topic with images, if any)",
    )


def run(args: argparse.Namespace) -> int:
    from lifting_ros.cli.files import written_beside
    from lifting_ros.cli.main import CommandError
    from lifting_ros.viz.viewer import SkeletonViewer, ViewerMissingError, load_rerun

    check(args)
    frames = (
        npz_frames(args.source)
        if args.source.suffix == ".npz"
        else bag_frames(args.source, args.topic)
    )
    image = "" if args.source.suffix == ".npz" else image_topic(args.source, args.image)
    try:
        load_rerun()
    except ViewerMissingError as error:
        raise CommandError(str(error)) from None
    if args.save is None:
        with SkeletonViewer() as viewer:
            show(viewer, args.source, frames, image)
        return 0
    with written_beside(args.save) as partial:
        with SkeletonViewer(partial) as viewer:
            show(viewer, args.source, frames, image)
    print(f"{len(frames)} frames: {args.save}")
    return 0


def check(args: argparse.Namespace) -> None:
    """CommandError for what can be told before anything is read."""
    from lifting_ros.cli.main import CommandError

    if args.save and args.save.suffix != ".rrd":
        raise CommandError(f"--save {args.save}: expected a name that ends in .rrd")
    if args.save and not args.save.absolute().parent.is_dir():
        raise CommandError(f"--save {args.save}: the folder does not exist")
    if args.source.suffix == ".npz" and (args.topic or args.image):
        raise CommandError(f"{args.source}: --topic and --image are for bags")


def bag_frames(bag: Path, topic: str) -> list[BagFrame]:
    """The frames of a bag; CommandError or ValueError in one line."""
    from lifting_ros.cli.poses import read_frames

    return list(read_frames(bag, topic))


def image_topic(bag: Path, wanted: str) -> str:
    """The topic of the images, empty where the bag has none."""
    from lifting_ros.cli.topics import choose_topic
    from lifting_ros.io.bag_poses import IMAGE_TYPES, topic_counts

    counts = topic_counts(bag, *IMAGE_TYPES)
    return (
        choose_topic(bag, counts, wanted, "--image", "images")
        if wanted or any(counts.values())
        else ""
    )


def npz_frames(path: Path) -> list[BagFrame]:
    """The frames of an .npz, by stamp; CommandError in one line that names the array that is
    missing or unfit."""
    import numpy as np

    from lifting_ros.cli.files import numbers, read_npz
    from lifting_ros.cli.main import CommandError
    from lifting_ros.io.bag_poses import BagFrame

    arrays = read_npz(path)
    shapes = {
        "stamp_ns": (None,),
        "track_id": (None,),
        "joints_m": (None, 17, 3),
        "root_m": (None, 3),
        "status": (None, 17),
        "covariance_m2": (None, 17, 3, 3),
        "root_covariance_m2": (None, 3, 3),
        "keypoints_px": (None, 14, 2),
        "confidence": (None, 14),
    }
    found = {name: numbers(arrays, name, shape, path) for name, shape in shapes.items()}
    missing = [name for name, value in found.items() if value is None]
    if missing:
        raise CommandError(
            f"{path}: {missing[0]}: no such array; expected what `lifting poses` or `lifting estimate` writes"
        )
    if len({len(value) for value in found.values()}) != 1:
        raise CommandError(
            f"{path}: expected as many rows of every array, got {sorted({len(value) for value in found.values()})}"
        )
    stamps = arrays["stamp_ns"].astype(np.int64)  # as float64 they would be rounded
    everything = np.union1d(stamps, arrays.get("frame_stamp_ns", stamps))
    people = [
        person_of({name: value[k] for name, value in found.items()}) for k in range(len(stamps))
    ]
    return [
        BagFrame(int(stamp), "", tuple(people[k] for k in np.flatnonzero(stamps == stamp)))
        for stamp in everything
    ]


def person_of(row: dict):
    """The person of a row of arrays."""
    import numpy as np

    from lifting_ros.types import Person, Skeleton2D, Skeleton3D

    unknown = np.full((14, 2, 2), np.nan)
    flat = Skeleton2D(
        row["keypoints_px"], row["confidence"], unknown, np.full(4, np.nan), float("nan")
    )
    pose = Skeleton3D(
        row["joints_m"],
        row["root_m"],
        row["covariance_m2"],
        row["root_covariance_m2"],
        np.full(17, np.nan),
        row["status"].astype(np.uint8),
        float("nan"),
        True,
        np.zeros((0, 17, 3)),
        np.zeros(0),
    )
    return Person(int(row["track_id"]), 0.0, flat, pose, np.full((17, 3), np.nan))


def show(viewer: SkeletonViewer, bag: Path, frames: list[BagFrame], topic: str) -> None:
    """Give the viewer everything: poses first, then the images and their camera."""
    from tqdm import tqdm

    from lifting_ros.io.bag_poses import IMAGE_TYPES, INFO_TYPE, read_messages

    for frame in tqdm(frames, desc="poses", unit=" frames", delay=2):
        viewer.show(frame)
    if not topic:
        return
    beside = topic.removesuffix("/compressed").rpartition("/")[0] + "/camera_info"
    for stamp_ns, info in changes(read_messages(bag, beside, INFO_TYPE)):
        viewer.show_camera(stamp_ns, info)
    for stamp_ns, message in tqdm(
        read_messages(bag, topic, *IMAGE_TYPES), desc="images", unit=" frames", delay=2
    ):
        viewer.show_image(stamp_ns, message)


def changes(infos) -> Iterator:
    """Stamps and CameraInfo where that is another than the one before."""
    last = None
    for stamp_ns, info in infos:
        now = (info.width, info.height, info.k.tobytes())
        if now != last:
            yield stamp_ns, info
        last = now
