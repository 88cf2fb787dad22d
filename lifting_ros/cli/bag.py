# SPDX-License-Identifier: Apache-2.0
"""Adds poses to a recorded bag: the same bag comes out, every message as it was, and behind each
image what was found in it.

IN is a rosbag2 (a folder, or a .mcap or .db3 file) with sensor_msgs/Image or CompressedImage and,
for metres, CameraInfo. OUT.mcap has
besides, under the stamp of each image that can be read, with nobody in view as well:
  NAMESPACE/skeletons_2d  lifting_ros/Skeleton2DArray       14 keypoints a person, pixels, with 2x2
  covariances in px^2
  NAMESPACE/skeletons_3d  lifting_ros/Skeleton3DArray       17 joints a person, metres in the
  camera's optical frame (x right, y down,
                                                            z forward), velocities in m/s, with 3x3
                                                            covariances in m^2
  NAMESPACE/markers       visualization_msgs/MarkerArray    the same to look at
  NAMESPACE/info          lifting_ros/SkeletonInfo          once: names, topology, SHA-256 of
  weights and prior
A pose's time in the bag is that of its image. No image is dropped, and the same bag, weights and
device give the same bytes.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bag", metavar="IN", type=Path, help="the bag with images")
    parser.add_argument(
        "--out", required=True, metavar="OUT.mcap", type=Path, help="the bag to write; see above"
    )
    parser.add_argument(
        "--image",
        default="",
        metavar="TOPIC",
        help="the images (default: the only topic with images)",
    )
    parser.add_argument(
        "--camera-info",
        default="",
        metavar="TOPIC",
        help="their CameraInfo (default: camera_info beside the images)",
    )
    parser.add_argument(
        "--camera",
        default="",
        metavar="CAMERA.yaml",
        help="instead of it a calibration, as camera_calibration writes it",
    )
    parser.add_argument(
        "--params",
        default="",
        metavar="FILE.yaml",
        help="parameters of the node, as for ros2 run (config/lifting.yaml)",
    )
    parser.add_argument(
        "--rectified",
        action="store_true",
        help="the images are rectified: P of camera_info holds instead of K and D",
    )
    parser.add_argument(
        "--device",
        default="",
        help="where the network runs: auto, cpu, cuda or cuda:n (default auto)",
    )
    parser.add_argument(
        "--namespace", default="/lifting", metavar="NAME", help="of the topics (default /lifting)"
    )
    parser.add_argument("--poses-only", action="store_true", help="leave out the messages of IN")
    parser.add_argument(
        "--smooth",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="follow persons with all of the bag in view, both ways in time; otherwise as the node does, which knows the past alone",
    )


def run(args: argparse.Namespace) -> int:
    import signal

    from lifting_ros.cli.demo import check_ros

    check(args)
    check_ros()
    signal.signal(signal.SIGTERM, _interrupt)
    from lifting_ros.cli.topics import choose_topic
    from lifting_ros.ros.bag_input import COMPRESSED, IMAGE, InputBag
    from lifting_ros.ros.bag_output import check_free

    config = configuration(args)
    with InputBag(args.bag) as bag:
        topic = choose_topic(
            args.bag, bag.counts(IMAGE, COMPRESSED), args.image, "--image", "images"
        )
        if not args.poses_only:
            check_free(bag, args.namespace)
        return add_poses(args, config, bag, topic)


def _interrupt(*_) -> None:
    raise KeyboardInterrupt


def check(args: argparse.Namespace) -> None:
    """CommandError for what can be told before anything is read."""
    from lifting_ros.cli.main import CommandError

    if args.out.suffix != ".mcap":
        raise CommandError(f"--out {args.out}: expected a name that ends in .mcap")
    if not args.out.absolute().parent.is_dir():
        raise CommandError(f"--out {args.out}: the folder does not exist")
    if args.out.is_dir():
        raise CommandError(f"--out {args.out}: is a folder")
    if args.bag.resolve() in (args.out.resolve(), args.out.resolve().parent):
        raise CommandError(f"--out {args.out}: is, or is in, the bag that is read")
    if not re.fullmatch(r"(/[A-Za-z_]\w*)+", args.namespace):
        raise CommandError(f"--namespace {args.namespace}: expected a full name, such as /lifting")
    if args.camera and args.camera_info:
        raise CommandError("--camera: expected it or --camera-info, not both")


def configuration(args: argparse.Namespace):
    """The node's configuration as the options and the parameter file say; says which of the latter
    mean nothing here."""
    from lifting_ros.ros.parameter_file import read_parameters
    from lifting_ros.ros.parameters import NodeConfig

    config = (
        read_parameters(args.params, args.namespace, NodeConfig) if args.params else NodeConfig()
    )
    unused = {
        "depth.enabled": config.depth.enabled,
        "tf.target_frame": config.tf.target_frame,
        "tf.gravity_frame": config.tf.gravity_frame,
    }
    for name in (name for name, value in unused.items() if value):
        print(f"lifting bag: {args.params}: {name} is not used with bags", file=sys.stderr)
    estimator = replace(config.estimator, device=args.device) if args.device else config.estimator
    return replace(config, rectified=config.rectified or args.rectified, estimator=estimator)


def add_poses(args: argparse.Namespace, config, bag, topic: str) -> int:
    """Estimate every image, then write the bag; CommandError where no image can be used."""
    from lifting_ros.cli.main import CommandError
    from lifting_ros.estimator import PoseEstimator
    from lifting_ros.ros.bag_estimation import ImageEstimation

    warnings = Warnings()
    images = ImageEstimation(bag, topic, camera_infos(args, bag, topic), config, warnings)
    estimator = PoseEstimator(config.estimator)
    answers = tracked(
        args,
        config,
        images.answers(estimator),
        sum(c.msgcount for c in images.connections),
        warnings,
    )
    read = [answer for answer in answers if answer is not None]
    if not read:
        reason = next(iter(warnings.kept), "there is none")
        raise CommandError(
            f"{args.bag}: none of the {len(answers)} images on {topic} can be used ({reason})"
        )
    write(args, config, bag, images.connections, answers, estimator)
    if len(read) < len(answers):
        print(
            f"lifting bag: {len(answers) - len(read)} of {len(answers)} images on {topic} not used",
            file=sys.stderr,
        )
    people, occupied = (
        sum(len(answer.persons) for answer in read),
        sum(bool(answer.persons) for answer in read),
    )
    print(f"{people} persons in {occupied} of {len(read)} images: {args.out}")
    return 0


class Warnings:
    """Says each kind of warning once, from the first image that can be used on: before that, one
    error may be all there is to say."""

    def __init__(self):
        self.kept: dict[str, str] = {}
        """By kind, which is what stands before a text's second colon."""
        self._released = False

    def __call__(self, text: str) -> None:
        """Take a warning."""
        kind = ":".join(text.split(":")[:2])
        if self._released and kind not in self.kept:
            self._say(text)
        self.kept.setdefault(kind, text)

    def release(self) -> None:
        """Say what was kept, and from now on everything at once."""
        for text in () if self._released else self.kept.values():
            self._say(text)
        self._released = True

    def _say(self, text: str) -> None:
        from tqdm import tqdm

        tqdm.write(f"lifting bag: {text}", file=sys.stderr)


def camera_infos(args: argparse.Namespace, bag, topic: str):
    """Function from an image's time and stamp (ns) to its CameraInfo or None."""
    from lifting_ros.cli.topics import choose_topic
    from lifting_ros.ros.bag_estimation import CameraInfos
    from lifting_ros.ros.bag_input import INFO, info_topic_of
    from lifting_ros.ros.camera_yaml import camera_yaml_to_info

    if args.camera:
        calibration = camera_yaml_to_info(args.camera)
        return lambda time_ns, stamp_ns: calibration
    if args.camera_info:
        choose_topic(args.bag, bag.counts(INFO), args.camera_info, "--camera-info", "CameraInfo")
    return CameraInfos(bag, args.camera_info or info_topic_of(topic)).at


def tracked(
    args: argparse.Namespace, config, answers: Iterable, count: int, warnings: Warnings
) -> list:
    """Every answer, with the persons' ids and velocities."""
    from lifting_ros.ros.bag_estimation import OfflineTracker

    tracker = OfflineTracker(config.tracking, args.smooth)
    for answer in progress(answers, "estimating", count):
        tracker.add(answer)
        if answer is not None:
            warnings.release()
    return tracker.end()


def write(
    args: argparse.Namespace, config, bag, images: Sequence, answers: Sequence, estimator
) -> None:
    """Write OUT.mcap, whole or not at all."""
    from lifting_ros.estimator import model_name
    from lifting_ros.ros.bag_output import (
        OriginalTopics,
        PoseTopics,
        copy_with_poses,
        written_beside,
    )
    from lifting_ros.ros.conversions import skeleton_info

    info = skeleton_info(
        model_name(config.estimator), estimator.weights_sha256, estimator.prior_sha256
    )
    with written_beside(args.out) as writer:
        originals = None if args.poses_only else OriginalTopics(writer, bag)
        poses = PoseTopics(writer, args.namespace, config.markers, info)
        total = sum(c.msgcount for c in (images if args.poses_only else bag.connections))
        for _ in progress(
            copy_with_poses(bag, images, answers, poses, originals), "writing", total
        ):
            pass


def progress(steps: Iterable, what: str, total: int) -> Iterable:
    """`steps` with a bar on standard error, from two seconds on."""
    from tqdm import tqdm

    return tqdm(
        steps,
        desc=what,
        unit=" messages" if what == "writing" else " images",
        total=total or None,
        delay=2,
    )
