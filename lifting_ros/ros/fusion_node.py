# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node `lifting_fusion`: skeletons of several cameras in, one skeleton a person out,
in a common frame."""

from __future__ import annotations

from lifting_ros.ros import signals


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; exit status 0 then, 2 for input that cannot be used."""
    signals.listen()
    from lifting_ros.ros.runtime import run_managed  # rclpy: its import takes part of a second

    description = (
        "One skeleton a person from several cameras. Parameters: --ros-args -p cameras:=[front, "
        "rear] -p frame:=base_link ..."
    )

    return run_managed("lifting_fusion", description, _make, args)


def _make():
    from lifting_ros.ros.camera_fusion import FusionNode

    return FusionNode()


if __name__ == "__main__":
    signals.leave(main())
