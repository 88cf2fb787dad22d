# SPDX-License-Identifier: Apache-2.0
"""Persons of an image, a folder of images, a video, a camera device or a bag: 2D keypoints and 3D
skeletons.

OUT.npz, a row for each person in each frame: frame_index (N,), stamp_ns (N,) from the first frame
on, track_id (N,) from
1 (0: not tracked), velocity_mps (N, 17, 3) (NaN: not tracked, or seen once), metric (N,);
the arrays of `lifting detect` (box_px, score, keypoints_px, confidence, keypoint_covariance_px2)
and of `lifting lift`
(joints_m, root_m, covariance_m2, root_covariance_m2, status, log_likelihood, hypotheses_m,
hypothesis_weight); and
frame_count.
Persons of a video or a device are tracked: joints and covariances are smoothed over time, over the
future as well where
there is one; keypoints and hypotheses are each image's own.
OUT.mcap: a bag with the topics of `lifting bag`, in the frame `camera`, at the stamps from the
first frame on.
With --camera: metres in the camera's optical frame (x right, y down, z forward). Without: root at
the origin, size
from the stature prior.
A bag (a folder, a .mcap or .db3 file) is what `lifting bag` makes of it, with its camera_info and
stamps, without --overlay,
--max-frames, --track and --lifter; as OUT.npz the table of `lifting poses`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from pathlib import Path

from lifting_ros.cli.lifter_option import add_lifter

SMOOTHED_OVER_S = 0.3
FRAME = "camera"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="image, folder of images, video, camera device (0, /dev/video0), or bag",
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
        "--camera", metavar="CAMERA.yaml", help="calibration, as camera_calibration writes it"
    )
    parser.add_argument(
        "--max-frames",
        type=int,
        default=0,
        metavar="N",
        help="end after N frames (default 0: all; a device ends with Ctrl-C)",
    )
    parser.add_argument(
        "--track",
        action=argparse.BooleanOptionalAction,
        help="follow persons from frame to frame (default: in videos and from devices, not in images)",
    )
    add_lifter(parser, "--lifter")
    parser.add_argument(
        "--device",
        default="auto",
        help="where the network runs: auto, cpu, cuda or cuda:n (default auto)",
    )


def run(args: argparse.Namespace) -> int:
    check(args)
    return run_bag(args) if is_bag(Path(args.source)) else run_frames(args)


def is_bag(source: Path) -> bool:
    """Whether it looks like a rosbag2."""
    return source.suffix in (".mcap", ".db3") or (source / "metadata.yaml").is_file()


def run_bag(args: argparse.Namespace) -> int:
    """What `lifting bag`, and for a table `lifting poses`, say of the bag's images."""
    from lifting_ros.cli import bag, poses
    from lifting_ros.cli.main import CommandError

    given = {
        "--overlay": args.overlay,
        "--max-frames": args.max_frames,
        "--track": args.track is not None,
    }
    given["--lifter"] = args.lifter != "ppca"
    for option in (option for option, value in given.items() if value):
        raise CommandError(
            f"{option}: not with a bag; lifting bag has --params for the node's parameters, and --smooth"
        )
    with tempfile.TemporaryDirectory(dir=Path(args.out).absolute().parent) as work:
        parser, out = (
            argparse.ArgumentParser(),
            args.out if args.out.endswith(".mcap") else str(Path(work) / "poses.mcap"),
        )
        bag.add_arguments(parser)
        words = [
            args.source,
            "--out",
            out,
            "--device",
            args.device,
            *(["--camera", args.camera] if args.camera else []),
        ]
        if out == args.out:
            return bag.run(parser.parse_args(words))
        with (
            open(os.devnull, "w") as nowhere,
            contextlib.redirect_stdout(nowhere),
        ):  # the table says how many there are
            bag.run(parser.parse_args([*words, "--poses-only"]))
        return poses.run(argparse.Namespace(bag=Path(out), out=Path(args.out), topic=""))


def run_frames(args: argparse.Namespace) -> int:
    """Persons of an image, a folder, a video or a device."""
    from collections import deque
    from itertools import islice

    from tqdm import tqdm

    from lifting_ros.cli.files import write_npz
    from lifting_ros.cli.source import open_source, read_camera

    source = open_source(args.source)
    limit = args.max_frames or None
    camera = None
    if args.camera:
        height, width = next(source.frames()).shape[:2]
        camera = read_camera(args.camera, width, height)

    from lifting_ros.cli.overlay_writer import overlay_writer
    from lifting_ros.estimator import EstimatorConfig, PoseEstimator
    from lifting_ros.tracking.tracking import TrackedFrame, Tracker, TrackerConfig

    estimator = PoseEstimator(EstimatorConfig(device=args.device, lifter=args.lifter))
    track = args.track if args.track is not None else not source.images
    tracker = Tracker(TrackerConfig(enabled=track, lag_s=0.0 if source.live else SMOOTHED_OVER_S))
    total = min(filter(None, (limit, source.count)), default=None)
    frames, images = [], deque()

    def take(done: list[TrackedFrame]) -> None:
        for frame in done:
            overlay.add(len(frames), images.popleft(), frame.persons)
            frames.append(frame.persons)

    with overlay_writer(args.overlay, source.fps, total or 0) as overlay:
        try:
            for k, image in enumerate(
                tqdm(
                    islice(source.frames(), limit),
                    desc="estimating",
                    unit="frame",
                    total=total,
                    delay=2,
                )
            ):
                persons = estimator.estimate(image, camera).persons
                images.append(image)
                take(tracker.update(round(k * 1e9 / source.fps), persons))
        except KeyboardInterrupt:
            if not source.live:
                raise
        take(tracker.flush())
    if args.out.endswith(".mcap"):
        write_bag(Path(args.out), frames, source.fps, estimator)
    else:
        write_npz(args.out, person_arrays(frames, source.fps))
    people, occupied = sum(map(len, frames)), sum(map(bool, frames))
    print(f"{people} persons in {occupied} of {len(frames)} frames: {args.out}")
    return 0


def check(args: argparse.Namespace) -> None:
    """CommandError for what can be told before anything is read."""
    from lifting_ros.cli.demo import check_ros
    from lifting_ros.cli.main import CommandError

    if not args.out.endswith((".npz", ".mcap")):
        raise CommandError(f"--out {args.out}: expected a name that ends in .npz or .mcap")
    if args.overlay and Path(args.overlay).suffix not in (".png", ".mp4"):
        raise CommandError(f"--overlay {args.overlay}: expected a name that ends in .png or .mp4")
    for name in filter(None, (args.out, args.overlay)):
        if not Path(name).absolute().parent.is_dir():
            raise CommandError(f"{name}: the folder does not exist")
    if args.max_frames < 0:
        raise CommandError(f"--max-frames: expected 0 or more, got {args.max_frames}")
    if args.out.endswith(".mcap"):
        check_ros()


def write_bag(out: Path, frames: list, fps: float, estimator) -> None:
    """Write the persons of frames as the node would publish them."""
    from lifting_ros.estimator import model_name
    from lifting_ros.ros.bag_output import write_poses
    from lifting_ros.ros.conversions import skeleton_info

    info = skeleton_info(
        model_name(estimator.config), estimator.weights_sha256, estimator.prior_sha256
    )
    write_poses(
        out, {round(k * 1e9 / fps): persons for k, persons in enumerate(frames)}, FRAME, info
    )


def person_arrays(frames: list, fps: float) -> dict:
    """The columns of all persons of `frames` (a sequence of Person for each), in the order of the
    frames."""
    import numpy as np

    from lifting_ros.cli.detect import keypoint_arrays

    persons = [person for frame in frames for person in frame]
    index = np.repeat(np.arange(len(frames)), [len(frame) for frame in frames])
    poses = [person.skeleton_3d for person in persons]
    modes = max((len(pose.hypotheses_m) for pose in poses), default=0)

    def column(name: str, *shape: int, kind=np.float64) -> np.ndarray:
        return np.array([getattr(pose, name) for pose in poses], kind).reshape(
            len(poses), *shape
        )  # N, ...

    return {
        "frame_index": index,
        "frame_count": np.array(len(frames)),
        "stamp_ns": np.round(index * (1e9 / fps)).astype(np.int64),
        "track_id": np.array([person.id for person in persons], np.int64),
        "velocity_mps": np.array([person.velocity_mps for person in persons], np.float64).reshape(
            -1, 17, 3
        ),  # N, 17, 3
        **keypoint_arrays([person.skeleton_2d for person in persons]),
        "joints_m": column("joints_m", 17, 3),
        "root_m": column("root_m", 3),
        "covariance_m2": column("covariance_m2", 17, 3, 3),
        "root_covariance_m2": column("root_covariance_m2", 3, 3),
        "status": column("status", 17, kind=np.uint8),
        "metric": column("metric", kind=bool),
        "log_likelihood": column("log_likelihood"),
        "hypotheses_m": column("hypotheses_m", modes, 17, 3),
        "hypothesis_weight": column("hypothesis_weight", modes),
    }
