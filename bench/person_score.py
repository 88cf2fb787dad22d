# SPDX-License-Identifier: Apache-2.0
"""Fits the person score of keypoint networks, and compares it with the scores without the linear
probe and without weights.

The probe is fitted on pictures of the trainings. On pictures held back from them: the share of
people found, whole and half seen, and of the pictures of nobody with a false alarm, cross-validated
by photograph. The first row is the score without weights at the default `min_person_score`; the
others are all scores at the same share of alarms in rendered rooms. --write puts probe and weights
into the files, such that --alarms of the rooms have an alarm at the default `min_person_score`.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from lifting_ros.cli.tables import print_table
from lifting_ros.device import use_threads
from lifting_ros.estimator import SHIPPED, EstimatorConfig, PoseEstimator, network_and_detector
from lifting_ros.io.checkpoint import load_tensors, save_tensors
from lifting_ros.io.progress import Progress
from lifting_ros.keypoints.person_score import HEADER, PROBE, PersonScore, Probe
from lifting_ros.research.training import fit_person_score as fitting

ALARMS = (0.11, 0.08, 0.05, 0.025)
"""Shares of rendered rooms with an alarm, at which the scores are compared."""


def compare(rows: fitting.Rows, probe: Probe) -> dict[str, dict[str, float]]:
    """Shares by kind of picture, in %; rows by score."""
    scores = {
        "without weights": rows.plain,
        "without probe": fitting.held_out(rows),
        "with probe": fitting.held_out(fitting.with_probe(rows, probe)),
    }
    least = EstimatorConfig().min_person_score
    table = {f"without weights, {least}": fitting.shares(rows.plain, rows, least)}
    for alarms in ALARMS:
        for name, values in scores.items():
            threshold = fitting.threshold_at(values, rows, alarms)
            table[f"{name}, rooms {100 * alarms:.3g} %"] = fitting.shares(values, rows, threshold)

    return {name: {kind: 100 * share for kind, share in row.items()} for name, row in table.items()}


def write(path: Path, score: PersonScore, probe: Probe) -> None:
    """Put probe and weights into a network's file; what else it holds stays."""
    tensors, header = load_tensors(path)
    row = np.append(probe.direction, probe.constant).astype(np.float32)
    tensors[PROBE] = torch.from_numpy(row)
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
        default=0.02,
        metavar="SHARE",
        help="share of rooms with an alarm at the default min_person_score (default 0.02)",
    )
    parser.add_argument("--write", action="store_true", help="put the weights into the files")
    args = parser.parse_args()

    use_threads(1)
    rooms = fitting.open_rooms(args.work / "rooms_person_score", args.data)
    rendered = fitting.open_probe_pack(args.work / "probe_person_score", args.data)

    for weights in args.weights:
        config = EstimatorConfig(weights=weights, threads=1)
        estimator = PoseEstimator(config)
        kept = args.work / f"person_score_{Path(weights).stem}"

        # Probe
        pictures = fitting.probe_pictures(args.data, rendered)
        rows = collect(estimator, pictures, Path(f"{kept}_probe.npz"))
        probe = fitting.fit_probe(rows)

        # Weights
        pictures = fitting.tune_pictures(args.data, rooms)
        rows = collect(estimator, pictures, Path(f"{kept}.npz"))
        print_table(f"{weights}: people found and alarms, % of pictures", compare(rows, probe))
        probed = fitting.with_probe(rows, probe)
        score = fitting.shifted(fitting.fit(probed), probed, args.alarms)
        print(score)

        if args.write:
            write(network_and_detector(config)[0], score, probe)

    return 0


def collect(
    estimator: PoseEstimator, pictures: Iterable[fitting.Picture], kept: Path
) -> fitting.Rows:
    """The rows of pictures, which are written to `kept` as well."""
    shown = Progress(pictures, desc=kept.stem, unit="picture", mininterval=20)
    rows = fitting.collect(estimator, shown)
    np.savez(kept, **rows._asdict())
    return rows


if __name__ == "__main__":
    sys.exit(main())
