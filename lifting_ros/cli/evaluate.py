# SPDX-License-Identifier: Apache-2.0
"""Measure on validation data that no training has seen; prints a table, writes JSON with --json.

--keypoints: PCK@0.2 of the torso (the longer diagonal from shoulder to opposite hip), mean of the joints, with true boxes after every
stage and through the whole estimator with its own detector; false alarms on pictures without people.

--lifting: virtual cameras on the validation subjects of the motion capture. Errors over 17 joints in mm (MPJPE: root aligned; N-MPJPE:
after the best scale; PA-MPJPE: after Procrustes) of the lifter's answer, of the mean of its hypotheses by weight (Bayes mean) and of the
best of them; where the error sits; calibration of the covariances: share of truths inside the ellipsoids of a level in %, and NEES a
degree of freedom. --supervised adds the baseline of `lifting train supervised`.
"""
from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keypoints", action="store_true", help="the 2D side, on the photographs of DATA")
    parser.add_argument("--lifting", action="store_true", help="the lifter, on the motion capture of DATA")
    parser.add_argument("--data", required=True, metavar="DATA", help="folder with keypoints2d/, negatives/ and mocap/")
    parser.add_argument("--work", default=".cache", metavar="WORK", help="where packs are kept (default .cache)")
    parser.add_argument("--views", type=int, default=2000, metavar="N", help="views of each lifting protocol (default 2000)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of cameras and noise (default 0)")
    parser.add_argument("--prior", default="", metavar="P.npz", help="pose prior of the lifter (default: the one that ships)")
    parser.add_argument("--supervised", default="", metavar="WEIGHTS.safetensors", help="supervised baseline to measure beside the lifter")
    parser.add_argument("--more", action="store_true", help="harder scenes too: upside down, pitched cameras, no gravity, no legs, no K")
    parser.add_argument("--plots", default="", metavar="DIR", help="folder for a picture of the reliability curves")
    parser.add_argument("--json", default="", metavar="FILE", help="write the figures here as well")


def run(args: argparse.Namespace) -> int:
    from lifting_ros.cli.main import CommandError

    if not (args.keypoints or args.lifting):
        raise CommandError("nothing to do: expected --keypoints or --lifting")
    if args.views < 1 or args.seed < 0:
        raise CommandError("--views, --seed: expected a positive number of views and a seed of at least 0")
    for option, folder in (("--plots", args.plots), ("--json", args.json and str(Path(args.json).parent))):
        if folder and not Path(folder).is_dir():
            raise CommandError(f"{option}: {folder}: the folder does not exist")
    tables = {}
    if args.keypoints:
        tables["keypoints"] = keypoint_table(Path(args.data), Path(args.work))
    if args.lifting:
        tables |= lifting_tables(args)
    for name, rows in tables.items():
        print_table(name, rows, LEFT_OUT)
    if args.json:
        write_json(Path(args.json), tables)
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


def lifting_tables(args: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """Tables of the lifter by title: errors, where they sit, joints, calibration, speed; rows by protocol."""
    from lifting_ros.core.lifting import Lifter
    from lifting_ros.core.pipeline import WEIGHTS
    from lifting_ros.core.ppca import MixturePPCA
    from lifting_ros.core.residual_mlp import SupervisedLifter
    from lifting_ros.data.mocap import read_mocap
    from lifting_ros.evaluation.calibration import calibrate, calibration_row, draw
    from lifting_ros.evaluation.lifting import error_rows, joint_errors, lift_trial, supervised_row, where_it_sits
    from lifting_ros.evaluation.virtual_cameras import MORE_PROTOCOLS, PROTOCOLS, make_trial, validation_poses

    baseline = SupervisedLifter.load(args.supervised) if args.supervised else None
    lifter = Lifter(MixturePPCA.load(args.prior or WEIGHTS / "prior.npz"))
    poses = validation_poses(read_mocap(Path(args.data) / "mocap" / "cmu17_10fps_dev.npz"), -(-args.views // 4))
    tables = {title: {} for title in LIFTING_TABLES}
    curves = {}
    for name, protocol in (PROTOCOLS | (MORE_PROTOCOLS if args.more else {})).items():
        trial = make_trial(poses, protocol, seed=args.seed)
        lifted = lift_trial(lifter, trial)
        answers = {"lifter": (lifted.poses.joints_m - lifted.poses.root_m[:, None], lifted.valid)}
        rows = error_rows(lifted, trial)
        if baseline is not None:
            rows["supervised"], joints = supervised_row(baseline, trial)
            answers["supervised"] = (joints, lifted.valid)
        curves[name] = calibrate(lifted.poses, trial.joints_m)
        error, sits, joint, calibration, speed = tables.values()
        error |= {f"{name}, {row}": values for row, values in rows.items()}
        for who, (joints, valid) in answers.items():
            sits[f"{name}, {who}"] = where_it_sits(joints[valid], trial.joints_m[valid])
            joint[f"{name}, {who}"] = joint_errors(joints[valid], trial.joints_m[valid])
        calibration |= {f"{name}, {row}": calibration_row(result) for row, result in curves[name].items()}
        speed[name] = {"poses": float(len(lifted.valid)), "poses/s": len(lifted.valid) / lifted.seconds}
    if args.plots:
        draw(curves, Path(args.plots) / "calibration.png")
    return tables


LIFTING_TABLES = ("errors, mm", "where the N-MPJPE sits, mm", "joints, mm after scale", "calibration, % inside", "speed")


LEFT_OUT = {f"{level} %" for level in range(5, 100, 5)} - {f"{level} %" for level in (10, 25, 50, 75, 90, 95)}
"""Columns for the JSON file and the picture alone."""


def print_table(title: str, rows: dict[str, dict[str, float]], left_out: frozenset[str] | set[str] = frozenset()) -> None:
    """Aligned columns but for those left out; rows with the same columns share a heading."""
    print(f"\n{title}")
    wide, columns = max(map(len, rows), default=0), None
    for row, values in rows.items():
        values = {column: value for column, value in values.items() if column not in left_out}
        if columns != list(values):
            columns = list(values)
            print(f"  {'':<{wide}}  " + "  ".join(f"{column:>6}" for column in columns))
        cells = (cell(value).rjust(max(6, len(column))) for column, value in values.items())
        print(f"  {row:<{wide}}  " + "  ".join(cells))


def cell(value: float) -> str:
    """Three significant figures, or one decimal from ten on; a count without one."""
    if value != value:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def write_json(path: Path, tables: dict) -> None:
    """Tables by title, row and column, beside `path` and then renamed; null where nothing was measured."""
    import json
    import math
    import os

    known = {t: {r: {c: v if math.isfinite(v) else None for c, v in row.items()} for r, row in rows.items()} for t, rows in tables.items()}
    beside = path.with_name(path.name + ".partial")
    try:
        beside.write_text(json.dumps(known, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
