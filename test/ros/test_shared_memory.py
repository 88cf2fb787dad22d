# SPDX-License-Identifier: Apache-2.0
"""The Fast DDS profile that ships is in force: a process has shared memory for whole images."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lifting_ros.cli.demo import environment

IMAGE_BYTES = 1920 * 1080 * 3

NODE = """
import re
from pathlib import Path
import rclpy
rclpy.init()
node = rclpy.create_node("memory")
print(rclpy.utilities.get_rmw_implementation_identifier())
for line in Path("/proc/self/maps").read_text().splitlines():
    found = re.match(r"(\\w+)-(\\w+) .*/dev/shm/fast(rtps|dds)_[0-9a-f]{16}$", line)
    if found:
        print(int(found[2], 16) - int(found[1], 16))
node.destroy_node()
rclpy.shutdown()
"""


def test_shared_memory_holds_whole_images():
    """The variable that names the profile depends on the version of Fast DDS."""
    names = [name for name in os.environ if name.endswith("_DEFAULT_PROFILES_FILE")]
    plain = {name: os.environ[name] for name in os.environ.keys() - names}
    ended = subprocess.run(
        [sys.executable, "-c", NODE],
        env=plain | environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    implementation, *sizes = ended.stdout.split()
    if "fastrtps" not in implementation:
        pytest.skip(f"{implementation} does not read the profile")
    assert max(map(int, sizes)) > 2 * IMAGE_BYTES
