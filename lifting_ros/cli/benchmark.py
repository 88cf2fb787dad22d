# SPDX-License-Identifier: Apache-2.0
"""Measure how fast this machine finds and lifts people, without ROS.

Estimates the frames of SOURCE (default: the clip that ships) over and over for --seconds, after a
warm-up that is not counted. Prints mean, median and 99th percentile in milliseconds of each step
(detect, network, lift) and of all together, and images per second. bench/node.py measures what ROS
adds, bench/lifting.py the lifter alone.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.options import (
    add_device,
    add_json,
    add_lifter,
    add_runtime,
    require_folder_of,
)

if TYPE_CHECKING:
    import numpy as np

    from lifting_ros.estimator import PoseEstimator

MOST_FRAMES = 300
"""Frames of the source that are kept in memory."""
WARM_UP = 10
"""Frames that are estimated before the measurement begins."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from lifting_ros.cli.demo import CLIP

    parser.add_argument(
        "source",
        nargs="?",
        default=str(CLIP),
        metavar="SOURCE",
        help="image, folder or video (default: the clip)",
    )
    parser.add_argument(
        "--seconds", type=float, default=20.0, metavar="S", help="how long to measure (default 20)"
    )
    parser.add_argument(
        "--weights",
        default="",
        metavar="W",
        help="network: a name or a file, as the parameter `weights` (default full)",
    )
    add_lifter(parser)
    add_device(parser)
    add_runtime(parser)
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        metavar="N",
        help="CPU threads (default 0: half the cores, as the node)",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from itertools import islice

    from lifting_ros.io.images import open_source

    if not 0 < args.seconds < float("inf"):
        raise CommandError(f"--seconds: expected more than 0, got {args.seconds}")
    if args.json:
        require_folder_of("--json", args.json)

    source = open_source(args.source)
    if source.live:
        raise CommandError(
            f"{args.source}: a camera sets the pace; expected an image, a folder or a video"
        )

    from lifting_ros.cli.files import write_json
    from lifting_ros.cli.tables import print_table
    from lifting_ros.device import thread_count, use_threads
    from lifting_ros.estimator import EstimatorConfig, PoseEstimator

    frames = list(islice(source.frames(), MOST_FRAMES))
    config = EstimatorConfig(
        device=args.device,
        runtime=args.runtime,
        threads=args.threads,
        weights=args.weights,
        lifter=args.lifter,
    )
    use_threads(config.threads)
    estimator = PoseEstimator(config)
    tables, images = measured_tables(estimator, frames, args.seconds)

    device = str(estimator.device)
    threads = thread_count()
    height, width = frames[0].shape[:2]
    print(
        f"{estimator.runtime} on {device}, {threads} threads, {images} images of {width}x{height}"
    )
    for title, rows in tables.items():
        print_table(title, rows)
    if args.json:
        write_json(
            args.json, tables | {"runtime": estimator.runtime, "device": device, "threads": threads}
        )
    return 0


def measured_tables(
    estimator: PoseEstimator, frames: list[np.ndarray], seconds: float
) -> tuple[dict[str, dict[str, dict[str, float]]], int]:
    """The tables by title, and the number of images that were measured."""
    steps = measure(estimator, frames, seconds)
    persons = steps.pop("persons")
    rates = {
        "images/s": 1e3 / float(steps["all"].mean()),
        "persons/image": float(persons.mean()),
    }
    tables = {
        "milliseconds": {name: statistics(values) for name, values in steps.items()},
        "rates": {"whole": rates},
    }
    return tables, len(persons)


def measure(
    estimator: PoseEstimator, frames: list[np.ndarray], seconds: float
) -> dict[str, np.ndarray]:
    """Milliseconds of each step and of `all`, and the number of `persons`, for each image.

    frames: (H, W, 3) uint8 RGB.
    """
    import numpy as np

    from lifting_ros.io.progress import Progress

    for image in frames[-WARM_UP:]:
        estimator.estimate(image)

    rows = []
    begun = time.perf_counter()
    bar_format = "{l_bar}{bar}| {n:.0f}/{total} s"
    with Progress(
        total=round(seconds), desc="measuring", unit="s", delay=2, bar_format=bar_format
    ) as bar:
        while not rows or time.perf_counter() - begun < seconds:
            start = time.perf_counter()
            estimate = estimator.estimate(frames[len(rows) % len(frames)])
            end = time.perf_counter()

            rows.append({**estimate.seconds, "all": end - start, "persons": len(estimate.persons)})
            bar.update(min(time.perf_counter() - begun, bar.total) - bar.n)

    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return {name: values * (1 if name == "persons" else 1e3) for name, values in columns.items()}


def statistics(milliseconds: np.ndarray) -> dict[str, float]:
    """Mean, median and 99th percentile."""
    import numpy as np

    return {
        "mean": float(milliseconds.mean()),
        "p50": float(np.percentile(milliseconds, 50)),
        "p99": float(np.percentile(milliseconds, 99)),
    }
