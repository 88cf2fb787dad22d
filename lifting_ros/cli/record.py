# SPDX-License-Identifier: Apache-2.0
"""Records topics into a bag (rosbag2, MCAP) without rosbag2, until Ctrl-C.

A topic is recorded as soon as somebody publishes it, every message as it comes, undecoded, with the
publisher's quality of service. A message's time in the bag (ns) is the stamp of its header, and
that of its arrival where it has none or zero, or is latched. BAG appears when the recording ends.
Should the disk be full before that, BAG holds what it took, and the exit status is 1. Without
TOPIC: the outputs of the node `lifting` (skeletons_2d, skeletons_3d, hypotheses, markers, info),
/tf, /tf_static and /diagnostics.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

OUTPUTS = ("skeletons_2d", "skeletons_3d", "hypotheses", "markers", "info")
"""Of the node, but for what it makes for somebody's eyes alone."""
SHARED = ("/tf", "/tf_static", "/diagnostics")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "topics", nargs="*", metavar="TOPIC", help="what to record (default: see above)"
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="BAG", help="folder of the bag; must not exist"
    )
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="TOPIC",
        help="also these images and the camera_info beside them; may be repeated",
    )
    parser.add_argument(
        "--namespace",
        default="/lifting",
        metavar="NAME",
        help="of the node's outputs (default /lifting)",
    )


def run(args: argparse.Namespace) -> int:
    from lifting_ros.cli.demo import check_ros

    check(args)
    check_ros()
    from lifting_ros.ros.recorder import record

    return record(args.out, chosen_topics(args), ["lifting record"])


def check(args: argparse.Namespace) -> None:
    """CommandError for what can be told before anything is made."""
    from lifting_ros.cli.main import CommandError

    if args.out.exists():
        raise CommandError(f"--out {args.out}: exists already")
    if not args.out.absolute().parent.is_dir():
        raise CommandError(f"--out {args.out}: the folder does not exist")
    for topic in (*args.topics, *args.image, args.namespace):
        if not re.fullmatch(r"/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", topic):
            raise CommandError(
                f"{topic}: expected a name of letters, digits and underscores, such as /camera/image_raw"
            )


def chosen_topics(args: argparse.Namespace) -> list[str]:
    """What is to be recorded, each topic once."""
    topics = args.topics or [*(f"{args.namespace}/{name}" for name in OUTPUTS), *SHARED]
    for image in args.image:
        topics = [
            *topics,
            image,
            image.removesuffix("/compressed").rpartition("/")[0] + "/camera_info",
        ]
    return list(dict.fromkeys(topics))
