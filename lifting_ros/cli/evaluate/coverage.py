# SPDX-License-Identifier: Apache-2.0
"""Measure how often the ellipsoids of people found in pictures contain their joints.

Everything runs as on a robot: detector, network, lifter, widened covariances, and in videos the
tracker. Each PATH is one of:
  a pack of rendered people   what `lifting render --subjects validation` wrote; with the camera of
                              each picture. Joints are about the root, as estimated
  a folder of videos          NAME.mp4 with NAME.npz beside it: time_s (T,), joints_m (T, K, 3),
                              joint_names (K,). The camera is not known: each person is aligned with
                              the truth by a similarity, and the covariances are turned and scaled
                              with it; joints other than the hips are about the middle of the hips
                              then. The largest person of a frame counts

Tables: errors in mm (over the truth's joints), share of true joints inside the ellipsoids of a
level in % by status, with NEES per degree of freedom (1: right; more: the covariances are too
small), and the same joint by joint. Packs also by kind of people: straight or bent knees (either
below 120 degrees), from the front (within 45 degrees), the side or behind; `exact` are the errors
of the same people lifted from their true keypoints.

With --place, packs are estimated four more times, whole, at half and at a quarter of their size,
and cut off above the hips of upright people: range and place of the root.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lifting_ros.cli import estimate
from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.evaluate import common
from lifting_ros.cli.options import add_device, add_json, add_lifter, require_at_least

if TYPE_CHECKING:
    from lifting_ros.estimator import PoseEstimator
    from lifting_ros.research.evaluation.coverage import Covered
    from lifting_ros.research.evaluation.synthetic_people import RenderedPeople
    from lifting_ros.research.evaluation.video_truth import Truth

    Packs = dict[str, RenderedPeople]
    Videos = dict[Path, Truth]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="packs of rendered people, folders of videos"
    )

    parser.add_argument(
        "--people",
        type=int,
        default=500,
        metavar="N",
        help="use at most N people of a pack (default 500)",
    )
    parser.add_argument(
        "--max-frames",
        type=int,
        default=0,
        metavar="N",
        help="use at most N frames of a video, the first ones (default 0: all)",
    )
    parser.add_argument(
        "--every",
        type=int,
        default=1,
        metavar="N",
        help="use every N-th frame of a video (default 1: all)",
    )

    parser.add_argument(
        "--place", action="store_true", help="also measure range and place in packs"
    )
    add_lifter(parser)
    add_device(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from lifting_ros.device import use_threads
    from lifting_ros.estimator import EstimatorConfig, PoseEstimator
    from lifting_ros.research.evaluation.coverage import coverage_tables

    common.check(args)
    require_at_least("--max-frames", args.max_frames, 0)
    require_at_least("--every", args.every, 1)
    packs, videos = read_sources(args)

    use_threads()
    estimator = PoseEstimator(EstimatorConfig(device=args.device, lifter=args.lifter))
    found = measure_packs(packs, estimator) | measure_videos(args, videos, estimator)
    tables = coverage_tables(found)
    if args.place:
        tables |= measure_place(packs, estimator)
    return common.report(args, tables)


def read_sources(args: argparse.Namespace) -> tuple[Packs, Videos]:
    """The packs by name, and the videos with their truths.

    Everything is read before anything is estimated. LiftingError for what cannot be measured.
    """
    from lifting_ros.research.evaluation.synthetic_people import read_rendered
    from lifting_ros.research.evaluation.video_truth import read_truth, videos_in

    packs: Packs = {}
    videos: Videos = {}
    for path in map(Path, args.paths):
        if not path.is_dir():
            raise CommandError(f"{path}: expected a pack of rendered people or a folder of videos")
        if (path / "labels.npz").is_file():
            packs[path.name] = read_rendered(path, args.people)
            continue
        for video in videos_in(path):
            videos[video] = read_truth(video.with_suffix(".npz"))
    return packs, videos


def measure_packs(packs: Packs, estimator: PoseEstimator) -> dict[str, Covered]:
    """Rendered people by the name of their pack."""
    from lifting_ros.research.evaluation.rendered_people import estimate_rendered

    return {name: estimate_rendered(estimator, people) for name, people in packs.items()}


def measure_place(packs: Packs, estimator: PoseEstimator) -> common.Tables:
    """Tables of range and place, one for each pack."""
    from lifting_ros.research.evaluation.place import place_rows

    return {f"{name}: place": place_rows(estimator, people) for name, people in packs.items()}


def measure_videos(
    args: argparse.Namespace, videos: Videos, estimator: PoseEstimator
) -> dict[str, Covered]:
    """People of videos by the name of the video, and all of them together, as `lifting estimate`
    finds them."""
    from lifting_ros.io.images import open_source
    from lifting_ros.research.evaluation.coverage import joined
    from lifting_ros.research.evaluation.video_truth import measure_video, thin

    options = argparse.Namespace(
        track=None,
        reidentify=0.0,
        max_frames=args.max_frames,
        overlay=None,
        blur_faces=False,
    )
    found = {}
    for video, truth in videos.items():
        source = thin(open_source(str(video)), args.every)
        frames = estimate.estimate_frames(options, source, None, estimator)
        found[video.stem] = measure_video(frames, truth)

    if len({people.names for people in found.values()}) == 1 and len(found) > 1:
        found["all videos"] = joined(list(found.values()))
    return found
