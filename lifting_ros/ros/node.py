# SPDX-License-Identifier: Apache-2.0
"""Entry point of the node `lifting`; see lifting_node.py."""

from __future__ import annotations

from lifting_ros.ros import signals


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; exit status 0 then, 2 for input that cannot be used."""
    signals.listen()
    from lifting_ros.ros.runtime import run_managed  # rclpy: its import takes part of a second

    description = (
        "3D human pose from images. Parameters: --ros-args --params-file config/lifting.yaml"
    )

    return run_managed("lifting_node", description, _make, args)


def _make():
    # Imported late: torch takes seconds, and wrong arguments should be reported at once.
    from lifting_ros.ros.lifting_node import LiftingNode

    return LiftingNode()


if __name__ == "__main__":
    signals.leave(main())
