# SPDX-License-Identifier: Apache-2.0
"""Add poses to a recorded bag: every message of IN is copied as it was, with the poses behind its
image.

IN is a rosbag2 (a folder, or a .mcap or .db3 file) with sensor_msgs/Image or CompressedImage and,
for metres, CameraInfo. OUT.mcap also has, under the stamp of each image that can be read, even
where nobody is in view:
  NAMESPACE/skeletons_2d  lifting_ros/Skeleton2DArray
      14 keypoints per person, pixels, with 2x2 covariances in px^2
  NAMESPACE/skeletons_3d  lifting_ros/Skeleton3DArray
      17 joints per person, metres in the camera's optical frame (x right, y down, z forward), with
      velocities in m/s, and 3x3 covariances in m^2
  NAMESPACE/markers       visualization_msgs/MarkerArray
      the same for RViz
  NAMESPACE/info          lifting_ros/SkeletonInfo
      once: names, topology, SHA-256 of weights and prior
A pose's time in the bag is that of its image. No image is dropped, and the same bag, weights and
device give the same bytes.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.models import Models
from lifting_ros.cli.options import require_folder_of, require_suffix

if TYPE_CHECKING:
    from lifting_ros.estimator import PoseEstimator
    from lifting_ros.ros.bag_estimation import Answer
    from lifting_ros.ros.bag_format import BagWriter
    from lifting_ros.ros.bag_input import InputBag
    from lifting_ros.ros.blurred_bag import BlurredTopics
    from lifting_ros.ros.parameters import NodeConfig
    from lifting_ros.tracking.tracking import Tracker

    Answers = Sequence[Answer | None]

PROGRAM = "lifting bag"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(program=parser.prog)  # `lifting estimate BAG` runs this verb, too
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
        help="the images are rectified: P of camera_info applies instead of K and D",
    )
    parser.add_argument(
        "--device",
        default="",
        help="where the network runs: auto, cpu, cuda or cuda:n (default auto)",
    )

    parser.add_argument(
        "--namespace",
        default="/lifting",
        metavar="NAME",
        help="namespace of the topics (default /lifting)",
    )
    parser.add_argument(
        "--poses-only", action="store_true", help="write the poses without the messages of IN"
    )
    parser.add_argument(
        "--blur-faces",
        action="store_true",
        help="hide heads in the copied images: in those of --image and in their raw or compressed"
        " counterpart (TOPIC and TOPIC/compressed); other topics with pictures are left out, and"
        " the detector sees every image. People who are not found are not hidden: see docs/bags.md",
    )
    parser.add_argument(
        "--smooth",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="track persons forwards and backwards in time (default); --no-smooth: from the past"
        " alone, as the node does",
    )


def run(args: argparse.Namespace) -> int:
    interrupt_on_sigterm()
    process(args, Models())
    return 0


def interrupt_on_sigterm() -> None:
    """Let SIGTERM end this process as Ctrl-C does, so that nothing half-written is left."""
    import signal

    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(*_) -> None:
    raise KeyboardInterrupt


def process(args: argparse.Namespace, models: Models) -> None:
    """Add poses to one bag, with the estimator of `models`."""
    from lifting_ros.cli.demo import check_ros

    check(args)
    check_ros()

    from lifting_ros.cli.topics import choose_topic
    from lifting_ros.ros.bag_input import COMPRESSED, IMAGE, InputBag
    from lifting_ros.ros.bag_output import check_free

    config = make_config(args)
    with InputBag(args.bag) as bag:
        counts = bag.counts(IMAGE, COMPRESSED)
        option = own_option(args, "--image")
        topic = choose_topic(args.bag, counts, args.image, option, "images")
        if not args.poses_only:
            hint = f"choose another {own_option(args, '--namespace')}, or --poses-only"
            check_free(bag, args.namespace, hint)
        add_poses(args, config, bag, topic, models)


def own_option(args: argparse.Namespace, option: str) -> str:
    """An option of this verb, as the user of `args.program` has to be told of it."""
    return option if args.program == PROGRAM else f"{option} of `{PROGRAM}`"


def check(args: argparse.Namespace) -> None:
    """Raise CommandError for what is wrong before anything is read."""
    require_suffix("--out", args.out, ".mcap")
    require_folder_of("--out", args.out)
    if args.out.is_dir():
        raise CommandError(f"--out {args.out}: is a folder")
    if args.bag.resolve() in (args.out.resolve(), args.out.resolve().parent):
        raise CommandError(f"--out {args.out}: is, or is in, the bag that is read")
    if not re.fullmatch(r"(/[A-Za-z_]\w*)+", args.namespace):
        raise CommandError(f"--namespace {args.namespace}: expected a full name, such as /lifting")
    if args.blur_faces and args.poses_only:
        raise CommandError("--blur-faces: not with --poses-only, which writes no images")
    if args.camera and args.camera_info:
        raise CommandError("--camera: expected it or --camera-info, not both")


def make_config(args: argparse.Namespace) -> NodeConfig:
    """The node's configuration from the parameter file and the options.

    Warns of parameters that have no effect here.
    """
    from lifting_ros.ros.parameter_file import read_parameters
    from lifting_ros.ros.parameters import NodeConfig
    from lifting_ros.video import detect_always

    config = NodeConfig()
    if args.params:
        config = read_parameters(args.params, args.namespace, NodeConfig)

    without_effect = {
        "depth.enabled": config.depth.enabled,
        "tf.target_frame": config.tf.target_frame,
        "tf.gravity_frame": config.tf.gravity_frame,
    }
    for name, value in without_effect.items():
        if value:
            text = f"{args.params}: {name} is not used with bags"
            print(f"{args.program}: {text}", file=sys.stderr)

    estimator = config.estimator
    if args.device:
        estimator = replace(estimator, device=args.device)
    if args.blur_faces:
        estimator = detect_always(estimator)
    return replace(config, rectified=config.rectified or args.rectified, estimator=estimator)


def add_poses(
    args: argparse.Namespace, config: NodeConfig, bag: InputBag, topic: str, models: Models
) -> None:
    """Estimate every image, then write the bag; CommandError where no image can be used."""
    from lifting_ros.device import use_threads
    from lifting_ros.ros.bag_estimation import ImageEstimation, bag_tracker
    from lifting_ros.video import VideoEstimator

    warnings = Warnings(args.program)
    images = ImageEstimation(bag, topic, find_camera_infos(args, bag, topic), config, warnings)
    use_threads(config.estimator.threads)
    estimator = models.estimator(config.estimator)

    count = sum(connection.msgcount for connection in images.connections)
    tracker = bag_tracker(config.tracking, args.smooth)
    video = VideoEstimator(estimator, tracker)
    answers = track(images.answers(video), tracker, count, warnings, args.program)
    used = [answer for answer in answers if answer is not None]
    if not used:
        reason = next(iter(warnings.kept.values()), "there is none")
        raise CommandError(
            f"{args.bag}: none of the {len(answers)} images on {topic} can be used ({reason})"
        )

    write(args, config, bag, images.connections, answers, estimator)
    if len(used) < len(answers):
        unused = len(answers) - len(used)
        text = f"{unused} of {len(answers)} images on {topic} not used"
        print(f"{args.program}: {text}", file=sys.stderr)

    people = sum(len(answer.persons) for answer in used)
    occupied = sum(bool(answer.persons) for answer in used)
    print(f"{people} persons in {occupied} of {len(used)} images: {args.out}")


class Warnings:
    """Prints each kind of warning once, from the first image that can be used on.

    Before that image they are kept: where no image can be used there is one error and no warning.
    """

    def __init__(self, program: str):
        self._program = program
        self.kept: dict[str, str] = {}
        """Kind -> the first text of that kind; the kind is what stands before its second colon."""
        self._released = False

    def __call__(self, text: str) -> None:
        """Keep a warning of a new kind, and print it if warnings have been released."""
        kind = ":".join(text.split(":")[:2])
        if self._released and kind not in self.kept:
            self._print(text)
        self.kept.setdefault(kind, text)

    def release(self) -> None:
        """Print what was kept, and from now on every warning of a new kind at once."""
        if not self._released:
            for text in self.kept.values():
                self._print(text)
        self._released = True

    def _print(self, text: str) -> None:
        from lifting_ros.io.progress import Progress

        Progress.write(f"{self._program}: {text}", file=sys.stderr)


def find_camera_infos(
    args: argparse.Namespace, bag: InputBag, topic: str
) -> Callable[[int, int], Any]:
    """A function from an image's time and stamp, in ns, to its CameraInfo or None."""
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


def track(
    answers: Iterable[Answer | None],
    tracker: Tracker,
    count: int,
    warnings: Warnings,
    program: str,
) -> Answers:
    """Every answer, with the persons' ids and velocities; None for images that are not used."""
    from lifting_ros.ros.bag_estimation import OfflineTracker

    offline = OfflineTracker(tracker)
    for answer in progress(answers, "estimating", count):
        offline.add(answer)
        if answer is not None:
            warnings.release()

    tracked = offline.end()
    if offline.late:
        print(
            f"{program}: the stamps of {offline.late} of {len(tracked)} images are not later"
            " than the one before: their persons have no ids",
            file=sys.stderr,
        )
    return tracked


def write(
    args: argparse.Namespace,
    config: NodeConfig,
    bag: InputBag,
    images: Sequence,
    answers: Answers,
    estimator: PoseEstimator,
) -> None:
    """Write OUT.mcap, whole or not at all; images: the connections of the images in `bag`."""
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
        originals = None
        if args.blur_faces:
            originals = blurred_topics(writer, bag, images[0].topic, answers, args.program)
        elif not args.poses_only:
            originals = OriginalTopics(writer, bag)
        poses = PoseTopics(writer, args.namespace, config.markers, info)

        connections = images if args.poses_only else bag.connections
        total = sum(connection.msgcount for connection in connections)
        steps = copy_with_poses(bag, images, answers, poses, originals)
        for _ in progress(steps, "writing", total):
            pass
    if args.blur_faces and originals.dropped:
        print(
            f"{args.program}: {originals.dropped} images left out, in which heads cannot be hidden",
            file=sys.stderr,
        )


def blurred_topics(
    writer: BagWriter, bag: InputBag, topic: str, answers: Answers, program: str
) -> BlurredTopics:
    """The topics of IN with hidden heads; says which ones are rewritten and left out."""
    from lifting_ros.ros.blurred_bag import BlurredTopics

    topics = BlurredTopics(writer, bag, topic, answers)
    text = f"heads are hidden in {', '.join(topics.rewritten)}"
    if topics.left_out:
        text += f"; left out: {', '.join(topics.left_out)}"
    print(f"{program}: {text}", file=sys.stderr)
    return topics


def progress(steps: Iterable, task: str, total: int) -> Iterable:
    """`steps` with a bar on standard error, from two seconds on."""
    from lifting_ros.io.progress import Progress

    unit = " messages" if task == "writing" else " images"
    return Progress(steps, desc=task, unit=unit, total=total or None, delay=2)
