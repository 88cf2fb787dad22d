# SPDX-License-Identifier: Apache-2.0
"""Options that several verbs have, and their checks."""

from __future__ import annotations

import argparse
from pathlib import Path

from lifting_ros.cli.errors import CommandError

LIFTERS = ("ppca", "relative", "stereo", "supervised")
"""The names of `lifting.lifters.METHODS`, whose import is too slow for --help."""

RUNTIMES = ("auto", "torch", "openvino", "onnx")
"""The names of `runtimes.CHOICES`."""


def add_lifter(parser: argparse.ArgumentParser, *aliases: str) -> None:
    """Add --lifter, which chooses the lifter by name, and its older names."""
    parser.add_argument(
        "--lifter",
        *aliases,
        default="ppca",
        choices=LIFTERS,
        help="lifts to 3D: the prior, or a network (default ppca)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device, which says where the network runs."""
    parser.add_argument(
        "--device",
        default="auto",
        help="where the network runs: auto, cpu, cuda or cuda:n (default auto)",
    )


def add_runtime(parser: argparse.ArgumentParser) -> None:
    """Add --runtime, which says what runs the networks."""
    parser.add_argument(
        "--runtime",
        default="auto",
        choices=RUNTIMES,
        help="what runs the networks, as the parameter `runtime` (default auto)",
    )


def add_prior(parser: argparse.ArgumentParser) -> None:
    """Add --prior, the pose prior."""
    parser.add_argument(
        "--prior", default="", metavar="P.npz", help="pose prior (default: the one that ships)"
    )


def add_cameras_of_bag(parser: argparse.ArgumentParser) -> None:
    """Add BAG with the poses of several cameras, --topic and --rectified."""
    parser.add_argument("bag", metavar="BAG", type=Path, help="the bag with poses; see above")
    parser.add_argument(
        "--topic",
        action="append",
        default=[],
        metavar="TOPIC",
        help="skeletons of a camera; repeat it (default: every topic with Skeleton3DArray)",
    )
    parser.add_argument(
        "--rectified",
        action="store_true",
        help="the images were rectified: P of camera_info applies instead of K and D",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add --json, a file for the figures."""
    parser.add_argument("--json", default="", metavar="FILE", help="also write the figures here")


def add_traceback(parser: argparse.ArgumentParser) -> None:
    """Add --traceback; suppressed where absent, so that a subverb does not reset its verb's."""
    parser.add_argument(
        "--traceback",
        action="store_true",
        default=argparse.SUPPRESS,
        help="show where an error happened",
    )


def require_folder_of(option: str, path: str | Path) -> None:
    """Raise CommandError where the folder that `path` is to be written into does not exist."""
    if not Path(path).absolute().parent.is_dir():
        raise CommandError(f"{option} {path}: the folder does not exist")


def require_suffix(option: str, path: str | Path, *suffixes: str, any_case: bool = False) -> None:
    """Raise CommandError where the name of `path` does not end in one of `suffixes`, which are in
    lower case. any_case: the name may be in upper case."""
    name = str(path).lower() if any_case else str(path)
    if not name.endswith(suffixes):
        raise CommandError(f"{option} {path}: expected a name that ends in {' or '.join(suffixes)}")


def require_at_least(option: str, value: float, least: int) -> None:
    """Raise CommandError where the number given with an option is too small."""
    if value < least:
        raise CommandError(f"{option}: expected {least} or more, got {value}")
