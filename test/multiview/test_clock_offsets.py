# SPDX-License-Identifier: Apache-2.0
"""Differences of the cameras' clocks from people who walk, against those that were put in."""

import numpy as np
import pytest
from people_in_views import around, walker
from test_camera_poses import NAMES, stream_of

from lifting_ros.multiview.camera_poses import CameraPosesError
from lifting_ros.multiview.clock_offsets import estimate_clock_offsets
from lifting_ros.multiview.timeline import CameraStream

WALK = np.concatenate(
    [
        walker((-0.9, -0.5), (0.9, 0.4), 2.0),
        walker((0.9, 0.4), (-0.5, 0.9), 1.5),
        walker((-0.5, 0.9), (0.6, -0.9), 1.5),
    ]
)


def streams_of(lates_s, angles=(0, 90, 200), walk=WALK, std_px=3.0):
    rng = np.random.default_rng(0)
    views = around(angles[: len(lates_s)])
    return [
        stream_of(view, {1: walk}, rng, std_px, late_ns=round(1e9 * late))
        for view, late in zip(views, lates_s)
    ]


@pytest.mark.parametrize("late_s", [0.0, 0.19, -0.217])
def test_offset_of_a_clock_is_found(late_s):
    found = estimate_clock_offsets(NAMES[:2], streams_of((0.0, late_s)), 0.4)
    assert found[0] == 0 and found[1] == pytest.approx(late_s, abs=0.02)


def test_offsets_of_three_cameras_are_those_from_the_first():
    found = estimate_clock_offsets(NAMES, streams_of((0.05, -0.1, 0.2)), 0.5)
    assert found == pytest.approx([0, -0.15, 0.15], abs=0.02)


def test_without_noise_the_offset_is_exact_to_milliseconds():
    found = estimate_clock_offsets(NAMES[:2], streams_of((0.0, 0.1), std_px=0.5), 0.3)
    assert found[1] == pytest.approx(0.1, abs=0.008)


def test_clock_that_jumps_is_refused():
    first, second = streams_of((0.0, 0.0))
    middle = len(second.stamps_ns) // 2
    late = second.shifted(250_000_000)
    jumping = CameraStream([*second._frames[:middle], *late._frames[middle:]])
    assert estimate_clock_offsets(NAMES[:2], [first, second], 0.4)[1] == pytest.approx(0, abs=0.02)
    with pytest.raises(CameraPosesError, match="do not determine"):
        estimate_clock_offsets(NAMES[:2], [first, jumping], 0.4)


@pytest.mark.parametrize(
    ("lates_s", "walk", "longest_s"),
    [
        ((0.0, 0.0), np.repeat(WALK[:1], 60, axis=0), 0.4),  # nobody moves
        ((0.0, 0.6), WALK, 0.3),  # more than is looked for
        ((0.0, 30.0), WALK, 0.4),  # nothing in common
    ],
)
def test_what_people_leave_open_is_refused(lates_s, walk, longest_s):
    with pytest.raises(CameraPosesError, match="side: the people do not determine the clock"):
        estimate_clock_offsets(NAMES[:2], streams_of(lates_s, walk=walk), longest_s)
