# SPDX-License-Identifier: Apache-2.0
"""Images and their depth images find each other; warnings and queues keep their word."""

from __future__ import annotations

import numpy as np
import pytest
from ros_support import image

from lifting_ros.ros.inputs import DepthPairs, stamp_ns
from lifting_ros.ros.runtime import NewestQueue, Throttle

MS = 10**6


def at(milliseconds: float):
    message = image(np.zeros((2, 2), np.uint8), "mono8")
    message.header.stamp.sec, message.header.stamp.nanosec = 7, round(milliseconds * MS)
    return message


def stamps(jobs) -> list:
    """Milliseconds of images and of their depth images."""

    def ms(message):
        return None if message is None else (stamp_ns(message) - 7 * 10**9) / MS

    return [(ms(job.message), ms(job.depth)) for job in jobs]


def test_whichever_comes_first_the_two_of_one_moment_meet():
    pairs = DepthPairs(0.02)
    assert pairs.add_image(at(100)) == []
    assert stamps(pairs.add_depth(at(101))) == [(100, 101)]
    assert pairs.add_depth(at(133)) == []
    assert stamps(pairs.add_image(at(133))) == [(133, 133)]


def test_nearest_depth_within_tolerance_is_paired():
    pairs = DepthPairs(0.02)
    for ms in (60, 95, 108):
        assert pairs.add_depth(at(ms)) == []
    assert stamps(pairs.add_image(at(100))) == [(100, 95)]
    assert pairs.add_image(at(200)) == [] and pairs.add_depth(at(221)) == []


def test_an_image_without_depth_goes_on_when_the_next_one_comes():
    pairs = DepthPairs(0.02)
    assert pairs.add_image(at(100)) == []
    assert stamps(pairs.add_image(at(133))) == [(100, None)]
    assert stamps(pairs.add_depth(at(133))) == [(133, 133)]


@pytest.mark.parametrize("size", [1, 3])
def test_a_full_queue_gives_up_its_oldest_and_says_so(size):
    queue = NewestQueue(size)
    assert [queue.put(n) for n in range(5)] == [False] * size + [True] * (5 - size)
    assert [queue.get() for _ in range(size)] == list(range(5 - size, 5))
    queue.close()
    assert queue.get() is None


def test_each_kind_of_warning_is_said_once_a_period():
    said, period = [], [1e9]
    warn = Throttle(said.append, lambda: period[0])
    for _ in range(3):
        warn("image not used: step: 1")
        warn("frame failed: ValueError: 2")
    assert said == ["image not used: step: 1", "frame failed: ValueError: 2"]
    period[0] = 0.0
    warn("image not used: step: 3")
    assert said[-1] == "image not used: step: 3"
    assert len(warn._last) == 1  # what may be said again is not remembered
