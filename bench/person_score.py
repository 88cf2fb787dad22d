# SPDX-License-Identifier: Apache-2.0
"""Fits the person score of keypoint networks, and compares it with the score that the file holds
and with those without the linear probe and without weights.

The probe is fitted on pictures of the trainings. On pictures held back from them: the share of
people found, whole, half seen and in photographs made worse, and of the pictures of nobody with a
false alarm, cross-validated by photograph. The first rows are the score without weights and that of
the file at the default `min_person_score`; the others are all scores at the same share of alarms in
rendered rooms. --write puts probe and weights into the files, such that --alarms of the rooms have
an alarm at the default `min_person_score`.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from lifting_ros.cli.tables import print_table
from lifting_ros.device import use_threads
from lifting_ros.estimator import SHIPPED, EstimatorConfig, PoseEstimator, network_and_detector
from lifting_ros.io.arrays import read_arrays
from lifting_ros.io.checkpoint import load_tensors, save_tensors
from lifting_ros.io.progress import Progress
from lifting_ros.keypoints.person_score import (
    HEADER,
    PROBE,
    PersonScore,
    Probe,
    bounded_logit,
    logit_of,
    read_person_score,
    read_probe,
)
from lifting_ros.research.training import fit_person_score as fitting

ALARMS = (0.05, 0.03, 0.02, 0.015, 0.01)
"""Shares of rendered rooms with an alarm, at which the scores are compared."""


def compare(rows: fitting.Rows, probe: Probe, path: Path) -> dict[str, dict[str, float]]:
    """Shares by kind of picture, in %; rows by score. path: the file with the score before."""
    scores = {
        "without weights": rows.plain,
        "without probe": fitting.held_out(rows),
        "with probe": fitting.held_out(fitting.with_probe(rows, probe)),
    }
    least = EstimatorConfig().min_person_score
    table = {f"without weights, {least}": fitting.shares(rows.plain, rows, least)}

    before = read_person_score(path)
    if before is not None and before.probe > 0:
        values = logit_of(before, fitting.with_probe(rows, read_probe(path)).evidence)
        threshold = float(bounded_logit(np.array(least)))
        table[f"the file's, {least}"] = fitting.shares(values, rows, threshold)
        scores["the file's"] = values

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
        "--kept",
        action="store_true",
        help="use the detections that an earlier run with the same network kept in WORK",
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
    for weights in args.weights:
        config = EstimatorConfig(weights=weights, threads=1)
        path = network_and_detector(config)[0]
        kept = [args.work / f"person_score_{path.stem}{end}.npz" for end in ("_probe", "")]
        missing = [one for one in kept if not one.is_file()]
        if args.kept and missing:
            parser.error(f"--kept: {missing[0]} is missing")

        if not args.kept:
            collect_all(PoseEstimator(config), args.data, args.work, kept)

        # Probe
        probe = fitting.fit_probe(read_rows(kept[0]))

        # Weights
        rows = read_rows(kept[1])
        title = f"{weights}: people found and alarms, % of pictures"
        print_table(title, compare(rows, probe, path))
        probed = fitting.with_probe(rows, probe)
        score = fitting.shifted(fitting.fit(probed), probed, args.alarms)
        print(score)

        if args.write:
            write(path, score, probe)

    return 0


def collect_all(estimator: PoseEstimator, data: Path, work: Path, kept: Sequence[Path]) -> None:
    """Write the rows for the probe and those for the weights to the two files `kept`."""
    rendered = fitting.open_probe_pack(work / "probe_person_score", data)
    collect(estimator, fitting.probe_pictures(data, rendered), kept[0])

    rooms = fitting.open_rooms(work / "rooms_person_score", data)
    collect(estimator, fitting.tune_pictures(data, rooms), kept[1])


def collect(estimator: PoseEstimator, pictures: Iterable[fitting.Picture], kept: Path) -> None:
    """Write the rows of pictures to `kept`."""
    shown = Progress(pictures, desc=kept.stem, unit="picture", mininterval=20)
    rows = fitting.collect(estimator, shown)
    np.savez(kept, **rows._asdict())


def read_rows(kept: Path) -> fitting.Rows:
    """What `collect` has written; DataError in one line where it cannot be read."""
    shapes = {"evidence": ("D", 4), "deep": ("D", "c"), "plain": ("D",), "picture": ("D",)}
    return fitting.Rows(**read_arrays(kept, shapes | {"kind": ("P",), "photograph": ("P",)}))


if __name__ == "__main__":
    sys.exit(main())
