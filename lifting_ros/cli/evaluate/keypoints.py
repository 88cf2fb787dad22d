# SPDX-License-Identifier: Apache-2.0
"""Measure the 2D side on the photographs of DATA.

Tables, in % where nothing else is said:
  keypoints      PCK@0.2 of the torso (the longer diagonal from shoulder to opposite hip), mean of
                 the keypoints: with true boxes after every stage, and through the whole estimator
                 with its own detector; false alarms on pictures without people
  with true boxes also
                 PCK of each keypoint; PCK and error in pixels of the network's input of every
                 stage's own belief b, of the lifted and projected one b^ and of both together, f;
                 keypoints taken for the other side's (within 0.2 torsos of its label, and not of
                 their own); share of labels inside the 50 % and 90 % ellipses of the covariances
                 and NEES per degree of freedom, on the rows that the covariances were not fitted on
  everyday       PCK@0.2 of 12 limb keypoints on hand-labelled photographs, where
                 DATA/keypoints2d/everyday is there
  half bodies    people cut above the hips: share found, leg keypoints reported
Upright are those whose trunk, hips' middle to neck, lies within 45 degrees of up in the image.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lifting_ros.cli.evaluate import common
from lifting_ros.cli.options import add_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_data(parser, "keypoints2d/ and negatives/")
    common.add_work(parser)
    common.add_networks(parser)
    parser.add_argument(
        "--true-boxes",
        action="store_true",
        help="true boxes only, without the detector: four times as fast",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from lifting_ros.research.datasets import pack
    from lifting_ros.research.evaluation.keypoint_report import keypoint_tables
    from lifting_ros.research.training.train_network import RECIPES

    common.check(args)
    estimators = common.make_estimators(args)

    variants = {estimator.network.config.variant for estimator in estimators.values()}
    side_px = max(RECIPES[variant].window_px for variant in variants)
    data = Path(args.data)
    packs = pack.open_packs(data, Path(args.work) / f"packs{side_px}", side_px)

    tables = keypoint_tables(estimators, packs, None if args.true_boxes else data)
    return common.report(args, tables)
