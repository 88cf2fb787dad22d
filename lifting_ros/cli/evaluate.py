# SPDX-License-Identifier: Apache-2.0
"""Measure on validation data that no training has seen; prints a table, writes JSON with --json.

--keypoints: PCK@0.2 of the torso (the longer diagonal from shoulder to opposite hip), mean of the
keypoints, with true boxes after every
stage and through the whole estimator with its own detector; false alarms on pictures without
people. With true boxes also: PCK of each
keypoint; PCK and error in pixels of the network's input of every stage's own belief b, of the
lifted and projected one b^ and of both
together, f; keypoints taken for the other side's (within 0.2 torsos of its label, and not of their
own); share of labels inside the
50 % and 90 % ellipses of the covariances and NEES a degree of freedom, on the rows that the
covariances were not fitted on.
Upright are those whose trunk, hips' middle to neck, lies within 45 degrees of up in the image.

--robustness: PCK@0.2 through the whole estimator and persons found on the same photographs made
worse in one way at a time: half the
brightness, motion blur of 9 px, JPEG quality 20, so small that the person measures 64 px, 30 % of
the person's box behind a board
(keypoints behind it count, too), and night: a 32nd of the light, with the noise of a sensor that
amplifies it.

--synthetic PACK: rendered people (lifting render --subjects validation), from the crop of the true
box to 3D, after every stage from b and
from f, and from the exact keypoints.

--detector: persons found at an overlap (IoU) of 0.5, by the detector alone and by the whole
estimator, at the scores that it is set to, on
rendered crowds, on photographs (where the surroundings of the labelled person are known), and in
pictures and rendered rooms without
people: recall, precision, AP, persons found twice and boxes where nobody is (alarms) a picture,
share of pictures with such a box.
People of a crowd of whom less than 30 % shows count neither way: not as missed, and a box on one
neither as found nor as an alarm.
The pictures are rendered once and kept in WORK; that needs the package embreex.

--lifting: virtual cameras on the validation subjects of the motion capture. Errors over 17 joints
in mm (MPJPE: root aligned; N-MPJPE:
after the best scale; PA-MPJPE: after Procrustes) of the lifter's answer, of the mean of its
hypotheses by weight (Bayes mean) and of the
best of them; where the error sits; calibration of the covariances: share of truths inside the
ellipsoids of a level in %, and NEES a
degree of freedom. --supervised adds the baseline of `lifting train supervised`. --stereo adds the
stereoscopic lifter, of every weights
file with view synthesis the whole and the one without search, and how good the second view is (view
PCKh: keypoints within half a head);
then what the limits of `lifting label` are worth: errors of the poses that they accept and of those
they refuse.

--all: every lifter whose weights are there (parameter `lifter`), or are named with --lifter
NAME=WEIGHTS, on the same views: errors,
covariances and poses a second in one table.

--recorded PATH: every such lifter by action on Human3.6M (data_3d_h36m.npz, or the folder with
S9/MyPoses/3D_positions/*.h5; with --cameras
cameras.h5 through its own four cameras: MPJPE is protocol 1, PA-MPJPE protocol 2), on MPI-INF-3DHP
(the folder with TS1/annot_data.mat or
S1/Seq1/annot.mat), or on the depth orders of Leeds Sports Pose (the published .json). The .h5 and
the test set want the package h5py.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keypoints", action="store_true", help="the 2D side, on the photographs of DATA"
    )
    parser.add_argument(
        "--robustness",
        action="store_true",
        help="the 2D side on photographs made worse: dark, blurred, hidden",
    )
    parser.add_argument(
        "--detector",
        action="store_true",
        help="persons found and false alarms, on photographs and rendered scenes",
    )
    parser.add_argument(
        "--lifting", action="store_true", help="the lifter, on the motion capture of DATA"
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="every lifter in one table, on the motion capture of DATA",
    )
    parser.add_argument(
        "--lifter",
        nargs="+",
        default=[],
        metavar="NAME=WEIGHTS",
        help="weights of a lifter, not those that ship (--all, --recorded)",
    )
    parser.add_argument(
        "--recorded", default="", metavar="PATH", help="every lifter, on a data set: see above"
    )
    parser.add_argument(
        "--cameras",
        default="",
        metavar="CAMERAS.h5",
        help="calibration of Human3.6M (default: virtual cameras)",
    )
    parser.add_argument(
        "--synthetic",
        default="",
        metavar="PACK",
        help="2D and 3D, on rendered windows of the validation subjects",
    )
    parser.add_argument(
        "--data",
        default="",
        metavar="DATA",
        help="folder with keypoints2d/, negatives/, body/ and mocap/",
    )
    parser.add_argument(
        "--work", default=".cache", metavar="WORK", help="where packs are kept (default .cache)"
    )
    parser.add_argument(
        "--weights",
        nargs="+",
        default=[],
        metavar="W.safetensors",
        help="other networks to measure beside the one that ships",
    )
    parser.add_argument(
        "--true-boxes",
        action="store_true",
        help="leave the detector out of --keypoints: four times as fast",
    )
    parser.add_argument(
        "--pictures",
        type=int,
        default=0,
        metavar="N",
        help="most pictures a set of --detector, --robustness (0: all)",
    )
    parser.add_argument(
        "--people", type=int, default=500, metavar="N", help="people of --synthetic (default 500)"
    )
    parser.add_argument(
        "--views",
        type=int,
        default=2000,
        metavar="N",
        help="views of each lifting protocol (default 2000)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="seed of cameras and noise (default 0)"
    )
    parser.add_argument(
        "--prior",
        default="",
        metavar="P.npz",
        help="pose prior of the lifter (default: the one that ships)",
    )
    parser.add_argument(
        "--supervised",
        default="",
        metavar="WEIGHTS.safetensors",
        help="supervised baseline to measure beside the lifter",
    )
    parser.add_argument(
        "--stereo",
        nargs="+",
        default=[],
        metavar="WEIGHTS.safetensors",
        help="stereoscopic lifters to measure beside it",
    )
    parser.add_argument(
        "--more",
        action="store_true",
        help="harder scenes too: upside down, pitched cameras, no gravity, no legs, no K",
    )
    parser.add_argument(
        "--plots", default="", metavar="DIR", help="folder for a picture of the reliability curves"
    )
    parser.add_argument("--json", default="", metavar="FILE", help="write the figures here as well")


def run(args: argparse.Namespace) -> int:
    check(args)
    tables = {}
    if args.keypoints or args.synthetic:
        tables |= network_tables(args)
    if args.robustness:
        tables |= robustness_tables(args)
    if args.detector:
        tables |= detector_tables(args)
    if args.lifting:
        tables |= lifting_tables(args)
    if args.all:
        tables |= all_lifters(args)
    if args.recorded:
        from lifting_ros.research.evaluation.recorded import read_recorded, recorded_tables

        recorded = read_recorded(
            args.recorded, args.cameras
        )  # before the lifters are made: what is wrong is told at once
        tables |= recorded_tables(named_lifters(args), recorded)
    for name, rows in tables.items():
        print_table(name, rows, LEFT_OUT)
    if args.json:
        from lifting_ros.cli.files import write_json

        write_json(args.json, tables)
    return 0


def check(args: argparse.Namespace) -> None:
    """CommandError for options that do not go together."""
    from lifting_ros.cli.main import CommandError

    of_data = args.keypoints or args.robustness or args.detector or args.lifting or args.all
    if not (of_data or args.synthetic or args.recorded):
        raise CommandError(
            "nothing to do: expected --keypoints, --robustness, --synthetic, --detector, --lifting, --all or --recorded"
        )
    if of_data and not args.data:
        raise CommandError(
            "--data: --keypoints, --robustness, --detector, --lifting and --all want the folder of the data"
        )
    if args.views < 1 or args.seed < 0 or args.people < 1 or args.pictures < 0:
        raise CommandError(
            "--views, --people, --pictures, --seed: expected positive numbers and a seed of at least 0"
        )
    for option, folder in (
        ("--plots", args.plots),
        ("--json", args.json and str(Path(args.json).parent)),
    ):
        if folder and not Path(folder).is_dir():
            raise CommandError(f"{option}: {folder}: the folder does not exist")


def network_tables(args: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """Tables of the network that ships and of those of --weights, on photographs and on rendered
    people."""
    from lifting_ros.research.datasets.pack import open_packs
    from lifting_ros.research.evaluation.keypoint_report import keypoint_tables
    from lifting_ros.research.evaluation.synthetic_people import read_rendered, synthetic_tables
    from lifting_ros.research.training.train_network import RECIPES

    people = read_rendered(Path(args.synthetic), args.people) if args.synthetic else None
    estimators, tables = make_estimators(args), {}
    if args.keypoints:
        side = max(RECIPES[e.network.config.variant].window_px for e in estimators.values())
        packs = open_packs(Path(args.data), Path(args.work) / f"packs{side}", side)
        tables |= keypoint_tables(estimators, packs, None if args.true_boxes else Path(args.data))
    if people is not None:
        tables |= synthetic_tables(estimators, people)
    return tables


def detector_tables(args: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """Tables of persons found, with the network that ships and with those of --weights."""
    from lifting_ros.research.evaluation.detection import detection_table

    data, work = Path(args.data), Path(args.work)
    return {
        f"persons found{name and ', '}{name}": detection_table(
            estimator, data, work, args.pictures or None
        )
        for name, estimator in make_estimators(args).items()
    }


def robustness_tables(args: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """Tables of photographs made worse, with the network that ships and with those of --weights."""
    from lifting_ros.research.evaluation.robustness import robustness_table

    return {
        f"PCK@0.2 with own boxes, photographs made worse{name and ', '}{name}": robustness_table(
            estimator, Path(args.data), args.pictures or None, args.seed
        )
        for name, estimator in make_estimators(args).items()
    }


def make_estimators(args: argparse.Namespace) -> dict:
    """The estimator that ships, and one with each of --weights by the file's name; by its path
    where names are the same."""
    from lifting_ros.estimator import EstimatorConfig, PoseEstimator

    paths = [Path(part) for word in args.weights for part in word.split(",") if part]
    short = len({p.stem for p in paths}) == len(paths)
    chosen = {"": ""} | {p.stem if short else str(p): str(p) for p in paths}
    return {
        name: PoseEstimator(EstimatorConfig(weights=weights, prior=args.prior))
        for name, weights in chosen.items()
    }


def all_lifters(args: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """The table of every lifter, harder scenes too with --more."""
    from lifting_ros.research.evaluation.lifters import lifter_table
    from lifting_ros.research.evaluation.virtual_cameras import MORE_PROTOCOLS, PROTOCOLS

    protocols = PROTOCOLS | (MORE_PROTOCOLS if args.more else {})
    return {
        "lifters: mm, % inside, poses/s": lifter_table(
            named_lifters(args), held_back(args), protocols, args.seed
        )
    }


def named_lifters(args: argparse.Namespace) -> dict:
    """Every lifter whose weights are there or named, by name."""
    from lifting_ros.cli.main import CommandError
    from lifting_ros.lifting.lifter_config import LifterConfig
    from lifting_ros.lifting.lifters import METHODS, WEIGHTS, make_lifter, shipped
    from lifting_ros.prior.ppca import MixturePPCA

    given = dict(word.partition("=")[::2] for word in args.lifter)
    for name, path in given.items():
        if name not in METHODS[1:] or not path:
            raise CommandError(
                f"--lifter: expected NAME=WEIGHTS with a name of {', '.join(METHODS[1:])}, got {name!r}"
            )
    prior = MixturePPCA.load(args.prior or WEIGHTS / "prior.npz")
    names = [name for name in METHODS if name in given or name in shipped()]
    return {name: make_lifter(name, prior, LifterConfig(), given.get(name, "")) for name in names}


def held_back(args: argparse.Namespace):
    """Poses of the validation subjects for --views views."""
    from lifting_ros.research.datasets.mocap import read_mocap
    from lifting_ros.research.evaluation.virtual_cameras import validation_poses

    return validation_poses(
        read_mocap(Path(args.data) / "mocap" / "cmu17_10fps_dev.npz"), -(-args.views // 4)
    )


def lifting_tables(args: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """Tables of the lifter by title: errors, where they sit, joints, calibration, speed; rows by
    protocol."""
    from lifting_ros.estimator import WEIGHTS
    from lifting_ros.lifting.lifting import Lifter
    from lifting_ros.lifting.residual_mlp import SupervisedLifter
    from lifting_ros.prior.ppca import MixturePPCA
    from lifting_ros.research.evaluation.calibration import calibrate, calibration_row, draw
    from lifting_ros.research.evaluation.lifting import (
        error_rows,
        joint_errors,
        lift_trial,
        where_it_sits,
    )
    from lifting_ros.research.evaluation.stereo import stereo_rows, variants
    from lifting_ros.research.evaluation.virtual_cameras import (
        MORE_PROTOCOLS,
        PROTOCOLS,
        make_trial,
    )
    from lifting_ros.research.labels.label_quality import label_rows

    baseline = SupervisedLifter.load(args.supervised) if args.supervised else None
    stereo = variants(args.stereo)
    lifter = Lifter(MixturePPCA.load(args.prior or WEIGHTS / "prior.npz"))
    poses = held_back(args)
    tables = {title: {} for title in LIFTING_TABLES}
    curves = {}
    for name, protocol in (PROTOCOLS | (MORE_PROTOCOLS if args.more else {})).items():
        trial = make_trial(poses, protocol, seed=args.seed)
        lifted = lift_trial(lifter, trial)
        answers = {"lifter": (lifted.poses.joints_m - lifted.poses.root_m[:, None], lifted.valid)}
        rows = error_rows(lifted, trial)
        if baseline is not None:
            other = lift_trial(baseline, trial)
            rows["supervised"] = error_rows(other, trial)["best mode"]
            answers["supervised"] = (
                other.poses.joints_m - other.poses.root_m[:, None],
                other.valid,
            )
        curves[name] = calibrate(lifted.poses, trial.joints_m)
        error, sits, joint, calibration, speed = tables.values()
        error |= {f"{name}, {row}": values for row, values in rows.items()}
        for who, (joints, valid) in answers.items():
            sits[f"{name}, {who}"] = where_it_sits(joints[valid], trial.joints_m[valid])
            joint[f"{name}, {who}"] = joint_errors(joints[valid], trial.joints_m[valid])
        calibration |= {
            f"{name}, {row}": calibration_row(result) for row, result in curves[name].items()
        }
        speed[name] = {
            "poses": float(len(lifted.valid)),
            "poses/s": len(lifted.valid) / lifted.seconds,
        }
        for table, rows in zip(
            (error, calibration, speed), stereo_rows(stereo, trial), strict=True
        ):
            table |= {f"{name}, {row}": values for row, values in rows.items()}
        if "stereo" in stereo:
            labels = label_rows(stereo["stereo"], lifter, lifter.prior.limbs_[:, 0], trial)
            error |= {f"{name}, stereo, {row}": values for row, values in labels.items()}
    if args.plots:
        draw(curves, Path(args.plots) / "calibration.png")
    return tables


LIFTING_TABLES = (
    "errors, mm",
    "where the N-MPJPE sits, mm",
    "joints, mm after scale",
    "calibration, % inside",
    "speed",
)


LEFT_OUT = {f"{level} %" for level in range(5, 100, 5)} - {
    f"{level} %" for level in (10, 25, 50, 75, 90, 95)
}
"""Columns for the JSON file and the picture alone."""


def print_table(
    title: str, rows: dict[str, dict[str, float]], left_out: frozenset[str] | set[str] = frozenset()
) -> None:
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
    return (
        f"{value:.0f}"
        if abs(value) >= 1000
        else f"{value:.3g}"
        if abs(value) < 10
        else f"{value:.1f}"
    )
