# SPDX-License-Identifier: Apache-2.0
"""Open poses in an interactive 3D viewer (Rerun), on a timeline by stamp, or write them for it.

BAG is a rosbag2 with Skeleton3DArray (`lifting bag`, `lifting record`). POSES is an .npz that
`lifting poses`, `lifting estimate` or `lifting lift` wrote, or a .csv, .json or .parquet of
`lifting poses`; TRC, C3D and BVH files are for other tools. The poses of `lifting lift` have no
stamps and are shown one after the other, ten a second. Shown in metres, in the camera's optical
frame (x right, y down, z forward): limbs, joints, and an ellipsoid of one standard deviation for
each joint's covariance relative to the root; over the image, where the bag has it, the keypoints
(pixels).
The viewer is an extra: pip install rerun-sdk rosbags-image.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.options import require_folder_of, require_suffix

if TYPE_CHECKING:
    from lifting_ros.io.pose_table import PoseFrame
    from lifting_ros.viz.viewer import SkeletonViewer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="BAG|POSES", type=Path, help="what to show")
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
    from lifting_ros.cli.poses import read_pose_frames
    from lifting_ros.io.atomic import replacing
    from lifting_ros.viz.viewer import SkeletonViewer, load_rerun

    check(args)
    frames = read_pose_frames(args.source, args.topic)
    image_topic = "" if is_table(args.source) else choose_image_topic(args.source, args.image)

    load_rerun()  # raises where it is not installed
    if args.save is None:
        with SkeletonViewer() as viewer:
            show(viewer, args.source, frames, image_topic)
        return 0

    with replacing(args.save) as partial, SkeletonViewer(partial) as viewer:
        show(viewer, args.source, frames, image_topic)

    print(f"{len(frames)} frames: {args.save}")
    return 0


def check(args: argparse.Namespace) -> None:
    """Raise CommandError for what is wrong before anything is read."""
    if args.save:
        require_suffix("--save", args.save, ".rrd")
        require_folder_of("--save", args.save)
    if is_table(args.source) and (args.topic or args.image):
        raise CommandError(f"{args.source}: --topic and --image are for bags")


def is_table(source: Path) -> bool:
    """Whether it is a file with a table of poses, not a bag."""
    from lifting_ros.io.pose_files import READERS

    return source.suffix.lower() in READERS


def choose_image_topic(bag: Path, wanted: str) -> str:
    """The topic of the images; empty where the bag has none and none is wanted."""
    from lifting_ros.cli.topics import choose_topic
    from lifting_ros.io.bag_poses import IMAGE_TYPES, topic_counts

    counts = topic_counts(bag, *IMAGE_TYPES)
    if not wanted and not any(counts.values()):
        return ""
    return choose_topic(bag, counts, wanted, "--image", "images")


def show(viewer: SkeletonViewer, bag: Path, frames: list[PoseFrame], image_topic: str) -> None:
    """Send everything to the viewer: poses first, then the images and their camera."""
    from lifting_ros.cli.topics import camera_info_beside
    from lifting_ros.io.bag_poses import IMAGE_TYPES, INFO_TYPE, read_messages
    from lifting_ros.io.progress import Progress

    for frame in Progress(frames, desc="poses", unit=" frames", delay=2):
        viewer.show(frame)
    if not image_topic:
        return

    infos = read_messages(bag, camera_info_beside(image_topic), INFO_TYPE)
    for stamp_ns, info in changes(infos):
        viewer.show_camera(stamp_ns, info)

    images = read_messages(bag, image_topic, *IMAGE_TYPES)
    for stamp_ns, message in Progress(images, desc="images", unit=" frames", delay=2):
        viewer.show_image(stamp_ns, message)


def changes(infos: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """Those stamps and CameraInfos that differ in size or K from the one before."""
    last = None
    for stamp_ns, info in infos:
        now = (info.width, info.height, info.k.tobytes())
        if now != last:
            yield stamp_ns, info
        last = now
