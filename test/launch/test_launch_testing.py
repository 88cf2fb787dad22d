# SPDX-License-Identifier: Apache-2.0
"""Runs the checks that are written for launch_testing. Skipped where that cannot be imported."""

import subprocess
import sys
from pathlib import Path

from launch_support import WAIT_S, environment


def test_demo_under_launch_testing(importable, domain, tmp_path):
    importable("launch_testing.launch_test, launch_ros.actions")
    check = Path(__file__).parent / "check_demo_launch.py"
    code = (
        f"import sys; sys.argv[1:] = [{str(check)!r}, '--verbose']; from "
        "launch_testing.launch_test import main; main()"
    )
    env = environment(domain, tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd="/",
        env=env,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
