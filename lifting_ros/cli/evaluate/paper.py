# SPDX-License-Identifier: Apache-2.0
"""Print the tables of "Lifting from the Deep" (CVPR 2017) for this package.

Table 1: errors by action of a single Gaussian and of the mixture, on views of the validation
subjects' motion capture (exact keypoints, virtual cameras), and with --human36m on Human3.6M: its
data_3d_h36m.npz or the folder of .h5 files, with --cameras through its own cameras (MPJPE is
protocol 1). Table 2 and section 5, with --rendered: 2D and 3D errors after every stage, from its
own belief b and from the fused one f.

The single Gaussian is fitted to the training subjects as the prior that ships, with one component,
and kept in WORK; --single names another prior, such as one that was fitted to Human3.6M.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.evaluate import common
from lifting_ros.cli.options import add_json

if TYPE_CHECKING:
    from lifting_ros.research.datasets.recorded import Recorded


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_data(parser, "mocap/")
    common.add_work(parser)

    parser.add_argument(
        "--human36m", default="", metavar="PATH", help="Human3.6M, .npz or folder; see above"
    )
    parser.add_argument(
        "--cameras",
        default="",
        metavar="CAMERAS.h5",
        help="calibration of Human3.6M (default: virtual cameras)",
    )
    parser.add_argument("--rendered", default="", metavar="PACK", help="folder of rendered people")
    parser.add_argument(
        "--people", type=int, default=500, metavar="N", help="use at most N people (default 500)"
    )

    parser.add_argument(
        "--single",
        default="",
        metavar="P.npz",
        help="prior of one component (default: one is fitted)",
    )
    common.add_networks(parser)
    parser.add_argument(
        "--views", type=int, default=2000, metavar="N", help="views in all (default 2000)"
    )
    common.add_seed(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from lifting_ros.lifting.lifters import WEIGHTS
    from lifting_ros.prior.ppca import MixturePPCA
    from lifting_ros.research.datasets.mocap import find_mocap, read_mocap
    from lifting_ros.research.evaluation import paper
    from lifting_ros.research.evaluation.subjects import PriorSetting
    from lifting_ros.research.evaluation.synthetic_people import read_rendered, synthetic_tables

    # All input is read before anything is computed.
    common.check(args)
    mocap = read_mocap(find_mocap(args.data))
    human36m = read_human36m(args)
    people = read_rendered(Path(args.rendered), args.people) if args.rendered else None
    mixture = MixturePPCA.load(args.prior or WEIGHTS / "prior.npz")
    single = MixturePPCA.load(args.single) if args.single else None

    work = Path(args.work) / "paper"
    posed = PriorSetting().posed
    lifters = paper.gaussian_and_mixture(mixture, single, mocap, posed, work)
    views = paper.views_by_action(mocap, args.views, args.seed)
    tables = paper.action_tables("motion capture", lifters, views)
    if human36m is not None:
        tables |= paper.action_tables("Human3.6M", lifters, human36m)
    if people is not None:
        tables |= synthetic_tables(common.make_estimators(args), people)
    return common.report(args, tables)


def read_human36m(args: argparse.Namespace) -> Recorded | None:
    """The views of Human3.6M; None where it is not asked for."""
    from lifting_ros.research.datasets.relative_lsp import CrowdSet
    from lifting_ros.research.evaluation.recorded import read_recorded

    if not args.human36m:
        return None
    recorded = read_recorded(args.human36m, args.cameras)
    if isinstance(recorded, CrowdSet):
        raise CommandError(f"--human36m: {args.human36m}: expected 3D poses, got comparisons")
    return recorded
