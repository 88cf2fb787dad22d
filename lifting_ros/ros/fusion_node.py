# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node `lifting_fusion`: skeletons of several cameras in, one skeleton a person out,
in a common frame."""

from __future__ import annotations

import argparse
import sys

from lifting_ros.ros import signals


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; exit status 0 then, 2 for input that cannot be used."""
    signals.listen()
    from lifting_ros.ros.runtime import parse, run, spin  # rclpy: its import takes part of a second

    argv = sys.argv if args is None else args
    description = (
        "One skeleton a person from several cameras. Parameters: --ros-args -p cameras:=[front, "
        "rear] -p frame:=base_link ..."
    )
    parse(argparse.ArgumentParser("lifting_fusion", description=description), argv)
    return run("lifting_fusion", _make, spin, argv)


def _make():
    from lifting_ros.ros.camera_fusion import FusionNode
    from lifting_ros.ros.runtime import forward_log

    node = FusionNode()
    forward_log(node)
    if node.parameters.value.autostart:
        node.start()

    return node


if __name__ == "__main__":
    signals.leave(main())
