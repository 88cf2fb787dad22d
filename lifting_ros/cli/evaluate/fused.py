# SPDX-License-Identifier: Apache-2.0
"""Measure what several cameras are worth: people of the validation subjects' motion capture before
one to four virtual cameras, 4.5 m away and 90 degrees apart, as `lifting fuse` fuses them.

Their keypoints have the errors that the shipped detector and network make on the rendered people of
PACK (`lifting render --subjects validation`), or Gaussian ones of 5 px; each camera lifts and
tracks them as the node does.

Tables: errors in mm, of joints relative to the root (MPJPE) and of absolute joints; the share of
true joints inside the ellipsoids of 50 and 90 %, relative to the root and absolute (root and joint
added, which is too large where both are triangulated); frames in which somebody is made of
two people, in 1,000; changes of ids; persons missing and twice there; CPU time of the fusion.

Another table has the shaking of joints from frame to frame (rms of second differences, mm) and the
mean error of velocities, with and without the smoothing of `lifting_fusion`.

One more table says how well `lifting calibrate-cameras` finds the cameras: median and worst error
of rotation, direction and distance from the first one, in half as many recordings; another one how
well it finds the difference of two clocks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lifting_ros.cli.evaluate import common
from lifting_ros.cli.options import add_json, require_at_least


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_data(parser, "mocap/")
    parser.add_argument(
        "--rendered", default="", metavar="PACK", help="rendered people (default: 5 px noise alone)"
    )
    parser.add_argument(
        "--scenes", type=int, default=20, metavar="N", help="scenes of 2 s (default 20)"
    )
    common.add_work(parser)
    common.add_seed(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from lifting_ros.device import use_threads
    from lifting_ros.estimator import KeypointLifter
    from lifting_ros.research.datasets.keypoint_errors import open_errors
    from lifting_ros.research.datasets.mocap import find_mocap, read_mocap
    from lifting_ros.research.evaluation.camera_placement import clock_table, placement_table
    from lifting_ros.research.evaluation.multiview import fused_tables

    common.check(args)
    require_at_least("--scenes", args.scenes, 1)
    use_threads()
    mocap = read_mocap(find_mocap(args.data))
    kinds = {"5 px noise": None}
    if args.rendered:
        kinds["errors of the network"] = open_errors(Path(args.rendered), Path(args.work))

    lifter = KeypointLifter()
    tables: common.Tables = {}
    for kind, errors in kinds.items():
        found = fused_tables(mocap, errors, lifter, args.scenes, args.seed)
        tables |= {f"{title}, {kind}": rows for title, rows in found.items()}
        recordings = max(args.scenes // 2, 1)
        placed = placement_table(mocap, errors, lifter, recordings, args.seed)
        tables[f"places of cameras, {kind}"] = placed
        clocks = clock_table(mocap, errors, lifter, recordings, args.seed)
        tables[f"clocks of cameras, {kind}"] = clocks
    return common.report(args, tables)
