# SPDX-License-Identifier: Apache-2.0
"""Entry point of the node `lifting`; see lifting_node.py."""

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
        "3D human pose from images. Parameters: --ros-args --params-file config/lifting.yaml"
    )
    parse(argparse.ArgumentParser("lifting_node", description=description), argv)

    return run("lifting_node", _make, spin, argv)


def _make():
    # Imported late: torch takes seconds, and wrong arguments should be reported at once.
    from lifting_ros.ros.lifting_node import LiftingNode
    from lifting_ros.ros.runtime import forward_log

    node = LiftingNode()
    forward_log(node)
    if node.parameters.value.autostart:
        node.start()

    return node


if __name__ == "__main__":
    signals.leave(main())
