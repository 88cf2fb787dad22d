# SPDX-License-Identifier: Apache-2.0
"""The command `lifting`: each verb is a module beside this one, imported when it is called."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from lifting_ros.cli.options import add_traceback
from lifting_ros.errors import LiftingError, one_line
from lifting_ros.memory import keep_freed_memory

VERBS = {
    "demo": "run the node on a video or camera; ends with a bag of poses, a table and a picture",
    "estimate": "persons in an image, a folder of images, a video, a camera device or a bag",
    "bag": "add poses to a recorded bag; no image is dropped",
    "record": "record topics into a bag, without rosbag2",
    "fuse": "one skeleton a person from the poses of several calibrated cameras in a bag",
    "calibrate-cameras": "where several cameras are, from the people that they see",
    "poses": "write recorded poses for other tools: CSV, JSON, Parquet, TRC, C3D, BVH",
    "view": "show recorded poses in a 3D viewer",
    "detect": "find 2D keypoints in images",
    "lift": "lift 2D keypoints to 3D skeletons with covariances",
    "label": "make 3D labels for photographs, with quality scores and a contact sheet",
    "fleet": "run estimate, bag or label on thousands of files, on several processes or machines",
    "fit-prior": "learn the pose prior from motion capture",
    "import-prior": "convert the model file of the paper's release into a prior",
    "train": "train the network, a lifter, or image to 3D",
    "render": "render synthetic people with exact labels: windows, crowds, rooms without people",
    "evaluate": "measure keypoints, detection and lifting on validation data",
    "export": "write the detector and the network as ONNX files",
    "benchmark": "measure the speed of this machine, step by step",
}


def main(argv: list[str] | None = None) -> int:
    """Run one verb and return the exit status.

    Bad input is one line on standard error and status 2; a bug is one line and status 1. With
    --traceback the traceback stands before the line.
    """
    keep_freed_memory()
    verb, rest = split_verb(sys.argv[1:] if argv is None else argv)
    module = importlib.import_module(f"lifting_ros.cli.{verb.replace('-', '_')}")
    args = make_parser(verb, module).parse_args(rest)

    try:
        with log_shown(verb):
            return module.run(args) or 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if getattr(args, "traceback", False):
            traceback.print_exc()

        if isinstance(error, (LiftingError, OSError)):
            status = 2
            message = one_line(error)
        else:
            status = 1
            message = describe_bug(error)

    print(f"lifting {verb}: {message}", file=sys.stderr)
    return status


@contextmanager
def log_shown(verb: str) -> Iterator[None]:
    """Within the block, what the package logs is on standard error, in the verb's name."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(f"lifting {verb}: %(message)s"))
    package = logging.getLogger("lifting_ros")
    package.setLevel(logging.INFO)
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)


def split_verb(words: list[str]) -> tuple[str, list[str]]:
    """The verb and the words behind it; exits with the list of verbs where there is none."""
    parser = argparse.ArgumentParser(
        "lifting", description="Monocular 3D human pose with a probabilistic prior."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, text in VERBS.items():
        verbs.add_parser(name, help=text, add_help=False)

    verb = parser.parse_known_args(words)[0].verb
    return verb, words[words.index(verb) + 1 :]


def make_parser(verb: str, module: ModuleType) -> argparse.ArgumentParser:
    """The parser of a verb, with the options of its module and --traceback."""
    parser = argparse.ArgumentParser(
        f"lifting {verb}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    add_traceback(parser)
    return parser


def describe_bug(error: Exception) -> str:
    """One line with the kind, the text and the place of an exception that nobody expected."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = one_line(error)
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    return f"bug: {type(error).__name__}: {text} ({place}); --traceback shows where"


if __name__ == "__main__":
    sys.exit(main())
