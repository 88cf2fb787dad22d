# SPDX-License-Identifier: Apache-2.0
"""Measure on validation data that no training has seen; print a table, and write JSON with --json.

`lifting evaluate WHAT --help` says what is measured, and in which units.
"""

from __future__ import annotations

import argparse
import importlib

from lifting_ros.cli.options import add_traceback

SUBVERBS = {
    "keypoints": "the 2D side, on the photographs of DATA",
    "robustness": "the 2D side, on photographs made worse: dark, blurred, hidden",
    "fusion": "what the fusion with the prior is worth, in 2D and 3D",
    "detector": "persons found and false alarms, on photographs and rendered scenes",
    "rendered": "2D and 3D, on rendered people with exact labels",
    "coverage": "the ellipsoids, on rendered people and videos through the whole pipeline",
    "angles": "joint angles of estimated poses, against the true joints of a video",
    "fused": "one skeleton from several cameras, on the motion capture of DATA",
    "lifting": "the pose prior's lifter in detail, on the motion capture of DATA",
    "lifters": "every lifter in one table, on the motion capture of DATA",
    "subjects": "settings of the prior, on people left out of its fit",
    "paper": "single Gaussian and mixture by action, and errors by stage, as in the paper",
    "recorded": "every lifter, on Human3.6M, MPI-INF-3DHP or Leeds Sports Pose",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    subverbs = parser.add_subparsers(dest="subverb", required=True, metavar="WHAT")
    for name, text in SUBVERBS.items():
        module = importlib.import_module(f"{__name__}.{name}")
        subparser = subverbs.add_parser(
            name,
            help=text,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(subparser)
        add_traceback(subparser)
        subparser.set_defaults(evaluate=module.run)


def run(args: argparse.Namespace) -> int:
    return args.evaluate(args)
