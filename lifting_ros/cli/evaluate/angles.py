# SPDX-License-Identifier: Apache-2.0
"""Measure joint angles: of poses that `lifting estimate` wrote, against the video's true joints.

TRUTH.npz holds joints_m (F, 17, 3), metres, in the camera's optical frame, one row per frame of the
video; NaN where nobody is there, as walk_and_sit_truth.npz of the demo clip. In each frame the
person nearest to the true one counts.

Table by angle, in degrees: mean absolute error, bias (estimate less truth), mean standard
deviation, and the share of frames in % whose truth is within 1.645 standard deviations (right: 90).
Frames in which the angle is undefined, in the estimate or in the truth, or has no standard
deviation are left out; n is the number of the others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lifting_ros.cli.evaluate import common
from lifting_ros.cli.options import add_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("poses", type=Path, metavar="POSES.npz", help="of `lifting estimate`")
    parser.add_argument("truth", type=Path, metavar="TRUTH.npz", help="true joints; see above")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from lifting_ros.io.pose_table import read_frames
    from lifting_ros.research.evaluation.joint_angles import angle_rows, read_true_joints

    common.check(args)
    frames = read_frames(args.poses)
    truth_m = read_true_joints(args.truth, len(frames))
    return common.report(args, {"joint angles, degrees": angle_rows(frames, truth_m)})
