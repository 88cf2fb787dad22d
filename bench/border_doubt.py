# SPDX-License-Identifier: Apache-2.0
"""Fits the doubt of keypoint networks about legs at the border of a picture.

On photographs held back from the trainings, cut off at several heights: the share of leg keypoints
that are reported, below the picture, in it and in it near the border, without doubt and with it,
cross-validated by photograph. --write puts the values into the files.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from functools import partial
from pathlib import Path

import numpy as np

from lifting_ros.cli.tables import print_table
from lifting_ros.device import use_threads
from lifting_ros.estimator import SHIPPED, EstimatorConfig, PoseEstimator, network_and_detector
from lifting_ros.io.checkpoint import load_tensors, save_tensors
from lifting_ros.io.progress import Progress
from lifting_ros.keypoints.border_doubt import HEADER, BorderDoubt, doubted
from lifting_ros.research.training import fit_border_doubt as fitting


def compare(rows: fitting.Rows, least: float) -> dict[str, dict[str, float]]:
    """Shares of reported keypoints in %, without and with doubt, by kind."""
    table = {}
    for name, from_logit in (
        ("without", np.zeros_like(rows.logit)),
        ("with", fitting.held_out(rows)),
    ):
        for kind, row in fitting.shares(rows, from_logit, least).items():
            table[f"{kind}, {name}"] = {
                column: value if column.endswith("count") else 100 * value
                for column, value in row.items()
            }

    return table


def write(path: Path, doubt: BorderDoubt) -> None:
    """Put the values into a network's file; what else it holds stays."""
    tensors, header = load_tensors(path)
    save_tensors(path, tensors, header | {HEADER: dataclasses.asdict(doubt)})


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", required=True, type=Path, metavar="DATA", help="folder with keypoints2d/"
    )
    parser.add_argument(
        "--weights",
        nargs="+",
        default=list(SHIPPED),
        metavar="W.safetensors",
        help="networks (default: those that ship)",
    )
    parser.add_argument("--write", action="store_true", help="put the values into the files")
    args = parser.parse_args()

    use_threads(1)
    for weights in args.weights:
        config = EstimatorConfig(weights=weights, threads=1)
        estimator = PoseEstimator(config)
        estimator.doubt_border = partial(doubted, doubt=None)
        pictures = Progress(fitting.cut_pictures(args.data), desc=weights, mininterval=20)
        rows = fitting.collect(estimator, pictures)

        table = compare(rows, config.min_keypoint_confidence)
        print_table(f"{weights}: leg keypoints reported, %", table)
        doubt = fitting.fit(rows)
        print(doubt)
        if args.write:
            write(network_and_detector(config)[0], doubt)

    return 0


if __name__ == "__main__":
    sys.exit(main())
