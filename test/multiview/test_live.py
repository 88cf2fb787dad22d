# SPDX-License-Identifier: Apache-2.0
"""Frames that arrive one by one: when they are fused, and what happens to late ones."""

from __future__ import annotations

from people_in_views import around, frames, walker

from lifting_ros.multiview.fusion_config import FusionConfig
from lifting_ros.multiview.live import GONE_FRAMES, LiveFusion

VIEWS = around((0, 90))
JOINTS = walker()
MS = 1_000_000


def arrival(camera: int, at_ms: int):
    """A frame of a camera."""
    number = min(at_ms // 34, len(JOINTS) - 1)
    return frames(VIEWS, [JOINTS[number]], None, at_ms * MS)[camera]


def fused_at(live: LiveFusion, *arrivals: tuple[int, int]) -> list[int]:
    """Times in ms at which there is an answer to (camera, time) in this order."""
    answers = [live.add(arrival(*one)) for one in arrivals]
    return [answer.stamp_ns // MS for answer in answers if answer is not None]


def test_the_rate_is_a_limit():
    live = LiveFusion(FusionConfig(), 20.0, 0.0)
    arrivals = [(camera, 1000 + 33 * k + 16 * camera) for k in range(10) for camera in (0, 1)]
    stamps = fused_at(live, *arrivals)
    steps = [b - a for a, b in zip(stamps, stamps[1:])]
    assert stamps[0] == 1000 and len(stamps) >= 6
    assert all(45 <= step <= 70 for step in steps)


def test_output_is_delayed_by_the_parameter():
    live = LiveFusion(FusionConfig(), 1000.0, 0.05)
    assert fused_at(live, (0, 1000), (1, 1010), (0, 1033)) == [950, 960, 983]


def test_late_and_repeated_frames_are_dropped():
    live = LiveFusion(FusionConfig(), 1000.0, 0.0)
    assert fused_at(live, (0, 1000), (1, 1010), (0, 1040)) == [1000, 1010, 1040]
    assert fused_at(live, (0, 1040), (0, 1030), (1, 1020)) == []
    assert live._streams["camera0"].stamps_ns == [1000 * MS, 1040 * MS]
    assert fused_at(live, (1, 1050)) == [1050]


def test_a_camera_far_behind_is_told_and_stops_no_other():
    live = LiveFusion(FusionConfig(), 1000.0, 0.0)
    assert fused_at(live, (0, 9000), (1, 2000), (0, 9033), (1, 2033)) == [9000, 9033]
    assert live.lag_s(arrival(1, 2033)) == 7.0
    assert live.lag_s(arrival(1, 9000)) == 0.0


def test_time_that_goes_back_begins_anew():
    live = LiveFusion(FusionConfig(), 1000.0, 0.0)
    assert fused_at(live, (0, 9000), (1, 9010)) == [9000, 9010]
    answers = [live.add(arrival(camera, 1000 + 10 * camera)) for camera in (0, 1)]
    assert [answer.stamp_ns // MS for answer in answers] == [1000, 1010]
    assert len(answers[1].persons) == 1


def test_a_camera_ahead_that_is_gone_does_not_stop_the_others():
    live = LiveFusion(FusionConfig(), 1000.0, 0.0)
    live.add(arrival(0, 3_600_000))
    arrivals = [(1, 1000 + 10 * k) for k in range(GONE_FRAMES + 2)]
    assert fused_at(live, *arrivals) == [time_ms for _, time_ms in arrivals[-3:]]
