# SPDX-License-Identifier: Apache-2.0
"""Fuse the poses that several calibrated cameras have of the same people: one skeleton a person, in
a common frame.

BAG is a rosbag2 with skeletons_2d and skeletons_3d of two cameras or more, as the node, `lifting
bag` or `lifting record` wrote them, and the CameraInfo of each, which is found by the frame_id of
the keypoints. The cameras' places come from /tf_static and /tf, or from --extrinsics:

  frame: room                          the common frame
  cameras:
    front_optical_frame:               frame_id of the camera's images
      translation: [2.0, 0.0, 1.8]     m, of the optical frame in the common frame
      rotation: [0.5, 0.5, -0.5, -0.5] quaternion x y z w
      clock_s: 0.0                     s by which its stamps are later; may be left out

The cameras need not be synchronised: each is interpolated to the common times, which are the stamps
of one of them.

OUT.mcap has /lifting_fusion/skeletons_3d (lifting_ros/Skeleton3DArray: 17 joints per person in
metres, 3x3 covariances in m^2, ids that hold across the cameras) and markers beside it; OUT.npz has
the arrays of `lifting poses`, without keypoints (NaN). Status 2 is a joint that a camera saw, 1 one
that was inferred.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.options import add_cameras_of_bag, require_folder_of, require_suffix

if TYPE_CHECKING:
    from lifting_ros.geometry.camera import Camera
    from lifting_ros.geometry.transform_tree import TransformTree
    from lifting_ros.io.pose_table import PoseFrame
    from lifting_ros.multiview.fusion_config import FusionConfig
    from lifting_ros.multiview.sighting import CameraFrame
    from lifting_ros.multiview.timeline import CameraStream

NAMESPACE = "/lifting_fusion"
"""Namespace of the topics that are written, and never read."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_cameras_of_bag(parser)
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="OUT.mcap|.npz",
        help="the bag or the table to write; see above",
    )
    parser.add_argument(
        "--frame",
        default="",
        metavar="FRAME",
        help="the common frame, one on TF (default: that of --extrinsics)",
    )
    parser.add_argument(
        "--extrinsics",
        default="",
        metavar="FILE.yaml",
        help="places of the cameras, instead of TF; see above",
    )
    parser.add_argument(
        "--calibration-noise",
        type=float,
        default=None,
        metavar="PX",
        help="standard deviation of the calibrations in the images, px (default 2)",
    )


def run(args: argparse.Namespace) -> int:
    check(args)
    config = make_config(args)
    frame, transforms = read_places(args)
    streams = read_streams(args, frame, transforms)
    fused, shared = fuse(streams, frame, config)

    if args.out.suffix == ".npz":
        from lifting_ros.io.pose_table import write_frames

        write_frames(args.out, fused)
    else:
        from lifting_ros.ros.bag_output import write_fused

        write_fused(args.out, fused, NAMESPACE)

    people = [person.id for one in fused for person in one.persons]
    occupied = sum(bool(one.persons) for one in fused)
    share = shared / max(len(people), 1)
    print(
        f"{len(set(people))} persons in {occupied} of {len(fused)} frames from {len(streams)}"
        f" cameras, {share:.0%} of the skeletons from two or more: {args.out}"
    )
    if people and not shared:
        text = "no camera sees somebody whom another one sees; check their places and stamps"
        print(f"lifting fuse: {text}", file=sys.stderr)
    return 0


def check(args: argparse.Namespace) -> None:
    """Raise CommandError for what is wrong before anything is read."""
    from lifting_ros.cli.demo import check_ros

    require_suffix("--out", args.out, ".mcap", ".npz")
    require_folder_of("--out", args.out)
    if args.bag.resolve() in (args.out.resolve(), args.out.resolve().parent):
        raise CommandError(f"--out {args.out}: is, or is in, the bag that is read")
    if not args.frame and not args.extrinsics:
        raise CommandError("--frame: expected the common frame, or --extrinsics")
    if args.out.suffix == ".mcap":
        check_ros()


def make_config(args: argparse.Namespace) -> FusionConfig:
    """The parameters of the fusion; ConfigError for a number out of range."""
    from lifting_ros.config import from_mapping
    from lifting_ros.multiview.fusion_config import FusionConfig

    given = {}
    if args.calibration_noise is not None:
        given["calibration_noise_px"] = args.calibration_noise
    return from_mapping(FusionConfig, given)


def read_places(args: argparse.Namespace) -> tuple[str, TransformTree]:
    """The common frame, and the frames of the cameras."""
    from lifting_ros.io.bag_cameras import read_transforms
    from lifting_ros.io.extrinsics import read_extrinsics

    if not args.extrinsics:
        return args.frame, read_transforms(args.bag)

    frame, transforms = read_extrinsics(args.extrinsics)
    return args.frame or frame, transforms


def read_streams(
    args: argparse.Namespace, frame: str, transforms: TransformTree
) -> list[CameraStream]:
    """The frames of each camera, in the common frame; CommandError where a camera has no
    calibration or no place."""
    from lifting_ros.io.bag_cameras import read_cameras
    from lifting_ros.io.bag_poses import read_bag
    from lifting_ros.io.extrinsics import read_clocks

    cameras = read_cameras(args.bag, args.rectified)
    clocks_s = read_clocks(args.extrinsics) if args.extrinsics else {}
    streams = []
    for topic in choose_topics(args.bag, args.topic):
        frames = read_bag(args.bag, topic).frames
        stream = read_stream(f"{args.bag}: {topic}", frames, cameras, frame, transforms)
        name = next((one.image_frame_id for one in frames if one.image_frame_id), "")
        late_ns = round(1e9 * clocks_s.get(name, 0.0))
        streams.append(stream.shifted(-late_ns) if late_ns else stream)
    return streams


def choose_topics(bag: Path, wanted: Sequence[str]) -> list[str]:
    """The topics with skeletons of two cameras or more; CommandError where there are fewer."""
    from lifting_ros.cli.topics import choose_topic
    from lifting_ros.io.bag_poses import TYPE_3D, topic_counts

    counts = topic_counts(bag, TYPE_3D)
    topics = [
        topic for topic, count in counts.items() if count and not topic.startswith(NAMESPACE + "/")
    ]
    if wanted:
        topics = [choose_topic(bag, counts, one, "--topic", "skeletons") for one in wanted]
    if len(set(topics)) < 2:
        there = ", ".join(topics) or "none"
        raise CommandError(f"{bag}: expected skeletons of two cameras or more, got {there}")
    return topics


def read_stream(
    name: str,
    frames: Sequence[PoseFrame],
    cameras: dict[str, Camera],
    common: str,
    transforms: TransformTree,
) -> CameraStream:
    """The frames of one camera. name: of the bag and the topic, for messages.

    Frames without keypoints or without a transform are left out, which is said on standard error:
    a recorder misses some at its start. CommandError where no frame is left.
    """
    from lifting_ros.errors import DataError
    from lifting_ros.geometry.transform_tree import TransformError
    from lifting_ros.multiview.timeline import CameraStream

    stream = CameraStream()
    reasons = []
    for one in sorted(frames, key=lambda frame: frame.stamp_ns):
        try:
            frame = place_frame(name, one, cameras, common, transforms)
        except TransformError as error:
            reasons.append(f"{error}; --extrinsics gives places without TF")
        except DataError as error:
            reasons.append(str(error))
        else:
            stream.add(frame)

    if reasons:
        text = f"{name}: {len(reasons)} of {len(frames)} frames are not used: {reasons[0]}"
        if not stream.stamps_ns:
            raise CommandError(text)
        print(f"lifting fuse: {text}", file=sys.stderr)
    return stream


def place_frame(
    name: str,
    frame: PoseFrame,
    cameras: dict[str, Camera],
    common: str,
    transforms: TransformTree,
) -> CameraFrame:
    """A frame in the common frame. CommandError for a camera without calibration; DataError for a
    frame without keypoints, TransformError for one without a place: others may have them."""
    from lifting_ros.errors import DataError
    from lifting_ros.multiview.sighting import CameraFrame, View

    image_frame = frame.image_frame_id
    if not image_frame:
        raise DataError("no skeletons_2d with the same stamp")
    if image_frame not in cameras:
        known = ", ".join(sorted(cameras)) or "none"
        raise CommandError(
            f"{name}: no CameraInfo with frame_id {image_frame!r} in the bag, but {known}"
        )

    pose = transforms.lookup(common, image_frame, frame.stamp_ns)
    to_common = transforms.lookup(common, frame.frame_id, frame.stamp_ns)
    view = View(cameras[image_frame], pose)
    return CameraFrame.of(name, view, frame.stamp_ns, frame.persons, to_common)


def fuse(
    streams: Sequence[CameraStream], frame: str, config: FusionConfig
) -> tuple[list[PoseFrame], int]:
    """The persons at each common time, and how many of them two cameras or more saw."""
    from lifting_ros.io.pose_table import PoseFrame
    from lifting_ros.io.progress import Progress
    from lifting_ros.multiview.fuser import SkeletonFuser
    from lifting_ros.multiview.timeline import common_stamps

    fuser = SkeletonFuser(config)
    fused = []
    shared = 0
    for stamp in Progress(common_stamps(streams), desc="fusing", unit=" frames", delay=2):
        persons = fuser.fuse_streams(streams, stamp)
        fused.append(PoseFrame(stamp, frame, persons))
        shared += sum(len(sources) > 1 for sources in fuser.sources.values())

    return fused, shared
