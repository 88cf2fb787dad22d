# SPDX-License-Identifier: Apache-2.0
"""How fast this machine finds and lifts people, without ROS.

Estimates the frames of SOURCE (default: the clip that ships) over and over for --seconds, after a
warm-up that is not counted, and prints for each step, detect, network and lift, and for all of them
together, mean, median and 99th percentile in milliseconds, and the images a second. What ROS adds
is measured by bench/node.py, the lifter alone by bench/lifting.py.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lifting_ros.cli.lifter_option import add_lifter

if TYPE_CHECKING:
    import numpy as np

    from lifting_ros.estimator import PoseEstimator

MOST_FRAMES = 300
WARM_UP = 10


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
    add_lifter(parser, "--lifter")
    parser.add_argument(
        "--device",
        default="auto",
        help="where the network runs: auto, cpu, cuda or cuda:n (default auto)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        metavar="N",
        help="CPU threads (default 0: half the cores, as the node)",
    )
    parser.add_argument("--json", default="", metavar="FILE", help="write the figures here as well")


def run(args: argparse.Namespace) -> int:
    from itertools import islice

    from lifting_ros.cli.main import CommandError
    from lifting_ros.cli.source import open_source

    if not 0 < args.seconds < float("inf"):
        raise CommandError(f"--seconds: expected more than 0, got {args.seconds}")
    if args.json and not Path(args.json).absolute().parent.is_dir():
        raise CommandError(f"--json: {args.json}: the folder does not exist")
    source = open_source(args.source)
    if source.live:
        raise CommandError(
            f"{args.source}: a camera sets the pace; expected an image, a folder or a video"
        )

    import torch

    from lifting_ros.cli.evaluate import print_table
    from lifting_ros.cli.files import write_json
    from lifting_ros.estimator import EstimatorConfig, PoseEstimator

    config = EstimatorConfig(
        device=args.device, threads=args.threads, weights=args.weights, lifter=args.lifter
    )
    frames, estimator = list(islice(source.frames(), MOST_FRAMES)), PoseEstimator(config)
    steps = measure(estimator, frames, args.seconds)
    persons = steps.pop("persons")
    whole = {"images/s": 1e3 / float(steps["all"].mean()), "persons/image": float(persons.mean())}
    print(
        f"{estimator.device}, {torch.get_num_threads()} threads, {len(steps['all'])} images of {frames[0].shape[1]}x{frames[0].shape[0]}"
    )
    tables = {
        "milliseconds": {name: figures(values) for name, values in steps.items()},
        "rates": {"whole": whole},
    }
    for title, rows in tables.items():
        print_table(title, rows)
    if args.json:
        write_json(
            args.json,
            tables | {"device": str(estimator.device), "threads": torch.get_num_threads()},
        )
    return 0


def measure(
    estimator: PoseEstimator, frames: list[np.ndarray], seconds: float
) -> dict[str, np.ndarray]:
    """Milliseconds of each step and of `all` for each image, and the `persons` found; frames (H, W,
    3) uint8 RGB."""
    import numpy as np
    from tqdm import tqdm

    for image in frames[-WARM_UP:]:
        estimator.estimate(image)
    rows, begun = [], time.perf_counter()
    with tqdm(
        total=round(seconds),
        desc="measuring",
        unit="s",
        delay=2,
        bar_format="{l_bar}{bar}| {n:.0f}/{total} s",
    ) as bar:
        while not rows or time.perf_counter() - begun < seconds:
            start = time.perf_counter()
            estimate = estimator.estimate(frames[len(rows) % len(frames)])
            rows.append(
                estimate.seconds
                | {"all": time.perf_counter() - start, "persons": len(estimate.persons)}
            )
            bar.update(min(time.perf_counter() - begun, bar.total) - bar.n)
    return {
        name: np.array([row[name] for row in rows]) * (1 if name == "persons" else 1e3)
        for name in rows[0]
    }


def figures(milliseconds: np.ndarray) -> dict[str, float]:
    """Mean, median and 99th percentile."""
    import numpy as np

    return {"mean": float(milliseconds.mean())} | {
        f"p{share}": float(np.percentile(milliseconds, share)) for share in (50, 99)
    }
