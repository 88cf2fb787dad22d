# SPDX-License-Identifier: Apache-2.0
"""Measure the pose prior's lifter in detail, without its correction, on views of the validation
subjects' motion capture.

Virtual cameras look at the poses. Errors are over 17 joints, in mm (MPJPE: root aligned; N-MPJPE:
after the best scale; PA-MPJPE: after Procrustes), of
  best mode                 the lifter's answer
  Bayes mean                the mean of its hypotheses, by weight
  best of the hypotheses    the one closest to the truth
Then the joints with the largest errors, and the calibration of the covariances: share of truths
inside the ellipsoids of a level in %, and NEES per degree of freedom.

--supervised adds the baseline of `lifting train supervised`. --stereo adds the stereoscopic lifter,
with and without search where its weights have view synthesis, and how good the synthesised view is
(view PCKh: share of keypoints within half a head); then the errors of the poses that the limits of
`lifting label` accept, and of those that they refuse.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.evaluate import common
from lifting_ros.cli.options import add_json, add_prior


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_data(parser, "mocap/")
    common.add_views(parser)
    add_prior(parser)
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
        "--plots", default="", metavar="DIR", help="folder for a picture of the reliability curves"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from lifting_ros.estimator import WEIGHTS
    from lifting_ros.lifting.lifting import Lifter
    from lifting_ros.lifting.residual_mlp import SupervisedLifter
    from lifting_ros.prior.ppca import MixturePPCA
    from lifting_ros.research.evaluation.calibration import draw
    from lifting_ros.research.evaluation.lifting_report import LiftingReport
    from lifting_ros.research.evaluation.stereo import variants

    common.check(args)
    if args.plots and not Path(args.plots).is_dir():
        raise CommandError(f"--plots {args.plots}: the folder does not exist")

    supervised = SupervisedLifter.load(args.supervised) if args.supervised else None
    stereo = variants(args.stereo)
    lifter = Lifter(MixturePPCA.load(args.prior or WEIGHTS / "prior.npz"))
    poses_m = common.read_validation_poses(args)

    measured = LiftingReport(lifter, supervised, stereo)
    for name, protocol in common.choose_protocols(args).items():
        measured.add(name, protocol, poses_m, args.seed)

    if args.plots:
        draw(measured.curves, Path(args.plots) / "calibration.png")
    return common.report(args, measured.tables)
