# SPDX-License-Identifier: Apache-2.0
"""Speed of the runtimes beside each other: the networks that ship, the detector, and the whole
estimator.

Runtimes take turns, call by call, so that other programs on the machine slow all of them alike.
Wall is the fastest of --calls calls, in milliseconds; CPU is the median of what all threads of the
process spent on a call. Figures of a runtime whose package is not installed are left out.

networks: crops as the estimator hands them over, to belief maps in the computer's memory, with the
fusion. detector: a
640x480 image at both sizes, resizing and boxes included. estimator: frames 60 to 109 of the
bundled clip, in which one person walks.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from itertools import islice

import numpy as np

from lifting_ros import device as devices
from lifting_ros.cli.demo import CLIP
from lifting_ros.cli.files import write_json
from lifting_ros.cli.tables import print_table
from lifting_ros.device import use_threads
from lifting_ros.errors import LiftingError
from lifting_ros.estimator import SHIPPED, EstimatorConfig, PoseEstimator
from lifting_ros.io.images import open_source
from lifting_ros.keypoints.inference import NetworkRunner, to_input
from lifting_ros.runtimes import CHOICES

FIRST_FRAME = 60
LAST_FRAME = 109
WARM_UP = 2
"""Calls that do not count."""

Call = Callable[[], object]
Row = dict[str, float]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    runtimes = [name for name in CHOICES if name != "auto"]
    parser.add_argument("--runtimes", nargs="+", default=runtimes, choices=runtimes)
    parser.add_argument("--weights", nargs="+", default=list(SHIPPED), metavar="W")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], metavar="N")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4], metavar="N")
    parser.add_argument("--calls", type=int, default=20, metavar="N")
    parser.add_argument("--frames", type=int, default=LAST_FRAME - FIRST_FRAME + 1, metavar="N")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:n (default cpu)")
    parser.add_argument("--json", default="", metavar="FILE", help="also write the figures here")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    frames = read_frames(args.frames)
    tables: dict[str, dict[str, Row]] = {"networks": {}, "detector": {}, "estimator": {}}
    for threads in args.threads:
        use_threads(threads)
        for weights in args.weights:
            estimators = make_estimators(args.runtimes, weights, args.device)
            suffix = f"{threads} threads"
            for batch in args.batches:
                calls = {name: network_call(one, batch) for name, one in estimators.items()}
                rows = compare(calls, args.calls)
                add(tables["networks"], f"{weights}, batch {batch}, {suffix}", rows)

            if weights == args.weights[0]:
                image = frames[len(frames) // 2]
                calls = {name: detector_call(one, image) for name, one in estimators.items()}
                add(tables["detector"], suffix, compare(calls, args.calls))

            add(tables["estimator"], f"{weights}, {suffix}", walk(estimators, frames))

    for title, rows in tables.items():
        print_table(title, rows)
    if args.json:
        write_json(args.json, {"bf16": devices.cpu_has_bf16(), **tables})
    return 0


def read_frames(most: int) -> list[np.ndarray]:
    """Frames (480, 640, 3) RGB."""
    return list(islice(open_source(str(CLIP)).frames(), FIRST_FRAME, FIRST_FRAME + most))


def make_estimators(
    runtimes: list[str], weights: str, device: str = "cpu"
) -> dict[str, PoseEstimator]:
    """An estimator for each runtime that is installed and runs on the device."""
    estimators = {}
    for runtime in runtimes:
        config = EstimatorConfig(device=device, runtime=runtime, weights=weights)
        try:
            estimators[runtime] = PoseEstimator(config)
        except LiftingError as error:
            print(f"{runtime} is left out: {error}", file=sys.stderr)

    return estimators


def network_call(estimator: PoseEstimator, batch: int) -> Call:
    """The network on random crops."""
    network = estimator.network
    side = network.config.input_px
    crops = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), np.uint8)
    if isinstance(network, NetworkRunner):
        return lambda: network.last(to_input(crops))[0].cpu()  # waits for a GPU

    return lambda: network.last(crops)


def detector_call(estimator: PoseEstimator, image: np.ndarray) -> Call:
    """The detector on an image."""
    return lambda: estimator.detector.detect(image)


def compare(calls: dict[str, Call], count: int) -> dict[str, Row]:
    """Milliseconds of each call, in turns."""
    wall: dict[str, list[float]] = {name: [] for name in calls}
    cpu: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(WARM_UP + count):
        for name, call in calls.items():
            wall_start = time.perf_counter()
            cpu_start = time.process_time()
            call()
            cpu[name].append(1e3 * (time.process_time() - cpu_start))
            wall[name].append(1e3 * (time.perf_counter() - wall_start))

    return {
        name: {
            "wall ms": min(wall[name][WARM_UP:]),
            "CPU ms": float(np.median(cpu[name][WARM_UP:])),
        }
        for name in calls
    }


def walk(estimators: dict[str, PoseEstimator], frames: list[np.ndarray]) -> dict[str, Row]:
    """The estimators over the frames, frame by frame in turns: milliseconds and frames a second."""
    wall = dict.fromkeys(estimators, 0.0)
    cpu = dict.fromkeys(estimators, 0.0)
    for estimator in estimators.values():
        for image in frames[:WARM_UP]:
            estimator.estimate(image)

    for image in frames:
        for name, estimator in estimators.items():
            wall_start = time.perf_counter()
            cpu_start = time.process_time()
            estimator.estimate(image)
            cpu[name] += time.process_time() - cpu_start
            wall[name] += time.perf_counter() - wall_start

    return {
        name: {
            "wall ms": 1e3 * wall[name] / len(frames),
            "CPU ms": 1e3 * cpu[name] / len(frames),
            "frames/s": len(frames) / wall[name],
        }
        for name in estimators
    }


def add(table: dict[str, Row], what: str, rows: dict[str, Row]) -> None:
    """Add a row for each runtime."""
    for runtime, row in rows.items():
        table[f"{what}, {runtime}"] = row


if __name__ == "__main__":
    sys.exit(main())
