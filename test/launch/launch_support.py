# SPDX-License-Identifier: Apache-2.0
"""Runs a launch file as `ros2 launch` does, in a process of its own: launch_support.py FILE
NAME:=VALUE ..."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LAUNCH = Path(__file__).parents[2] / "launch"
WAIT_S = 1800.0
"""A limit against hanging, not a measure."""


def environment(domain: int, logs: Path, first_on_path: str = "") -> dict[str, str]:
    """With this Python before the system's, for the executables that launch starts."""
    path = os.pathsep.join(
        filter(None, (first_on_path, str(Path(sys.executable).parent), os.environ["PATH"]))
    )
    return {
        **os.environ,
        "PATH": path,
        "ROS_DOMAIN_ID": str(domain),
        "ROS_LOG_DIR": str(logs),
        "OMP_NUM_THREADS": "1",
    }


def start(name: str, env: dict[str, str], *arguments: str) -> subprocess.Popen:
    """A launch file by its name with arguments; its output is in the pipe."""
    command = [sys.executable, __file__, str(LAUNCH / name), *arguments]
    return subprocess.Popen(
        command, cwd="/", env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def main(file: str, *arguments: str) -> int:
    import launch
    from launch.actions import IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    given = [argument.split(":=", 1) for argument in arguments]
    service = launch.LaunchService(argv=list(arguments))
    service.include_launch_description(
        launch.LaunchDescription(
            [IncludeLaunchDescription(PythonLaunchDescriptionSource(file), launch_arguments=given)]
        )
    )
    return service.run()


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this file
    sys.exit(main(*sys.argv[1:]))
