# SPDX-License-Identifier: Apache-2.0
"""Measure which persons are found, by the detector alone and by the whole estimator.

On rendered crowds, on photographs (where the surroundings of the labelled person are known), and in
pictures and rendered rooms without people, at an overlap (IoU) of 0.5 and at the scores that are
set: recall, precision, AP, persons found twice and boxes where nobody is (alarms) per picture, and
the share of pictures with such a box. People of a crowd of whom less than 30 % shows do not count:
they are not missed, and a box on one is neither found nor an alarm.

The pictures are rendered once and kept in WORK, which requires the package embreex.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lifting_ros.cli.evaluate import common
from lifting_ros.cli.options import add_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_data(parser, "keypoints2d/, negatives/, body/ and mocap/")
    common.add_work(parser)
    common.add_networks(parser)
    parser.add_argument(
        "--detector",
        default="",
        metavar="D.safetensors",
        help="detector weights (default: those that ship)",
    )
    common.add_pictures(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from lifting_ros.research.evaluation.detection import detection_table

    common.check(args)
    tables = {}
    for name, estimator in common.make_estimators(args, args.detector).items():
        title = common.title_of("persons found", name)
        most = args.pictures or None
        tables[title] = detection_table(estimator, Path(args.data), Path(args.work), most)
    return common.report(args, tables)
