# SPDX-License-Identifier: Apache-2.0
"""Launch files run for real, where launch and launch_ros can be imported. Each test talks in a ROS
domain of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("ros", "system")]
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

import conftest_ros  # noqa: E402, F401
from domains import next_domain  # noqa: E402


@pytest.fixture
def domain() -> int:
    return next_domain()


@pytest.fixture(scope="session")
def importable():
    """Skips where a module of ROS' launch cannot be imported. Tried in another process: here the
    folders launch/ look like one."""

    def check(module: str) -> None:
        done = subprocess.run(
            [sys.executable, "-c", f"import {module}"], cwd="/", capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(
                f"{module} cannot be imported (not on PyPI): {done.stderr.strip().splitlines()[-1]}"
            )

    return check
