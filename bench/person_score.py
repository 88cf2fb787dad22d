# SPDX-License-Identifier: Apache-2.0
"""Fits the person score of keypoint networks, and compares it with the score without weights.

On pictures held back from the trainings: the share of people found, whole and half seen, and of the
pictures of nobody with a false alarm, cross-validated by photograph. The first row is the score
without weights at the default `min_person_score`; the others are both scores at the same share of
alarms in rendered rooms. --write puts the weights into the files, such that --alarms of the rooms
have an alarm at the default `min_person_score`.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np

from lifting_ros.cli.tables import print_table
from lifting_ros.device import use_threads
from lifting_ros.estimator import SHIPPED, EstimatorConfig, PoseEstimator, network_and_detector
from lifting_ros.io.checkpoint import load_tensors, save_tensors
from lifting_ros.io.progress import Progress
from lifting_ros.keypoints.person_score import HEADER, PersonScore
from lifting_ros.research.training import fit_person_score as fitting

ALARMS = (0.11, 0.08, 0.05, 0.025)
"""Shares of rendered rooms with an alarm, at which the scores are compared."""


def compare(rows: fitting.Rows) -> dict[str, dict[str, float]]:
    """Shares by kind of picture, in %; rows by score."""
    held_out = fitting.held_out(rows)
    least = EstimatorConfig().min_person_score
    table = {f"without weights, {least}": fitting.shares(rows.plain, rows, least)}
    for alarms in ALARMS:
        for name, values in {"without weights": rows.plain, "with weights": held_out}.items():
            threshold = fitting.threshold_at(values, rows, alarms)
            table[f"{name}, rooms {100 * alarms:.3g} %"] = fitting.shares(values, rows, threshold)

    return {name: {kind: 100 * share for kind, share in row.items()} for name, row in table.items()}


def write(path: Path, score: PersonScore) -> None:
    """Put the weights into the header of a network's file; its tensors stay."""
    tensors, header = load_tensors(path)
    save_tensors(path, tensors, header | {HEADER: dataclasses.asdict(score)})


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
        help="where rendered rooms are kept (default .cache)",
    )
    parser.add_argument(
        "--weights",
        nargs="+",
        default=list(SHIPPED),
        metavar="W.safetensors",
        help="networks (default: those that ship)",
    )
    parser.add_argument(
        "--alarms",
        type=float,
        default=0.065,
        metavar="SHARE",
        help="share of rooms with an alarm at the default min_person_score (default 0.065)",
    )
    parser.add_argument("--write", action="store_true", help="put the weights into the files")
    args = parser.parse_args()

    use_threads(1)
    configs = [EstimatorConfig(weights=weights, threads=1) for weights in args.weights]
    estimators = [PoseEstimator(config) for config in configs]

    rooms = fitting.open_rooms(args.work / "rooms_person_score", args.data)
    pictures = fitting.tune_pictures(args.data, rooms)
    shown = Progress(pictures, desc="detections", unit="picture", mininterval=20)
    for config, rows in zip(configs, fitting.collect(estimators, shown)):
        print_table(f"{config.weights}: people found and alarms, % of pictures", compare(rows))
        score = fitting.shifted(fitting.fit(rows), rows, args.alarms)
        print(score)
        np.savez(args.work / f"person_score_{Path(config.weights).stem}.npz", **rows._asdict())
        if args.write:
            write(network_and_detector(config)[0], score)

    return 0


if __name__ == "__main__":
    sys.exit(main())
