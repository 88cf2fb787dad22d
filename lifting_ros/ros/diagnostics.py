# SPDX-License-Identifier: Apache-2.0
"""Publishes /diagnostics once a second: rates, age of the output, time per step, dropped frames by
cause."""

from __future__ import annotations

import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from rclpy.qos_overriding_options import QoSOverridingOptions

from lifting_ros.ros.runtime import STEADY

PERIOD_S = 1.0
_PAGE_BYTES = 4096
_STEPS = ("convert", "detect", "network", "lift", "transform", "track", "publish")


class Tally:
    """Counts what happened since it was last read. Thread-safe."""

    def __init__(self):
        self._lock = threading.Lock()
        self.total_dropped: Counter[str] = Counter()
        self._clear()

    def _clear(self) -> None:
        self._ages: list[float] = []
        self._steps: dict[str, list[float]] = defaultdict(list)
        self._persons = 0
        self._dropped = Counter()
        self._received = 0
        self._detected = 0
        self._followed = 0

    def received(self) -> None:
        """Count an image that arrived."""
        with self._lock:
            self._received += 1

    def dropped(self, cause: str) -> None:
        """Count an image that is not answered, or not in full."""
        with self._lock:
            self._dropped[cause] += 1
            self.total_dropped[cause] += 1

    def estimated(self, detected: bool) -> None:
        """Count an estimated image: whether the detector ran, or persons were followed."""
        with self._lock:
            if detected:
                self._detected += 1
            else:
                self._followed += 1

    def answered(self, age_s: float, seconds: Mapping[str, float], persons: int) -> None:
        """Count an answered image: its age, seconds per step and number of persons."""
        with self._lock:
            self._ages.append(age_s)
            self._persons = persons
            for step, value in seconds.items():
                self._steps[step].append(value)

    def take(self, period_s: float) -> tuple[dict[str, str], int, Counter[str]]:
        """Values by name, number of answered images, and dropped images by cause, since the last
        call."""
        with self._lock:
            ages = np.array(self._ages)
            steps = dict(self._steps)
            dropped = self._dropped
            values = {
                "input rate [Hz]": f"{self._received / period_s:.1f}",
                "rate [Hz]": f"{len(ages) / period_s:.1f}",
            }
            values["persons"] = str(self._persons)
            values["frames detected"] = str(self._detected)
            values["frames followed"] = str(self._followed)
            totals = sorted(self.total_dropped.items())
            self._clear()

        for name, share in (("p50", 50), ("p99", 99)):
            values[f"age {name} [ms]"] = (
                f"{1e3 * np.percentile(ages, share):.1f}" if len(ages) else "-"
            )

        for step in _STEPS:
            values[f"{step} [ms]"] = f"{1e3 * np.mean(steps[step]):.2f}" if step in steps else "-"

        for cause, count in totals:
            values[f"dropped, {cause}"] = str(count)

        return values, len(ages), dropped


class Part(NamedTuple):
    """What one status of the diagnostics is about: one camera."""

    name: str
    """Full name, without the slash in front."""
    tally: Tally
    describe: Callable[[], tuple[str, dict[str, str]]]
    """Returns the state and more values."""
    expected_topic: Callable[[], str]
    """Returns the topic that frames should arrive on, empty if none should."""


class Diagnostics:
    """Publishes statuses once a second, in one message."""

    def __init__(self, node: Node, statuses: Callable[[], Sequence[DiagnosticStatus]]):
        """statuses: returns those since it was last called."""
        self._node = node
        self._statuses = statuses
        overrides = QoSOverridingOptions.with_default_policies()
        self._publisher = node.create_publisher(
            DiagnosticArray, "/diagnostics", 10, qos_overriding_options=overrides
        )
        self._timer = node.create_timer(PERIOD_S, self._publish, clock=STEADY)

    def _publish(self) -> None:
        message = DiagnosticArray(status=self._statuses())
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)


def statuses_of(parts: Sequence[Part]) -> list[DiagnosticStatus]:
    """The status of each part since they were last asked for."""
    process = process_values()
    return [status_of(part, process) for part in parts]


def status_of(part: Part, process: Mapping[str, str]) -> DiagnosticStatus:
    """The status of a part since it was last asked for; process: values of the whole process."""
    values, answered, dropped = part.tally.take(PERIOD_S)
    state, more = part.describe()
    failed = {cause: count for cause, count in dropped.items() if cause.startswith("failed")}
    name = f"{part.name}: pose estimation"
    status = DiagnosticStatus(level=DiagnosticStatus.OK, name=name, message=state)

    if failed:
        status.level = DiagnosticStatus.ERROR
        status.message = f"{sum(failed.values())} frames {', '.join(failed)}"
    elif not answered and (topic := part.expected_topic()):
        # An answer may take longer than a period
        silent = values["input rate [Hz]"] == "0.0"
        problem = "no frames" if silent else "no answer yet to the frames"
        status.level = DiagnosticStatus.WARN
        status.message = f"{problem} on {topic}"
    elif others := {
        cause: count for cause, count in dropped.items() if cause != "a newer one came"
    }:
        status.level = DiagnosticStatus.WARN
        status.message = ", ".join(f"{cause} ({count})" for cause, count in others.items())

    values |= more | process
    status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
    return status


def process_values() -> dict[str, str]:
    """Memory of this process, and on the GPU where torch uses one."""
    values = {"memory [MB]": f"{memory_bytes() / 1e6:.0f}"}
    # Not every runtime needs torch, and another thread may be importing it just then
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is not None and cuda.is_available():
        values["GPU memory [MB]"] = f"{cuda.memory_reserved() / 1e6:.0f}"

    return values


def memory_bytes() -> int:
    """Resident memory of this process; 0 if the system does not report it."""
    try:
        fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
        return int(fields[1]) * _PAGE_BYTES
    except OSError:
        return 0
