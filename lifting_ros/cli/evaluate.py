# SPDX-License-Identifier: Apache-2.0
"""Measure on validation data that no training has seen; prints a table, writes JSON with --json.

--keypoints: PCK@0.2 of the torso (the longer diagonal from shoulder to opposite hip), mean of the joints, with true boxes after every
stage and through the whole estimator with its own detector; false alarms on pictures without people. --lifting: virtual cameras on the
validation subjects of the motion capture, errors over 17 joints in mm.
"""
from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keypoints", action="store_true", help="the 2D side, on the photographs of DATA")
    parser.add_argument("--lifting", action="store_true", help="the lifter, on the motion capture of DATA")
    parser.add_argument("--data", required=True, metavar="DATA", help="folder with keypoints2d/, negatives/ and mocap/")
    parser.add_argument("--work", default=".cache", metavar="WORK", help="where packs are kept (default .cache)")
    parser.add_argument("--views", type=int, default=1000, metavar="N", help="views of the lifting protocol (default 1000)")
    parser.add_argument("--json", default="", metavar="FILE", help="write the figures here as well")


def run(args: argparse.Namespace) -> int:
    import json

    from lifting_ros.cli.main import CommandError

    if not (args.keypoints or args.lifting):
        raise CommandError("nothing to do: expected --keypoints or --lifting")
    tables = {}
    if args.keypoints:
        tables["keypoints"] = keypoint_table(Path(args.data), Path(args.work))
    if args.lifting:
        tables["lifting"] = lifting_table(Path(args.data), args.views)
    for name, rows in tables.items():
        print_table(name, rows)
    if args.json:
        Path(args.json).write_text(json.dumps(tables, indent=1) + "\n", encoding="utf-8")
    return 0


def keypoint_table(data: Path, work: Path) -> dict[str, dict[str, float]]:
    """Rows by photo set: PCK after every stage with true boxes, PCK and share found with the own detector."""
    import numpy as np

    from lifting_ros.core.pipeline import PoseEstimator
    from lifting_ros.data.keypoints2d import PHOTO_SETS, decode_rgb, is_validation, read_photo_set, read_tar
    from lifting_ros.data.pack import open_packs
    from lifting_ros.evaluation.keypoints import false_alarms, pck_own_detector, pck_true_boxes

    estimator, rows = PoseEstimator(), {}
    packs = {p.name: p for p in open_packs(data, work / "packs")}
    for name in PHOTO_SETS:
        photos = read_photo_set(data / "keypoints2d", name)
        stages = np.nanmean(pck_true_boxes(estimator.network, packs[name]), 1)
        own, found = pck_own_detector(estimator, photos, np.flatnonzero(is_validation(photos)))
        rows[name] = {f"stage {s + 1}": float(v) for s, v in enumerate(stages)} | {"own boxes": float(np.nanmean(own)), "found": found}
    files = read_tar(data / "negatives" / "images.tar")
    held = [name for i, name in enumerate(np.load(data / "negatives" / "names.npz", allow_pickle=False)["names"]) if i % 9 == 8]
    alarms = false_alarms(estimator, [decode_rgb(files[str(n)], str(n)) for n in held])
    rows["negatives"] = {"pictures": float(len(held)), "false alarms": float(alarms)}
    return rows


def lifting_table(data: Path, count: int) -> dict[str, dict[str, float]]:
    """Rows by protocol: errors in mm, coverage in %, poses a second."""
    import numpy as np

    from lifting_ros.core.lifting import Lifter
    from lifting_ros.core.pipeline import WEIGHTS
    from lifting_ros.core.ppca import MixturePPCA
    from lifting_ros.data.mocap import read_mocap
    from lifting_ros.evaluation.lifting import PROTOCOLS, evaluate_lifting
    from lifting_ros.evaluation.virtual_cameras import make_views

    mocap = read_mocap(data / "mocap" / "cmu17_10fps_dev.npz")
    held = mocap.positions_m[mocap.validation_rows()]
    if not len(held):
        raise ValueError("mocap: none of the validation subjects is in the file")
    chosen = held[np.linspace(0, len(held) - 1, min(len(held), -(-count // 4))).astype(int)]
    views, lifter = make_views(chosen), Lifter(MixturePPCA.load(WEIGHTS / "prior.npz"))
    return {name: evaluate_lifting(lifter, views, *protocol) for name, protocol in PROTOCOLS.items()}


def print_table(name: str, rows: dict[str, dict[str, float]]) -> None:
    """One line a row; every row says its own columns."""
    print(f"\n{name}")
    for row, values in rows.items():
        cells = (f"{column} {value:.3g}" if abs(value) < 10 else f"{column} {value:.1f}" for column, value in values.items())
        print(f"  {row:<12}" + "  ".join(cells))
