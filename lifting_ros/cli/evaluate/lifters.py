# SPDX-License-Identifier: Apache-2.0
"""Measure every lifter on the same views: errors, covariances and poses per second in one table.

Virtual cameras look at the validation subjects of the motion capture. The columns are those of
`lifting evaluate lifting`. A lifter is measured if its weights ship or are given with --lifter.
"""

from __future__ import annotations

import argparse

from lifting_ros.cli.evaluate import common
from lifting_ros.cli.options import add_json, add_prior


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_data(parser, "mocap/")
    common.add_lifter_weights(parser)
    common.add_views(parser)
    add_prior(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from lifting_ros.research.evaluation.lifters import lifter_table

    common.check(args)
    lifters = common.make_lifters(args)
    poses_m = common.read_validation_poses(args)
    table = lifter_table(lifters, poses_m, common.choose_protocols(args), args.seed)
    return common.report(args, {"lifters: mm, % inside, poses/s": table})
