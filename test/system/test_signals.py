# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM at any moment from a process's first lines to its last: exit status 0, and
nothing said but the log.

Before the first lines Python itself is starting, which no program can change: the processes here
are signalled once they listen.
"""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from ros_support import image
from sensor_msgs.msg import Image
from system_support import WAIT_S, Process

LOG = re.compile(r"\[(INFO|WARN)\] \[\d+\.\d+\] \[[\w.]+\]: ")
SHARES = (0.0, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 0.95)
"""Of the time from the first lines to the node's first word."""
RGB = np.random.default_rng(3).integers(0, 255, (240, 320, 3), np.uint8)


def listens(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM, which Python has not."""
    try:
        caught = re.search(
            r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE
        )
    except OSError:
        return False
    return caught is not None and bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def wait_until_listening(process: Process) -> float:
    """Monotonic time at which it does."""
    end = time.monotonic() + WAIT_S
    while not listens(process.pid):
        assert process.is_alive and time.monotonic() < end, process.output
        time.sleep(0.005)
    return time.monotonic()


def ends_well(process: Process) -> None:
    assert process.wait() == 0, process.output
    strange = [line for line in process.output.splitlines() if not LOG.match(line)]
    assert not strange, process.output


@pytest.fixture(scope="module")
def seconds_to_start(processes) -> float:
    """From the first lines to the node's first word."""
    node = processes.start("node")
    start = wait_until_listening(node)
    node.wait_for("images from")
    seconds = time.monotonic() - start
    node.stop(signal.SIGINT)
    ends_well(node)
    return seconds


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_the_node_starts(processes, seconds_to_start, share, number):
    node = processes.start("node")
    start = wait_until_listening(node)
    time.sleep(max(0.0, start + share * seconds_to_start - time.monotonic()))
    node.send(number)
    ends_well(node)


@pytest.mark.parametrize("pauses_s", [(0.0,), (0.003,), (0.0, 0.0), (0.0, 0.02), (0.0, 0.1, 0.1)])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_the_node_works_once_or_more(processes, peer, number, pauses_s):
    """Images come all the while: the signal meets the worker in whatever it does."""
    node = processes.start("node", "--ros-args", "-p", "lazy:=false")
    node.wait_for("images from")  # the subscription of the node before may still be counted
    images = peer.node.create_publisher(Image, "image", 1)
    peer.wait(lambda: images.get_subscription_count(), "the subscription", node)
    for second in range(20):
        message = image(RGB, "rgb8")
        message.header.stamp.sec += second
        images.publish(message)
        time.sleep(0.01)
    for pause in pauses_s:
        time.sleep(pause)
        if node.is_alive:
            node.send(number)
    ends_well(node)
    peer.node.destroy_publisher(images)
