# SPDX-License-Identifier: Apache-2.0
"""Measure 2D and 3D on rendered people, from the crop of the true box to joints in mm.

PACK is what `lifting render --subjects validation` wrote. Measured after every stage, from its own
belief b and from the fused one f, and from the exact keypoints.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lifting_ros.cli.evaluate import common
from lifting_ros.cli.options import add_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pack", metavar="PACK", help="folder with rendered people")
    parser.add_argument(
        "--people", type=int, default=500, metavar="N", help="use at most N people (default 500)"
    )
    common.add_networks(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from lifting_ros.research.evaluation.synthetic_people import read_rendered, synthetic_tables

    common.check(args)
    people = read_rendered(Path(args.pack), args.people)
    estimators = common.make_estimators(args)
    return common.report(args, synthetic_tables(estimators, people))
