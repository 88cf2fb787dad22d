# SPDX-License-Identifier: Apache-2.0
"""Measure settings of the prior on people that the fit has not seen, and the spread over people.

The subjects of the motion capture are dealt to folds. For each fold the prior is fitted without its
subjects, once for each --setting, and lifts their views: N-MPJPE over 17 joints in mm with exact
keypoints, with 5 px noise and with 3 keypoints missing. Mean and standard deviation are over
subjects, each of which counts once. Choose settings by this table; figures to publish come from
data that chose nothing (`lifting evaluate recorded`, `lifting evaluate coverage`).

With --mlp, a plain MLP (after Martinez et al. 2017) is trained and measured on the same folds, and
with --correction a pose correction of each prior, from virtual pictures alone. The lifters that
ship have been trained on all but the validation subjects: a second table compares them there, with
the fits above.

Subjects who were recorded together are left out together; recordings of unknown people (cmu_unk)
are always trained on. Fits are kept in WORK/subjects, and the same command resumes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.evaluate import common
from lifting_ros.cli.options import add_json, add_prior, require_at_least

if TYPE_CHECKING:
    from lifting_ros.research.evaluation.subjects import PriorSetting

SHIPPED_SETTING = "12,40,0.35"
"""The recipe of the prior that ships."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_data(parser, "mocap/")
    common.add_work(parser)

    parser.add_argument(
        "--setting",
        nargs="+",
        default=[SHIPPED_SETTING],
        metavar="C,K,SHARE",
        help="components, basis vectors and share of generated poses of a prior"
        f" (default {SHIPPED_SETTING})",
    )
    parser.add_argument(
        "--folds",
        type=int,
        default=4,
        metavar="N",
        help="fits of each setting (default 4; 0: one for each subject)",
    )
    parser.add_argument(
        "--mlp",
        type=int,
        default=0,
        metavar="SAMPLES",
        help="also train a plain MLP on so many pictures for each fold (default 0: none)",
    )

    parser.add_argument(
        "--correction",
        type=int,
        default=0,
        metavar="SAMPLES",
        help="also train a pose correction of each prior, on so many people (default 0: none)",
    )
    parser.add_argument(
        "--every",
        type=int,
        default=1,
        metavar="N",
        help="use every N-th pose of the file (default 1: all)",
    )
    parser.add_argument(
        "--views", type=int, default=400, metavar="N", help="views of a subject (default 400)"
    )
    common.add_seed(parser)
    common.add_lifter_weights(parser)
    add_prior(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    import numpy as np

    from lifting_ros.research.datasets.mocap import find_mocap, read_mocap
    from lifting_ros.research.evaluation.subjects import Plan, subject_folds, subject_tables

    common.check(args)
    for name, least in (("folds", 0), ("mlp", 0), ("correction", 0), ("every", 1)):
        require_at_least(f"--{name}", getattr(args, name), least)
    settings = tuple(setting_of(text) for text in args.setting)

    mocap = read_mocap(find_mocap(args.data))
    mocap = mocap.select(np.arange(len(mocap.positions_m)) % args.every == 0)
    fold = subject_folds(mocap, args.folds)
    plan = Plan(mocap, fold, settings, args.mlp, args.correction, args.views, args.seed)
    tables = subject_tables(plan, common.make_lifters(args), Path(args.work) / "subjects")
    return common.report(args, tables)


def setting_of(text: str) -> PriorSetting:
    """The setting that `C,K,SHARE` names; CommandError for anything else."""
    from lifting_ros.research.evaluation.subjects import PriorSetting

    words = text.split(",")
    try:
        components, basis = map(int, words[:2])
        (share,) = map(float, words[2:])
    except ValueError:
        components, basis, share = 0, 0, 0.0
    if components < 1 or basis < 1 or not 0 <= share < 1:
        raise CommandError(
            "--setting: expected components, basis vectors and a share from 0 up to but not 1,"
            f" such as {SHIPPED_SETTING}, got {text!r}"
        )
    return PriorSetting(components, basis, share)
