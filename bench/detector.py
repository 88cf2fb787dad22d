# SPDX-License-Identifier: Apache-2.0
"""Measures the person detector at many thresholds, on the pictures held back to choose them, and
its CPU time.

Each row is a minimum score: persons found (recall at IoU 0.5) and found repeatedly in each set, and
the share of pictures without people that get a false alarm. The first table is that of the detector
alone, the second that of the whole estimator, whose detector has the score --score. The defaults of
`detector.score` and `min_person_score` come from these tables; reported figures come from other
pictures. --json FILE writes the figures.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lifting_ros.cli.files import write_json
from lifting_ros.cli.tables import print_table
from lifting_ros.detection.detector import DetectorConfig
from lifting_ros.device import use_threads
from lifting_ros.estimator import EstimatorConfig, PoseEstimator
from lifting_ros.protocols import PersonDetector
from lifting_ros.research.datasets.crowd_pack import TUNE_PICTURES, open_crowd_pack
from lifting_ros.research.datasets.keypoints2d import photo_sets_in, read_photo_set
from lifting_ros.research.datasets.negatives import read_negatives
from lifting_ros.research.datasets.scene_parts import Scene
from lifting_ros.research.evaluation.detection import (
    Judged,
    at_any_score,
    crowd_scenes,
    detection_row,
    judge_all,
    of_detector,
    of_estimator,
    photo_scenes,
    room_scenes,
    window_scenes,
)

ROOMS = ("parts of photographs", "rendered rooms")
"""The sets without people."""


def tune_sets(data: Path, work: Path, most: int) -> dict[str, Callable[[], Iterator[Scene]]]:
    """Scenes held back from the trainings, by name."""
    crowds = open_crowd_pack(work / "crowds" / "tune", data, "tune", (320, 256), *TUNE_PICTURES)
    sets: dict[str, Callable[[], Iterator[Scene]]] = {}
    sets["crowds"] = partial(crowd_scenes, crowds, most)
    for name in photo_sets_in(data / "keypoints2d"):
        photos = read_photo_set(data / "keypoints2d", name)
        sets[name] = partial(photo_scenes, photos, "tune", most)

    empty = read_negatives(data / "negatives", "tune")
    sets[ROOMS[0]] = partial(window_scenes, empty, 6)
    sets[ROOMS[1]] = partial(room_scenes, crowds)
    return sets


def sweep(judged: dict[str, Judged], scores: np.ndarray) -> dict[str, dict[str, float]]:
    """Rows by minimum score: recall by set, precision and repeated persons in crowds, share of
    empty pictures with alarms."""
    rows = {}
    for score in scores:
        figures = {name: detection_row(found, score) for name, found in judged.items()}
        row = {}
        for name in figures:
            if name not in ROOMS:
                row[name] = figures[name]["recall"]

        crowds = figures["crowds"]
        row["precision"] = crowds["precision"]
        row["repeated"] = crowds["repeated"]
        for name in ROOMS:
            row[name] = figures[name]["pictures"]

        rows[f"{score:.2f}"] = row

    return rows


def cpu_ms(detector: PersonDetector, rounds: int = 30) -> float:
    """CPU time of one 640 x 480 picture, the median of `rounds`, ms."""
    image = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    times = []
    for _ in range(rounds):
        start = time.process_time()
        detector.detect(image)
        times.append(1e3 * (time.process_time() - start))

    return float(np.median(times))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        required=True,
        type=Path,
        metavar="DATA",
        help="folder with keypoints2d/, negatives/, body/, mocap/",
    )
    parser.add_argument(
        "--work",
        default=Path(".cache"),
        type=Path,
        metavar="WORK",
        help="where pictures are kept (default .cache)",
    )
    parser.add_argument(
        "--weights",
        default="",
        metavar="W.safetensors",
        help="detector weights (default: the ones that ship)",
    )
    parser.add_argument(
        "--score",
        type=float,
        default=DetectorConfig().score,
        help="detector.score of the estimator's table",
    )
    parser.add_argument(
        "--most", type=int, default=150, metavar="N", help="pictures a set (default 150)"
    )
    parser.add_argument("--alone", action="store_true", help="leave out the estimator")
    parser.add_argument("--json", default="", metavar="FILE", help="write the figures here as well")
    args = parser.parse_args()

    config = EstimatorConfig(
        threads=1,
        min_person_score=0.0,
        detector=DetectorConfig(weights=args.weights, score=args.score),
    )
    use_threads(config.threads)
    estimator = PoseEstimator(config)
    finders = {"detector": of_detector(at_any_score(estimator.detector))}
    if not args.alone:
        finders["estimator"] = of_estimator(estimator)

    sets = tune_sets(args.data, args.work, args.most)
    tables = {}
    for who, find in finders.items():
        judged = {}
        for name, scenes in sets.items():
            shown = tqdm(scenes(), desc=f"{who}, {name}", leave=False)
            judged[name] = judge_all(find, shown)

        tables[who] = sweep(judged, np.arange(0.05, 1.0, 0.05))
        print_table(f"{who}, least score", tables[who])

    figures = tables | {"cpu_ms": cpu_ms(estimator.detector)}
    print(f"\ndetector alone: {figures['cpu_ms']:.1f} ms of CPU a picture of 640 x 480")

    if args.json:
        write_json(args.json, figures)

    return 0


if __name__ == "__main__":
    sys.exit(main())
