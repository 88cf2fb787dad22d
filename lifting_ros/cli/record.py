# SPDX-License-Identifier: Apache-2.0
"""Record topics into a bag (rosbag2, MCAP) without rosbag2, until Ctrl-C.

A topic is recorded as soon as somebody publishes it, with the publisher's quality of service;
messages are not decoded. A message's time in the bag (ns) is the stamp of its header; it is that of
its arrival where the message has no stamp or a zero one, or is latched. BAG appears when the
recording ends. Should the disk be full before that, BAG holds what could be written, and the exit
status is 1. Without TOPIC: the outputs of the node `lifting` (skeletons_2d, skeletons_3d,
hypotheses, markers, joint_states, urdf, info), /tf, /tf_static and /diagnostics.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.options import require_folder_of
from lifting_ros.cli.topics import camera_info_beside

OUTPUTS = (
    "skeletons_2d",
    "skeletons_3d",
    "hypotheses",
    "markers",
    "joint_states",
    "urdf",
    "info",
)
"""Topics of the node, without the images that it draws."""
SHARED = ("/tf", "/tf_static", "/diagnostics")
"""Topics beside the node's."""


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
        help="namespace of the node's outputs (default /lifting)",
    )


def run(args: argparse.Namespace) -> int:
    from lifting_ros.cli.demo import check_ros

    check(args)
    check_ros()

    from lifting_ros.ros.recorder import record

    return record(args.out, chosen_topics(args), ["lifting record"])


def check(args: argparse.Namespace) -> None:
    """Raise CommandError for what is wrong before anything is made."""
    if args.out.exists():
        raise CommandError(f"--out {args.out}: exists already")

    require_folder_of("--out", args.out)

    for topic in (*args.topics, *args.image, args.namespace):
        if not re.fullmatch(r"/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", topic):
            raise CommandError(
                f"{topic}: expected a name of letters, digits and underscores,"
                " such as /camera/image_raw"
            )


def chosen_topics(args: argparse.Namespace) -> list[str]:
    """The topics to record, each once."""
    topics = list(args.topics)
    if not topics:
        topics = [f"{args.namespace}/{name}" for name in OUTPUTS]
        topics += SHARED
    for image in args.image:
        topics += [image, camera_info_beside(image)]
    return list(dict.fromkeys(topics))
