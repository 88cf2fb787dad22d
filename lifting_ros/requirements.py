# SPDX-License-Identifier: Apache-2.0
"""The Python packages that ROS' package manager does not install: the executables name those that
are missing before they import anything."""

import sys
from importlib.util import find_spec

from lifting_ros.paths import share_file

FROM_PIP = ("numba", "rosbags", "safetensors", "torch")
"""Modules of tools/requirements_pip.txt without which nothing works."""


def require_python_packages() -> None:
    """Ends the process with one line and exit status 2 where a package of FROM_PIP is missing."""
    missing = [module for module in FROM_PIP if find_spec(module) is None]
    if not missing:
        return

    command = f"python3 -m pip install -r {share_file('tools/requirements_pip.txt')}"
    print(f"not installed: {', '.join(missing)}. Type: {command}", file=sys.stderr)
    sys.exit(2)
