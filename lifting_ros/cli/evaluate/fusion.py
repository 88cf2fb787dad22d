# SPDX-License-Identifier: Apache-2.0
"""Measure what the fusion with the prior is worth, by its weight w.

Every network is measured with the weights it has learned, with w = 1 (the convolutional belief maps
alone) and with w = 0 (the lifted and projected maps alone), on people as they are and with 30 % of
their box behind a board. Keypoints behind the board count.

PCK@0.2 of the torso after the last stage, with true boxes, on the validation photographs of DATA;
with --rendered also MPJPE and PA-MPJPE in mm on rendered people (`lifting render --subjects
validation`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lifting_ros.cli.evaluate import common
from lifting_ros.cli.options import add_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_data(parser, "keypoints2d/")
    common.add_work(parser)
    parser.add_argument("--rendered", default="", metavar="PACK", help="folder of rendered people")
    parser.add_argument(
        "--people", type=int, default=200, metavar="N", help="use at most N people (default 200)"
    )
    common.add_networks(parser)
    common.add_pictures(parser)
    common.add_seed(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from lifting_ros.estimator import network_and_detector
    from lifting_ros.keypoints.network_weights import load_network
    from lifting_ros.research.datasets import pack
    from lifting_ros.research.evaluation.fusion import fusion_tables
    from lifting_ros.research.evaluation.synthetic_people import read_rendered
    from lifting_ros.research.training.train_network import RECIPES

    common.check(args)
    people = read_rendered(Path(args.rendered), args.people) if args.rendered else None

    tables = {}
    for name, estimator in common.make_estimators(args).items():
        file, _ = network_and_detector(estimator.config)
        network = load_network(file, estimator.prior)
        side_px = RECIPES[network.config.variant].window_px
        packs = pack.open_packs(Path(args.data), Path(args.work) / f"packs{side_px}", side_px)

        found = fusion_tables(network, estimator, packs, people, args.pictures or None, args.seed)
        tables |= {common.title_of(title, name): rows for title, rows in found.items()}

    return common.report(args, tables)
