# SPDX-License-Identifier: Apache-2.0
"""Estimate the persons of an image, a folder of images, a video, a camera, a stream or a bag.

OUT.npz has a row for each person in each frame: frame_index (N,), stamp_ns (N,) from the first
frame on, track_id (N,) from 1 (0: not tracked), age_s (N,) of the track, velocity_mps (N, 17, 3)
and velocity_covariance_m2ps2 (N, 17, 3, 3) (NaN: not tracked, or seen once), bone_lengths_m and
bone_lengths_std_m (N, 16) (NaN: not tracked), coasting (N,) (not found in this frame, but
predicted), joint_confidence (N, 17), metric (N,) (root_m is a position in metres); the arrays of
`lifting detect` (box_px, score, keypoints_px, confidence, keypoint_covariance_px2) and of `lifting
lift` (joints_m, root_m, covariance_m2, root_covariance_m2, status, log_likelihood, hypotheses_m,
hypothesis_weight). For F frames: frame_count, frame_stamp_ns (F,), frame_id (F,).
OUT.mcap is a bag with the topics of `lifting bag`, in the frame `camera`, at the stamps from the
first frame on.

Persons of a video or a device are tracked: joints and covariances are smoothed over time, with
later frames too where there are any; keypoints and hypotheses are each image's own.
With --camera: metres in the camera's optical frame (x right, y down, z forward). Without: root at
the origin, size from the stature prior.

The images of a folder are taken in natural order, ten a second, without hidden files; those of a
video at the times that its container gives. What cannot be read is left out, with its time, and
counted on standard error.

A bag (a folder, a .mcap or .db3 file) is processed as `lifting bag` does it, with its camera_info
and stamps, without --overlay, --max-frames, --track, --reidentify and --lifter; OUT.npz
is then the table of `lifting poses`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.models import Models
from lifting_ros.cli.options import (
    add_device,
    add_lifter,
    require_at_least,
    require_folder_of,
    require_suffix,
)

if TYPE_CHECKING:
    import numpy as np

    from lifting_ros.estimator import EstimatorConfig, PoseEstimator
    from lifting_ros.io.camera_files import Cameras
    from lifting_ros.io.images import ImageSource
    from lifting_ros.tracking.tracking import TrackedFrame

    Frames = Sequence[TrackedFrame]

SMOOTHING_LAG_S = 0.3
"""How far the smoothing of a recorded source looks ahead."""

FRAME_ID = "camera"
"""The coordinate frame of what is written."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="image, folder of images, video, camera device (0, /dev/video0), stream (rtsp://...,"
        " http://...), or bag",
    )
    parser.add_argument(
        "--out", required=True, metavar="OUT.npz|OUT.mcap", help="the persons to write; see above"
    )
    parser.add_argument(
        "--overlay",
        metavar="OUT.png|OUT.mp4",
        help="also a picture of six frames, or a video of all",
    )

    parser.add_argument(
        "--stages",
        metavar="OUT.png",
        help="also a picture of the belief maps of every stage, before and after fusion, of the"
        " person with the highest score; for a single image",
    )
    parser.add_argument(
        "--blur-faces",
        action="store_true",
        help="hide heads in --overlay; the detector sees every image. People who are not found are"
        " not hidden",
    )

    parser.add_argument(
        "--camera", metavar="CAMERA.yaml", help="calibration, as camera_calibration writes it"
    )
    parser.add_argument(
        "--max-frames",
        type=int,
        default=0,
        metavar="N",
        help="end after N frames (default 0: all; a device or a stream ends with Ctrl-C)",
    )
    parser.add_argument(
        "--track",
        action=argparse.BooleanOptionalAction,
        help="follow persons over frames (default: in videos and from devices, not in images)",
    )
    parser.add_argument(
        "--reidentify",
        type=float,
        default=0.0,
        metavar="S",
        help="people who come back within S seconds keep their number where brightly coloured"
        " clothes leave no doubt (default 0: never)",
    )
    add_lifter(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    from lifting_ros.cli.bag import interrupt_on_sigterm

    if is_bag(Path(args.source)):
        interrupt_on_sigterm()
    process(args, Models())
    return 0


def process(args: argparse.Namespace, models: Models) -> None:
    """Estimate the persons of one source, with the estimator of `models`."""
    check(args)
    if is_bag(Path(args.source)):
        run_bag(args, models)
    else:
        run_frames(args, models)


def check(args: argparse.Namespace) -> None:
    """Raise CommandError for what is wrong before anything is read."""
    from lifting_ros.cli.demo import check_ros

    require_suffix("--out", args.out, ".npz", ".mcap")
    require_folder_of("--out", args.out)
    if args.overlay:
        require_suffix("--overlay", args.overlay, ".png", ".mp4")
        require_folder_of("--overlay", args.overlay)
    elif args.blur_faces:
        raise CommandError("--blur-faces: only with --overlay, which shows images")

    if args.stages:
        if args.blur_faces:
            raise CommandError("--blur-faces: not with --stages, which shows the person")
        require_suffix("--stages", args.stages, ".png")
        require_folder_of("--stages", args.stages)
    require_at_least("--max-frames", args.max_frames, 0)
    require_at_least("--reidentify", args.reidentify, 0)
    if args.out.endswith(".mcap"):
        check_ros()


def is_bag(source: Path) -> bool:
    """Whether it looks like a rosbag2."""
    return source.suffix in (".mcap", ".db3") or (source / "metadata.yaml").is_file()


def run_bag(args: argparse.Namespace, models: Models) -> None:
    """Write the poses of a bag's images as `lifting bag` does; for a table `lifting poses` then."""
    from lifting_ros.cli.poses import write_poses

    given = {
        "--blur-faces": args.blur_faces,
        "--overlay": bool(args.overlay),
        "--stages": bool(args.stages),
        "--max-frames": bool(args.max_frames),
        "--track": args.track is not None,
        "--reidentify": bool(args.reidentify),
        "--lifter": args.lifter != "ppca",
    }
    for option, is_given in given.items():
        if is_given:
            raise CommandError(
                f"{option}: not with a bag; `lifting bag` has --params for the node's parameters,"
                " and --smooth"
            )

    if args.out.endswith(".mcap"):
        call_bag(args, models, args.out)
        return

    with tempfile.TemporaryDirectory(dir=Path(args.out).absolute().parent) as work:
        bag = Path(work) / "poses.mcap"
        # `lifting poses` prints how many persons there are; `lifting bag` need not.
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            call_bag(args, models, str(bag), "--poses-only")
        write_poses(bag, Path(args.out))


def call_bag(args: argparse.Namespace, models: Models, out: str, *options: str) -> None:
    """Run `lifting bag` on the source, in this verb's name."""
    from lifting_ros.cli import bag

    words = [args.source, "--out", out, "--device", args.device, *options]
    if args.camera:
        words += ["--camera", args.camera]
    parser = argparse.ArgumentParser("lifting estimate")
    bag.add_arguments(parser)
    bag.process(parser.parse_args(words), models)


def run_frames(args: argparse.Namespace, models: Models) -> None:
    """Write the persons of an image, a folder, a video or a device."""
    from lifting_ros.io.images import open_source

    source = open_source(args.source)
    cameras = cameras_of(source, args.camera)
    if args.stages and not (source.images and source.count == 1):
        raise CommandError("--stages: only with a single image")

    from lifting_ros.device import use_threads

    use_threads()
    estimator = models.estimator(make_config(args))
    frames = estimate_frames(args, source, cameras, estimator)
    if args.out.endswith(".mcap"):
        write_bag(Path(args.out), frames, estimator)
    else:
        write_table(Path(args.out), frames)

    if args.stages:
        write_stages(args.stages, next(iter(source.stamped())).rgb, frames, estimator)

    people = sum(len(frame.persons) for frame in frames)
    occupied = sum(bool(frame.persons) for frame in frames)
    print(f"{people} persons in {occupied} of {len(frames)} frames: {args.out}")


def write_stages(path: str, image: np.ndarray, frames: Frames, estimator: PoseEstimator) -> None:
    """Write the belief maps of the best person in an image, or say that nobody is found."""
    import cv2

    from lifting_ros.estimator import load_stage_inspector
    from lifting_ros.io.atomic import replacing
    from lifting_ros.viz.belief_pictures import draw_stages

    persons = [person for frame in frames for person in frame.persons]
    if not persons:
        print("lifting estimate: --stages: nobody is found, no picture", file=sys.stderr)
        return

    best = max((person.skeleton_2d for person in persons), key=lambda skeleton: skeleton.score)
    maps = load_stage_inspector(estimator.config).look(image, best.box_px)
    with replacing(path, keep_suffix=True) as partial:
        if not cv2.imwrite(str(partial), draw_stages(maps)[..., ::-1]):
            raise CommandError(f"--stages {path}: the picture cannot be written")


def make_config(args: argparse.Namespace) -> EstimatorConfig:
    """The estimator's configuration from the options."""
    from lifting_ros.estimator import EstimatorConfig
    from lifting_ros.video import detect_always

    config = EstimatorConfig(device=args.device, lifter=args.lifter)
    return detect_always(config) if args.blur_faces else config


def cameras_of(source: ImageSource, path: str | None) -> Cameras | None:
    """The cameras of a calibration file for the images of a source; None where no file is named.

    LiftingError where it does not fit one of them: all of a folder are looked at, since their sizes
    may differ.
    """
    from itertools import islice

    from lifting_ros.io.camera_files import Cameras

    if not path:
        return None

    cameras = Cameras(path)
    for frame in islice(source.stamped(), None if source.images else 1):
        cameras.of(frame.bgr, frame.name)
    return cameras


def estimate_frames(
    args: argparse.Namespace, source: ImageSource, cameras: Cameras | None, estimator: PoseEstimator
) -> Frames:
    """The persons of each frame, tracked where that is wanted; draws the overlay on the way, and
    says at the end what of the source did not come."""
    from collections import deque
    from itertools import islice

    from lifting_ros.cli.overlay_writer import overlay_writer
    from lifting_ros.io.images import Losses
    from lifting_ros.io.progress import Progress
    from lifting_ros.tracking.tracking import Tracker, TrackerConfig
    from lifting_ros.video import VideoEstimator
    from lifting_ros.viz.anonymise import hidden_regions, hide_heads

    track = args.track if args.track is not None else not source.images
    lag_s = 0.0 if source.live else SMOOTHING_LAG_S
    config = TrackerConfig(enabled=track, lag_s=lag_s, reidentify_s=args.reidentify)
    tracker = Tracker(config)
    video = VideoEstimator(estimator, tracker)
    limit = args.max_frames or None
    total = min(filter(None, (limit, source.count)), default=None)

    frames = []
    # Image and rejected skeletons of the frames that the tracker has not returned yet
    waiting = deque()

    def take(done: list[TrackedFrame]) -> None:
        for frame in done:
            image, rejected = waiting.popleft()
            if args.blur_faces:
                image = hide_heads(image, hidden_regions(frame.persons, rejected + frame.unseen))
            overlay.add(len(frames), image, frame.persons)
            frames.append(frame)

    losses = Losses()
    images = islice(source.stamped(losses), limit)
    bar = Progress(images, desc="estimating", unit="frame", total=total, delay=2)
    with overlay_writer(args.overlay, source.fps, total or 0) as overlay:
        try:
            for frame in bar:
                image = frame.rgb
                camera = cameras.of(image, frame.name) if cameras else None
                estimate = video.estimate(frame.stamp_ns, image, camera)
                waiting.append((image, estimate.rejected))
                take(tracker.update(frame.stamp_ns, estimate.persons, image))
        except KeyboardInterrupt:
            if not source.live:
                raise
        take(tracker.flush())

    if losses.text:
        print(f"lifting estimate: {source.name}: {losses.text}", file=sys.stderr)
    return frames


def write_bag(out: Path, frames: Frames, estimator: PoseEstimator) -> None:
    """Write the persons of frames as the node would publish them."""
    from lifting_ros.estimator import model_name
    from lifting_ros.ros.bag_output import write_poses
    from lifting_ros.ros.conversions import skeleton_info

    info = skeleton_info(
        model_name(estimator.config), estimator.weights_sha256, estimator.prior_sha256
    )
    write_poses(out, frames, FRAME_ID, info)


def write_table(out: Path, frames: Frames) -> None:
    """Write the persons of frames as an .npz."""
    from lifting_ros.io.pose_table import PoseFrame, write_frames

    write_frames(
        out, [PoseFrame(frame.stamp_ns, FRAME_ID, tuple(frame.persons)) for frame in frames]
    )
