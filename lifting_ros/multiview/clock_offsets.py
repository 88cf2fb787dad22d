# SPDX-License-Identifier: Apache-2.0
"""By how much the clocks of cameras differ, from people who move before two of them.

With the right offset both cameras agree on where people are. For each of a grid of offsets the
relative pose of two cameras is estimated anew; its score, the number of keypoints that agree, is
largest at the right one. The steps of the grid are frames of the second camera, so that all offsets
are interpolated alike. The vertex of the parabola through the scores around the best is the answer,
where both halves of the recording say nearly the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lifting_ros.multiview.camera_poses import CameraPosesError, tracks_by_time
from lifting_ros.multiview.fusion_config import FusionConfig
from lifting_ros.multiview.relative_pose import LEAST_FRAMES, evenly, relative_pose
from lifting_ros.multiview.timeline import CameraStream

MOST_TIMES = 300
"""Frames of the first camera that are looked at, evenly spread."""

COARSE_S = 0.12
"""First step of the grid."""

AROUND_S = 0.17
"""Offsets on each side of the best one that the parabola is fitted to."""

LEAST_BENT = 5.0
"""Least curvature of the parabola, in its standard deviations: where nobody moves there is none."""

AGREEING_S = 0.08
"""Largest difference of what the two halves of a recording say."""


class _PairOffset(NamedTuple):
    seconds: float
    """By which the second camera's stamps are later than the first one's."""
    score: float


def estimate_clock_offsets(
    names: Sequence[str], streams: Sequence[CameraStream], longest_s: float
) -> np.ndarray:
    """(C,) seconds by which the stamps of each camera are later than those of the first one, at
    most `longest_s`; 0 for the first.

    names, streams: as in `estimate_camera_poses`. CameraPosesError where people do not determine
    the offset of a camera.
    """
    offsets = {0: 0.0}
    pairs: dict[tuple[int, int], _PairOffset | None] = {}
    while len(offsets) < len(streams):
        found = {}
        for known in offsets:
            for camera in range(len(streams)):
                if camera in offsets:
                    continue
                pair = known, camera
                if pair not in pairs:
                    pairs[pair] = _pair_offset(streams[known], streams[camera], longest_s)
                if (offset := pairs[pair]) is not None:
                    found[pair] = offset

        if not found:
            others = ", ".join(name for k, name in enumerate(names) if k not in offsets)
            raise CameraPosesError(
                f"{others}: the people do not determine the clock's offset within {longest_s:g} s"
            )
        first, second = max(found, key=lambda pair: found[pair].score)
        offsets[second] = offsets[first] + found[first, second].seconds

    return np.array([offsets[camera] for camera in range(len(streams))])


def _pair_offset(first: CameraStream, second: CameraStream, longest_s: float) -> _PairOffset | None:
    """Offset of the second camera; None where no offset is better than those around it."""
    if len(second.stamps_ns) < 2:
        return None

    # Times that both have with every offset: otherwise what is shared would decide
    reach_ns = round(1e9 * longest_s)
    inner = [
        stamp
        for stamp in first.stamps_ns
        if all(second.at(stamp + way, 0.0) is not None for way in (-reach_ns, reach_ns))
    ]
    if len(inner) < 2 * LEAST_FRAMES:
        return None

    stamps = [inner[index] for index in evenly(len(inner), MOST_TIMES)]
    scores = _Scores(first, second, stamps)
    best = _best(scores, reach_ns)
    if best is None:
        return None

    # Both halves of the recording have to say nearly the same
    middle = len(stamps) // 2
    halves = [stamps[:middle], stamps[middle:]]
    found = [scores.vertex_s(best)]
    found += [_Scores(first, second, half).vertex_s(best) for half in halves]
    if not np.ptp(found[1:]) <= AGREEING_S:  # NaN is not
        return None

    return _PairOffset(found[0], scores.of(best)) if np.isfinite(found[0]) else None


class _Scores:
    """How well two cameras agree, by the offset in frames of the second one."""

    def __init__(self, first: CameraStream, second: CameraStream, stamps: Sequence[int]):
        """stamps: times of the first camera, ns."""
        self._config = FusionConfig()
        self._second = second
        self._stamps = stamps
        self._stamps_s = (np.array(stamps) - stamps[0]) / 1e9
        self._own = tracks_by_time(first, stamps, self._config)
        self.period_ns = float(np.median(np.diff(second.stamps_ns)))
        self._scores: dict[int, float] = {}

    def of(self, frames: int) -> float:
        """The score of an offset."""
        if frames not in self._scores:
            there = [stamp + round(frames * self.period_ns) for stamp in self._stamps]
            tracks = tracks_by_time(self._second, there, self._config)
            link = relative_pose(self._own, tracks, self._stamps_s)
            self._scores[frames] = 0.0 if link is None else link.score

        return self._scores[frames]

    def vertex_s(self, best: int) -> float:
        """The vertex in seconds of the parabola through the scores around `best`; NaN where they
        are none."""
        reach = max(round(1e9 * AROUND_S / self.period_ns), 3)
        around = np.arange(-reach, reach + 1)
        values = [self.of(best + int(step)) for step in around]
        (bend, slope, _), covariance = np.polyfit(around, values, 2, cov=True)
        is_flat = bend > -LEAST_BENT * np.sqrt(covariance[0, 0])
        if is_flat or abs(slope) > -2 * bend * reach:
            return np.nan

        return float((best - slope / (2 * bend)) * self.period_ns / 1e9)


def _best(scores: _Scores, reach_ns: int) -> int | None:
    """The best offset in frames, from coarse to fine; None at the end of what is looked for."""
    most = int(reach_ns / scores.period_ns)
    stride = max(round(1e9 * COARSE_S / scores.period_ns), 1)
    best = max(range(-(most // stride) * stride, most + 1, stride), key=scores.of)
    while stride > 1:
        stride //= 2
        best = max((best - stride, best, best + stride), key=scores.of)

    return best if scores.of(best) and abs(best) < most else None
