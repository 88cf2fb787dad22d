# SPDX-License-Identifier: Apache-2.0
"""Fusion of frames as they arrive, each camera at its own rate."""

from __future__ import annotations

from typing import NamedTuple

from lifting_ros.multiview.fuser import SkeletonFuser
from lifting_ros.multiview.fusion_config import FusionConfig
from lifting_ros.multiview.sighting import CameraFrame
from lifting_ros.multiview.smoother import FusedSmoother
from lifting_ros.multiview.timeline import CameraStream
from lifting_ros.types import Person

KEPT_S = 1.0
"""Frames are kept for this time. An older frame means that time has gone back."""

GONE_FRAMES = 100
"""A camera is gone when none of the last frames, this many, is its own. Otherwise a camera whose
clock was ahead would keep all others out for good."""

RATE_SLACK = 0.9
"""Share of the period that is enough: stamps are not exactly regular."""


class FusedFrame(NamedTuple):
    """The persons of all cameras at one time."""

    stamp_ns: int
    persons: tuple[Person, ...]
    """In the common frame."""
    frames: tuple[CameraFrame, ...]
    """Of the cameras that were used, at that time."""
    sources: dict[int, dict[str, int]]
    """As `SkeletonFuser.sources`."""


class LiveFusion:
    """Fuses cameras at the time of the newest frame less `delay_s`.

    A camera that is newer than that is interpolated, one that is older moved with the velocities of
    its persons, for at most `max_extrapolation_s`. The output depends on the frames and their order
    alone.
    """

    def __init__(
        self,
        config: FusionConfig,
        rate_hz: float,
        delay_s: float,
        smooth: bool = False,
    ):
        self._fuser = SkeletonFuser(config)
        self._smoother = FusedSmoother(config.retention_s) if smooth else None
        self._period_ns = RATE_SLACK * 1e9 / rate_hz
        self._delay_ns = round(1e9 * delay_s)
        self._streams: dict[str, CameraStream] = {}
        self._count = 0
        self._last: dict[str, int] = {}
        """Of each camera, the number of its last frame, counted over all cameras."""
        self._newest_ns = 0
        self._fused_ns = 0

    def add(self, frame: CameraFrame) -> FusedFrame | None:
        """Add a frame of any camera; returns what is due then, if anything.

        A late or repeated frame is dropped. Where a camera goes back by more than KEPT_S, all begin
        anew: a bag is played again.
        """
        self._count += 1
        self._last[frame.camera] = self._count
        self._drop_gone()

        kept_ns = round(1e9 * KEPT_S)
        stream = self._streams.setdefault(frame.camera, CameraStream())
        if stream.stamps_ns and frame.stamp_ns < stream.stamps_ns[-1] - kept_ns:
            stream = CameraStream()
            self._streams = {frame.camera: stream}
            self._newest_ns = 0
            self._fused_ns = 0

        if not stream.add(frame):
            return None

        stream.drop_before(frame.stamp_ns - kept_ns)
        self._newest_ns = max(self._newest_ns, frame.stamp_ns)
        return self._fuse_if_due()

    def lag_s(self, frame: CameraFrame) -> float:
        """Age of a frame relative to the newest one of all cameras, if that is too old to be used;
        else 0."""
        used_ns = self._delay_ns + 1e9 * self._fuser.config.max_extrapolation_s
        behind_ns = self._newest_ns - frame.stamp_ns
        return behind_ns / 1e9 if behind_ns > used_ns else 0.0

    def _drop_gone(self) -> None:
        """Forget the cameras that are gone; time begins anew where one of them was ahead."""
        first = self._count - GONE_FRAMES
        self._streams = {
            name: stream for name, stream in self._streams.items() if self._last[name] > first
        }

        stamps = [stream.stamps_ns[-1] for stream in self._streams.values()]
        newest_ns = max(stamps, default=0)
        if newest_ns < self._newest_ns:
            self._newest_ns = newest_ns
            self._fused_ns = 0

    def _fuse_if_due(self) -> FusedFrame | None:
        stamp_ns = self._newest_ns - self._delay_ns
        since_ns = stamp_ns - self._fused_ns
        if self._fused_ns and since_ns < self._period_ns:
            return None

        self._fused_ns = stamp_ns
        fuser = self._fuser
        limit_s = fuser.config.max_extrapolation_s
        near = (stream.at(stamp_ns, limit_s) for stream in self._streams.values())
        frames = tuple(frame for frame in near if frame is not None)
        persons = fuser.fuse(stamp_ns, frames)
        if self._smoother is not None:
            persons = self._smoother.smooth(stamp_ns, persons, fuser.sources)

        return FusedFrame(stamp_ns, persons, frames, fuser.sources)
