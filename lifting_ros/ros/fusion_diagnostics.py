# SPDX-License-Identifier: Apache-2.0
"""What the node `lifting_fusion` says of itself in /diagnostics: rate and age of the output, people
and how many of them several cameras see, and of each camera its rate and how well it fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from lifting_ros.multiview.live import FusedFrame
from lifting_ros.multiview.reprojection import reprojection_px
from lifting_ros.ros.diagnostics import PERIOD_S


class FusionTally:
    """Counts what happened since it was last read. The executor's thread alone uses it."""

    def __init__(self):
        self.total_dropped: Counter[str] = Counter()
        self._clear()

    def _clear(self) -> None:
        self._ages: list[float] = []
        self._seconds: list[float] = []
        self._received: Counter[str] = Counter()
        self._used: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._last: FusedFrame | None = None

    def received(self, camera: str) -> None:
        """Count a frame of a camera."""
        self._received[camera] += 1

    def dropped(self, camera: str, cause: str) -> None:
        """Count a frame of a camera that is not used."""
        self._dropped[f"{camera}: {cause}"] += 1
        self.total_dropped[f"{camera}: {cause}"] += 1

    def fused(self, frame: FusedFrame, age_s: float, seconds: float) -> None:
        """Count an answer: its age, and the time that the fusion took."""
        self._ages.append(age_s)
        self._seconds.append(seconds)
        self._used.update(one.camera for one in frame.frames)
        self._last = frame

    def status(self, name: str, cameras: Sequence[str], least: float) -> DiagnosticStatus:
        """The status since the last call. name: of the node; cameras: those that are expected, none
        where the node is not active; least: confidence of a keypoint."""
        values = self._values(cameras, least)
        level, text = self._judgement(cameras)
        pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
        self._clear()
        return DiagnosticStatus(level=level, name=f"{name}: fusion", message=text, values=pairs)

    def _judgement(self, cameras: Sequence[str]) -> tuple[bytes, str]:
        if not cameras:
            return DiagnosticStatus.OK, "inactive"

        failed = [cause for cause in self._dropped if ": failed" in cause]
        if failed:
            return DiagnosticStatus.ERROR, ", ".join(failed)

        silent = [camera for camera in cameras if not self._received[camera]]
        if silent:
            return DiagnosticStatus.WARN, f"no skeletons from {', '.join(silent)}"
        if self._dropped:
            causes = [f"{cause} ({count})" for cause, count in self._dropped.items()]
            return DiagnosticStatus.WARN, ", ".join(causes)

        return DiagnosticStatus.OK, "active"

    def _values(self, cameras: Sequence[str], least: float) -> dict[str, str]:
        last = self._last
        sources = {} if last is None else last.sources
        apart: dict[str, np.ndarray] = {}
        if last is not None:
            apart = reprojection_px(last.persons, sources, last.frames, least)

        values = {
            "rate [Hz]": f"{len(self._ages) / PERIOD_S:.1f}",
            "age p50 [ms]": _milliseconds(self._ages, 50),
            "age p99 [ms]": _milliseconds(self._ages, 99),
            "fuse [ms]": f"{1e3 * np.mean(self._seconds):.2f}" if self._seconds else "-",
            "persons": str(len(sources)),
            "persons of several cameras": str(sum(len(of) > 1 for of in sources.values())),
        }
        for camera in cameras:
            values[f"{camera}: input rate [Hz]"] = f"{self._received[camera] / PERIOD_S:.1f}"
            values[f"{camera}: used rate [Hz]"] = f"{self._used[camera] / PERIOD_S:.1f}"
            px = apart.get(camera, ())
            values[f"{camera}: reprojection p50 [px]"] = f"{np.median(px):.1f}" if len(px) else "-"
        for cause, count in sorted(self.total_dropped.items()):
            values[f"dropped, {cause}"] = str(count)

        return values


def _milliseconds(seconds: Sequence[float], share: float) -> str:
    return f"{1e3 * np.percentile(seconds, share):.1f}" if seconds else "-"
