# SPDX-License-Identifier: Apache-2.0
"""Processes that die and come again: the others go on as if nothing had been."""

from __future__ import annotations

import os
import signal

import cv2
import numpy as np
import pytest
from lifting_ros.msg import Skeleton3DArray
from system_support import stamp_ns

FRAMES = np.random.default_rng(0).integers(0, 255, (400, 24, 32, 3), np.uint8)
TIMES = 100
"""How often the images are in the folder: they last for half an hour."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """More images than the tests see, however long a node takes to start."""
    out = tmp_path_factory.mktemp("images")
    for i, frame in enumerate(FRAMES):
        file = out / f"{i:05}.png"
        cv2.imwrite(str(file), frame)
        for again in range(1, TIMES):
            os.link(file, out / f"{i + again * len(FRAMES):05}.png")
    return out


@pytest.fixture
def camera(processes, folder):
    """Function that starts a camera of 20 images a second."""

    def start():
        return processes.start(
            "replay",
            "--ros-args",
            "-p",
            f"source:={folder}",
            "-p",
            "fps:=20.0",
            "-p",
            "guess_camera:=true",
        )

    return start


def answers(peer) -> list:
    return peer.received["/lifting/skeletons_3d"]


def more_answers(peer, node, count: int = 5) -> None:
    """Wait for `count` more."""
    wanted = len(answers(peer)) + count
    peer.wait(lambda: len(answers(peer)) >= wanted, "answers", node)


@pytest.fixture(scope="module", autouse=True)
def listening(peer):
    peer.listen(Skeleton3DArray, "/lifting/skeletons_3d")


def test_a_camera_that_is_killed_and_a_new_one(processes, peer, camera):
    node, first = processes.start("node"), camera()
    more_answers(peer, node)
    first.stop(signal.SIGKILL)
    last = stamp_ns(answers(peer)[-1].header)
    second = camera()
    peer.wait(
        lambda: stamp_ns(answers(peer)[-1].header) > last + 10**9, "answers to the new camera", node
    )
    more_answers(peer, node)
    second.kill()
    assert node.stop(signal.SIGINT) == 0 and "Traceback" not in node.output


def test_a_node_that_is_killed_under_load_and_a_new_one(processes, peer, camera):
    node, source = processes.start("node"), camera()
    more_answers(peer, node)
    node.stop(signal.SIGKILL)
    second = processes.start("node")
    more_answers(peer, second)
    assert source.is_alive
    source.kill()
    assert second.stop(signal.SIGTERM) == 0 and "Traceback" not in second.output
