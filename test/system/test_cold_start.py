# SPDX-License-Identifier: Apache-2.0
"""The very first start of the node as a process: 2D comes before 3D is compiled."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest
from lifting_ros.msg import Skeleton2DArray, Skeleton3DArray
from ros_support import image
from sensor_msgs.msg import Image

RGB = np.random.default_rng(3).integers(0, 255, (240, 320, 3), np.uint8)


@pytest.mark.slow
def test_2d_comes_before_3d_with_an_empty_cache(processes, peer, keen, tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    topics = {
        "/lifting/skeletons_2d": Skeleton2DArray,
        "/lifting/skeletons_3d": Skeleton3DArray,
    }
    for topic, kind in topics.items():
        peer.listen(kind, topic)
    flat, lifted = (peer.received[topic] for topic in topics)
    images = peer.node.create_publisher(Image, "image", 1)
    seconds = iter(range(1, 100_000))

    node = processes.start("node", "--ros-args", *keen)
    node.wait_for("in 2D alone until numerical loops are compiled")

    def sent(received: list) -> bool:
        message = image(RGB, "rgb8")
        message.header.stamp.sec = next(seconds)
        images.publish(message)
        time.sleep(0.2)
        return bool(received)

    peer.wait(lambda: sent(flat), "2D", node)
    if "3D from now on" not in node.output:
        assert [person.id for person in flat[0].skeletons] == [0] and not lifted

    node.wait_for("numerical loops are compiled: 3D from now on")
    peer.wait(lambda: sent(lifted), "3D", node)
    assert [person.id for person in lifted[0].skeletons] == [1]
    assert node.stop(signal.SIGINT) == 0 and "Traceback" not in node.output
