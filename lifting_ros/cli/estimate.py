# SPDX-License-Identifier: Apache-2.0
"""Persons of an image, a folder of images, a video or a camera device: 2D keypoints and 3D skeletons.

OUT.npz, a row for each person in each frame: frame_index (N,), stamp_ns (N,) from the first frame on, track_id (N,) from
1 (0: not tracked), velocity_mps (N, 17, 3) (NaN: not tracked, or seen once), metric (N,);
the arrays of `lifting detect` (box_px, score, keypoints_px, confidence, keypoint_covariance_px2) and of `lifting lift`
(joints_m, root_m, covariance_m2, root_covariance_m2, status, log_likelihood, hypotheses_m, hypothesis_weight); and
frame_count.
Persons of a video or a device are tracked: joints and covariances are smoothed over time, over the future as well where
there is one; keypoints and hypotheses are each image's own.
With --camera: metres in the camera's optical frame (x right, y down, z forward). Without: root at the origin, size
from the stature prior.
"""

from __future__ import annotations

import argparse

SMOOTHED_OVER_S = 0.3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="image, folder of images, video, or camera device (0, /dev/video0)")
    parser.add_argument("--out", required=True, metavar="OUT.npz", help="the persons to write; see above")
    parser.add_argument("--overlay", metavar="OUT.png|OUT.mp4", help="also a picture of six frames, or a video of all")
    parser.add_argument("--camera", metavar="CAMERA.yaml", help="calibration, as camera_calibration writes it")
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
    lifters = ["ppca", "relative", "stereo", "supervised"]  # of core.lifters, which --help need not import
    parser.add_argument("--lifter", default="ppca", choices=lifters, help="lifts to 3D: the prior, or a network (default ppca)")
    parser.add_argument("--device", default="auto", help="where the network runs: auto, cpu, cuda or cuda:n (default auto)")


def run(args: argparse.Namespace) -> int:
    from collections import deque
    from itertools import islice

    from tqdm import tqdm

    from lifting_ros.cli.files import write_npz
    from lifting_ros.cli.source import open_source, read_camera

    check(args)
    source = open_source(args.source)
    limit = args.max_frames or None
    camera = None
    if args.camera:
        height, width = next(source.frames()).shape[:2]
        camera = read_camera(args.camera, width, height)

    from lifting_ros.cli.overlay_writer import overlay_writer
    from lifting_ros.core.pipeline import EstimatorConfig, PoseEstimator
    from lifting_ros.core.tracking import TrackedFrame, Tracker, TrackerConfig

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
            for k, image in enumerate(tqdm(islice(source.frames(), limit), desc="estimating", unit="frame", total=total, delay=2)):
                persons = estimator.estimate(image, camera).persons
                images.append(image)
                take(tracker.update(round(k * 1e9 / source.fps), persons))
        except KeyboardInterrupt:
            if not source.live:
                raise
        take(tracker.flush())
    write_npz(args.out, person_arrays(frames, source.fps))
    people, occupied = sum(map(len, frames)), sum(map(bool, frames))
    print(f"{people} persons in {occupied} of {len(frames)} frames: {args.out}")
    return 0


def check(args: argparse.Namespace) -> None:
    """CommandError for what can be told before anything is read."""
    from pathlib import Path

    from lifting_ros.cli.main import CommandError

    if args.out.endswith(".mcap"):
        raise CommandError(f"--out {args.out}: bags are not written by this verb yet; expected a name that ends in .npz")
    if not args.out.endswith(".npz"):
        raise CommandError(f"--out {args.out}: expected a name that ends in .npz")
    if args.overlay and Path(args.overlay).suffix not in (".png", ".mp4"):
        raise CommandError(f"--overlay {args.overlay}: expected a name that ends in .png or .mp4")
    for name in filter(None, (args.out, args.overlay)):
        if not Path(name).absolute().parent.is_dir():
            raise CommandError(f"{name}: the folder does not exist")
    if args.max_frames < 0:
        raise CommandError(f"--max-frames: expected 0 or more, got {args.max_frames}")


def person_arrays(frames: list, fps: float) -> dict:
    """The columns of all persons of `frames` (a sequence of Person for each), in the order of the frames."""
    import numpy as np

    from lifting_ros.cli.detect import keypoint_arrays

    persons = [person for frame in frames for person in frame]
    index = np.repeat(np.arange(len(frames)), [len(frame) for frame in frames])
    poses = [person.skeleton_3d for person in persons]
    modes = max((len(pose.hypotheses_m) for pose in poses), default=0)

    def column(name: str, *shape: int, kind=np.float64) -> np.ndarray:
        return np.array([getattr(pose, name) for pose in poses], kind).reshape(len(poses), *shape)  # N, ...

    return {
        "frame_index": index, "frame_count": np.array(len(frames)),
        "stamp_ns": np.round(index * (1e9 / fps)).astype(np.int64),
        "track_id": np.array([person.id for person in persons], np.int64),
        "velocity_mps": np.array([person.velocity_mps for person in persons], np.float64).reshape(-1, 17, 3),  # N, 17, 3
        **keypoint_arrays([person.skeleton_2d for person in persons]),
        "joints_m": column("joints_m", 17, 3), "root_m": column("root_m", 3),
        "covariance_m2": column("covariance_m2", 17, 3, 3), "root_covariance_m2": column("root_covariance_m2", 3, 3),
        "status": column("status", 17, kind=np.uint8), "metric": column("metric", kind=bool),
        "log_likelihood": column("log_likelihood"),
        "hypotheses_m": column("hypotheses_m", modes, 17, 3), "hypothesis_weight": column("hypothesis_weight", modes),
    }  # fmt: skip
