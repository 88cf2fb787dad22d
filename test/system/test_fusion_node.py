# SPDX-License-Identifier: Apache-2.0
"""The process of the node `lifting_fusion`: it starts, ends after a signal, and refuses bad
parameters in one line."""

from __future__ import annotations

import signal

import pytest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_node_ends_after_a_signal(processes, number):
    node = processes.start(
        "fusion_node", "--ros-args", "-p", "cameras:=[front, side]", "-p", "frame:=room"
    )
    node.wait_for("/front/lifting/skeletons_3d, /side/lifting/skeletons_3d, fused in room")
    assert node.stop(number) == 0
    assert "Traceback" not in node.output


def test_node_without_cameras_is_one_line(processes):
    node = processes.start("fusion_node", "--ros-args", "-p", "frame:=room")
    assert node.wait() == 2
    assert node.output == (
        "lifting_fusion: cameras: expected the names of two cameras or more, got ['']\n"
    )
