# SPDX-License-Identifier: Apache-2.0
"""What several kinds of evaluation share: options, estimators, lifters, poses, and the report."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.options import (
    add_prior,
    require_at_least,
    require_folder_of,
)
from lifting_ros.cli.tables import print_table

if TYPE_CHECKING:
    import numpy as np

    from lifting_ros.estimator import PoseEstimator
    from lifting_ros.lifting.request import PoseLifter

Tables = dict[str, dict[str, dict[str, float]]]
"""Title -> name of a row -> name of a column -> figure."""

_PRINTED_LEVELS = (10, 25, 50, 75, 90, 95)
JSON_ONLY = {f"{level} %" for level in range(5, 100, 5) if level not in _PRINTED_LEVELS}
"""Columns that are written into the JSON file and not printed."""


def add_data(parser: argparse.ArgumentParser, content: str) -> None:
    """Add --data, the folder that holds `content`."""
    parser.add_argument("--data", required=True, metavar="DATA", help=f"folder with {content}")


def add_work(parser: argparse.ArgumentParser) -> None:
    """Add --work, the folder for what is made once."""
    parser.add_argument(
        "--work", default=".cache", metavar="WORK", help="where packs are kept (default .cache)"
    )


def add_networks(parser: argparse.ArgumentParser) -> None:
    """Add the options of an estimator: --weights and --prior."""
    parser.add_argument(
        "--weights",
        nargs="+",
        default=[],
        metavar="W.safetensors",
        help="other networks to measure beside the one that ships",
    )
    add_prior(parser)


def add_pictures(parser: argparse.ArgumentParser) -> None:
    """Add --pictures, a limit for quick looks."""
    parser.add_argument(
        "--pictures",
        type=int,
        default=0,
        metavar="N",
        help="use at most N pictures of each set (default 0: all)",
    )


def add_views(parser: argparse.ArgumentParser) -> None:
    """Add the options of virtual cameras: --views, --seed and --more."""
    parser.add_argument(
        "--views",
        type=int,
        default=2000,
        metavar="N",
        help="views of each protocol (default 2000)",
    )
    add_seed(parser)
    parser.add_argument(
        "--more",
        action="store_true",
        help="harder scenes too: upside down, pitched cameras, no gravity, no legs, no K",
    )


def add_seed(parser: argparse.ArgumentParser) -> None:
    """Add --seed."""
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="seed of cameras and noise (default 0)"
    )


def add_lifter_weights(parser: argparse.ArgumentParser) -> None:
    """Add --lifter, which replaces the weights of lifters."""
    parser.add_argument(
        "--lifter",
        nargs="+",
        default=[],
        metavar="NAME=WEIGHTS",
        help="weights of a lifter, instead of those that ship",
    )


def check(args: argparse.Namespace) -> None:
    """Raise CommandError for numbers out of range and for a folder that does not exist."""
    for name, least in (("views", 1), ("people", 1), ("pictures", 0), ("seed", 0)):
        if hasattr(args, name):
            require_at_least(f"--{name}", getattr(args, name), least)
    if args.json:
        require_folder_of("--json", args.json)


def make_estimators(args: argparse.Namespace, detector: str = "") -> dict[str, PoseEstimator]:
    """The estimator that ships, under the name "", and one for each file of --weights.

    The latter are named by the file's stem, or by its path where two stems are the same. detector:
    weights of all their detectors; empty: those that ship.
    """
    from lifting_ros.detection.detector import DetectorConfig
    from lifting_ros.device import use_threads
    from lifting_ros.estimator import EstimatorConfig, PoseEstimator

    # Files may be separated by commas as well as by spaces.
    paths = [Path(part) for word in args.weights for part in word.split(",") if part]
    stems_differ = len({path.stem for path in paths}) == len(paths)

    weights = {"": ""}
    for path in paths:
        weights[path.stem if stems_differ else str(path)] = str(path)

    use_threads()
    # The tables need the maps of every stage, which only torch gives
    common = EstimatorConfig(
        prior=args.prior, detector=DetectorConfig(weights=detector), runtime="torch"
    )
    estimators = {}
    for name, file in weights.items():
        estimators[name] = PoseEstimator(dataclasses.replace(common, weights=file))

    return estimators


def title_of(title: str, network: str) -> str:
    """The title of a table; that of another network than the one that ships ends in its name."""
    return f"{title}, {network}" if network else title


def make_lifters(args: argparse.Namespace) -> dict[str, PoseLifter]:
    """Every lifter whose weights ship or are given with --lifter, by name."""
    from lifting_ros.lifting.lifter_config import LifterConfig
    from lifting_ros.lifting.lifters import METHODS, WEIGHTS, make_lifter, shipped
    from lifting_ros.prior.ppca import MixturePPCA

    learned = METHODS[1:]
    given = dict(word.partition("=")[::2] for word in args.lifter)
    for name, path in given.items():
        if name not in learned or not path:
            raise CommandError(
                f"--lifter: expected NAME=WEIGHTS with a name of {', '.join(learned)}, got {name!r}"
            )

    prior = MixturePPCA.load(args.prior or WEIGHTS / "prior.npz")
    names = [name for name in METHODS if name in given or name in shipped()]
    return {name: make_lifter(name, prior, LifterConfig(), given.get(name, "")) for name in names}


def read_validation_poses(args: argparse.Namespace) -> np.ndarray:
    """Poses (N, 17, 3) of the validation subjects, in metres, y up; four views of each make
    --views."""
    from lifting_ros.research.datasets.mocap import find_mocap, read_mocap
    from lifting_ros.research.evaluation.virtual_cameras import validation_poses

    count = -(-args.views // 4)
    return validation_poses(read_mocap(find_mocap(args.data)), count)


def choose_protocols(args: argparse.Namespace) -> dict:
    """The protocols by name; with --more those of the harder scenes too."""
    from lifting_ros.research.evaluation.virtual_cameras import MORE_PROTOCOLS, PROTOCOLS

    return PROTOCOLS | MORE_PROTOCOLS if args.more else PROTOCOLS


def report(args: argparse.Namespace, tables: Tables) -> int:
    """Print the tables, write them where --json says, and return the exit status."""
    from lifting_ros.cli.files import write_json

    for title, rows in tables.items():
        print_table(title, rows, JSON_ONLY)
    if args.json:
        write_json(args.json, tables)
    return 0
