# SPDX-License-Identifier: Apache-2.0
"""Measure the 2D side on the same photographs made worse in one way at a time.

PCK@0.2 of the torso through the whole estimator, and the share of persons found, with:
  half the brightness
  motion blur of 9 px
  JPEG quality 20
  a person that measures only 64 px
  30 % of the person's box behind a board; keypoints behind it count, too
  night: 1/32 of the light, with the noise of a sensor that amplifies it
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lifting_ros.cli.evaluate import common
from lifting_ros.cli.options import add_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_data(parser, "keypoints2d/")
    common.add_networks(parser)
    common.add_pictures(parser)
    common.add_seed(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from lifting_ros.research.evaluation.robustness import robustness_table

    common.check(args)
    tables = {}
    for name, estimator in common.make_estimators(args).items():
        title = common.title_of("PCK@0.2 with own boxes, photographs made worse", name)
        most = args.pictures or None
        tables[title] = robustness_table(estimator, Path(args.data), most, args.seed)
    return common.report(args, tables)
