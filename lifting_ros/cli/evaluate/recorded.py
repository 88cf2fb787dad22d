# SPDX-License-Identifier: Apache-2.0
"""Measure every lifter on a published data set, by action.

PATH is one of:
  Human3.6M          data_3d_h36m.npz, or the folder with S9/MyPoses/3D_positions/*.h5. With
                     --cameras through its own four cameras (MPJPE is protocol 1, PA-MPJPE is
                     protocol 2), otherwise through virtual cameras.
  MPI-INF-3DHP       the folder with TS1/annot_data.mat or S1/Seq1/annot.mat
  Leeds Sports Pose  the published depth orders (.json)
The .h5 files and the test set of MPI-INF-3DHP require the package h5py. A lifter is measured if
its weights ship or are given with --lifter.
"""

from __future__ import annotations

import argparse

from lifting_ros.cli.evaluate import common
from lifting_ros.cli.options import add_json, add_prior


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="the data set; see above")
    parser.add_argument(
        "--cameras",
        default="",
        metavar="CAMERAS.h5",
        help="calibration of Human3.6M (default: virtual cameras)",
    )
    common.add_lifter_weights(parser)
    add_prior(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from lifting_ros.research.evaluation.recorded import read_recorded, recorded_tables

    common.check(args)
    # The data set comes first: bad input is reported before the lifters are loaded.
    recorded = read_recorded(args.path, args.cameras)
    lifters = common.make_lifters(args)
    return common.report(args, recorded_tables(lifters, recorded))
