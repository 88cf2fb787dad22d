# SPDX-License-Identifier: Apache-2.0
"""One node for two cameras, all as processes: each is answered, and neither costs the other
anything."""

from __future__ import annotations

import os
import signal

import cv2
import numpy as np
import pytest
from lifting_ros.msg import Skeleton3DArray
from system_support import stamp_ns

PICTURE = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
TIMES = 60_000
"""How often the picture is in the folder: a camera lasts as long as the test."""

FAST_HZ = 100.0
SLOW_HZ = 2.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same picture, more often than a camera sends it."""
    out = tmp_path_factory.mktemp("images")
    file = out / "00000.png"
    cv2.imwrite(str(file), PICTURE)
    for number in range(1, TIMES):
        os.link(file, out / f"{number:05}.png")
    return out


@pytest.fixture(scope="module")
def camera(processes, folder):
    """Function that starts the camera of a name at a rate."""

    def start(name: str, hz: float):
        parameters = {
            "source": folder,
            "fps": hz,
            "guess_camera": "true",
            "frame_id": f"{name}_optical_frame",
        }
        settings = [word for key, value in parameters.items() for word in ("-p", f"{key}:={value}")]
        return processes.start("replay", "--ros-args", "-r", f"__ns:=/{name}", *settings)

    return start


@pytest.fixture(scope="module")
def node(processes, peer, keen):
    for name in ("front", "rear"):
        peer.listen(Skeleton3DArray, topic(name))
    started = processes.start("node", "--ros-args", "-p", "cameras:=[front, rear]", *keen)
    started.wait_for("images from /front/image, /rear/image, network on")
    yield started
    assert started.stop(signal.SIGINT) == 0
    assert "Traceback" not in started.output


def topic(name: str) -> str:
    return f"/{name}/lifting/skeletons_3d"


def more_answers(peer, node, name: str, count: int = 5) -> list[Skeleton3DArray]:
    """The next `count` answers to a camera."""
    received = peer.received[topic(name)]
    before = len(received)
    peer.wait(lambda: len(received) >= before + count, f"answers to {name}", node)
    return received[before:]


def test_fast_and_slow_camera_and_the_death_of_one(peer, node, camera):
    fast = camera("front", FAST_HZ)
    camera("rear", SLOW_HZ)

    # Both are answered in their own frames
    for name in ("front", "rear"):
        for message in more_answers(peer, node, name):
            assert message.header.frame_id == f"{name}_optical_frame"
            assert len(message.skeletons) == 1

    # The slow camera gets what it sends; a slow computer gives it every other turn
    fast_before = len(peer.received[topic("front")])
    stamps = [stamp_ns(message.header) for message in more_answers(peer, node, "rear", 10)]
    fast_count = len(peer.received[topic("front")]) - fast_before
    sent = round((stamps[-1] - stamps[0]) / 1e9 * SLOW_HZ) + 1
    assert len(stamps) >= min(sent, fast_count) / 2

    # The other camera's people stay when one dies
    assert fast.stop(signal.SIGKILL) == -signal.SIGKILL
    for message in more_answers(peer, node, "rear"):
        assert len(message.skeletons) == 1

    # A new camera of that name is answered again
    last = peer.received[topic("front")][-1]
    again = camera("front", FAST_HZ)
    more_answers(peer, node, "front")
    assert stamp_ns(peer.received[topic("front")][-1].header) > stamp_ns(last.header)
    assert again.is_alive


def test_names_that_cannot_be_used_end_the_node_in_one_line(processes):
    node = processes.start("node", "--ros-args", "-p", "cameras:=[front, front]")
    assert node.wait() == 2
    assert node.output == "lifting_node: cameras: expected different names, got 'front' twice\n"
