# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM to any node of the package: while it is made, between callbacks, in one, and
while it is closed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from system_support import WAIT_S

TRIVIAL = """
import sys, time
from lifting_ros.ros import signals
signals.listen()
from rclpy.node import Node
from lifting_ros.ros.runtime import run, spin

class Trivial(Node):
    def __init__(self):
        super().__init__("trivial")
        say("making")
        busy(in_make)
        self.create_timer(0.01, self.tick)
    def tick(self):
        say("ticking")
        busy(in_tick)
    def close(self):
        say("closing")
        busy(in_close)

def say(what):
    if said != what:
        globals()["said"] = what
        print(what, flush=True)

def busy(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(100))

said, (in_make, in_tick, in_close) = "", map(float, sys.argv[1:])
sys.exit(run("trivial", Trivial, spin, []))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("busy_s", "word", "twice", "closes"),
    [
        ((WAIT_S, 0, 0), "making", False, False),
        ((0, 0, 0), "ticking", False, True),
        ((0, 0.3, 0), "ticking", True, True),
        ((0, 0, 0.5), "ticking", True, True),
    ],
    ids=[
        "in the constructor",
        "between callbacks",
        "in a callback, twice",
        "twice, again while it is closed",
    ],
)
def test_any_node_of_the_package(domain, number, busy_s, word, twice, closes):
    env = {**os.environ, "ROS_DOMAIN_ID": str(domain)}
    command = [sys.executable, "-c", TRIVIAL, *map(str, busy_s)]
    with subprocess.Popen(
        command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            said = []
            while word not in said:
                said.append(process.stdout.readline().strip())
                assert said[-1], process.stderr.read()
            for _ in range(2 if twice else 1):
                process.send_signal(number)
                time.sleep(0.1)
            out, err = process.communicate(timeout=WAIT_S / 2)
        finally:
            process.kill()
    assert process.returncode == 0 and not err, err
    assert ("closing" in said + out.split()) == closes


CYCLES = """
import signal, threading, time
from rclpy.node import Node
from lifting_ros.ros.runtime import run, spin

class Ticking(Node):
    def __init__(self):
        super().__init__("ticking", start_parameter_services=False)
        self.create_timer(0.0005, lambda: None)

def interrupted(node):
    threading.Timer(0.001 * (cycle % 20), signal.raise_signal, [signal.SIGTERM]).start()
    spin(node)

for cycle in range(500):
    assert run("ticking", Ticking, interrupted, []) == 0
"""


def test_a_node_is_taken_down_once_per_signal(domain):
    """With rclpy's own handlers one of some hundred such ends crashed, and one hung."""
    env = {**os.environ, "ROS_DOMAIN_ID": str(domain)}
    done = subprocess.run(
        [sys.executable, "-c", CYCLES],
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=1800,  # against hanging: it takes 20 s of processor time
    )
    assert (done.returncode, done.stdout) == (0, "")
