# SPDX-License-Identifier: Apache-2.0
"""How the node fares, on /diagnostics once a second: rate, age of what it publishes, time of each
step, and what was dropped and why."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from rclpy.qos_overriding_options import QoSOverridingOptions

from lifting_ros.ros.runtime import STEADY

PERIOD_S = 1.0
_PAGE_BYTES = 4096
_STEPS = ("convert", "detect", "network", "lift", "transform", "track", "publish")


class Tally:
    """What happened since it was last read. Safe to use from several threads."""

    def __init__(self):
        self._lock = threading.Lock()
        self.total_dropped: Counter[str] = Counter()
        self._clear()

    def _clear(self) -> None:
        self._ages: list[float] = []
        self._steps: dict[str, list[float]] = defaultdict(list)
        self._persons, self._dropped, self._received = 0, Counter(), 0

    def received(self) -> None:
        """An image came in."""
        with self._lock:
            self._received += 1

    def dropped(self, cause: str) -> None:
        """An image is not answered, or not in full."""
        with self._lock:
            self._dropped[cause] += 1
            self.total_dropped[cause] += 1

    def answered(self, age_s: float, seconds: Mapping[str, float], persons: int) -> None:
        """An image was answered `age_s` after its stamp, by steps of so many seconds."""
        with self._lock:
            self._ages.append(age_s)
            self._persons = persons
            for step, value in seconds.items():
                self._steps[step].append(value)

    def take(self, period_s: float) -> tuple[dict[str, str], int, Counter[str]]:
        """Values by name, images answered, and images dropped by cause since the last call."""
        with self._lock:
            ages, steps, dropped = np.array(self._ages), dict(self._steps), self._dropped
            values = {
                "input rate [Hz]": f"{self._received / period_s:.1f}",
                "rate [Hz]": f"{len(ages) / period_s:.1f}",
            }
            values["persons"], totals = str(self._persons), sorted(self.total_dropped.items())
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


class Diagnostics:
    """Publishes a Tally. `describe` gives the state and more values; `expecting` says whether
    images should be coming."""

    def __init__(
        self,
        node: Node,
        describe: Callable[[], tuple[str, dict[str, str]]],
        expecting: Callable[[], str],
    ):
        self.tally = Tally()
        self._node, self._describe, self._expecting = node, describe, expecting
        overrides = QoSOverridingOptions.with_default_policies()
        self._publisher = node.create_publisher(
            DiagnosticArray, "/diagnostics", 10, qos_overriding_options=overrides
        )
        self._timer = node.create_timer(PERIOD_S, self._publish, clock=STEADY)

    def _publish(self) -> None:
        values, answered, dropped = self.tally.take(PERIOD_S)
        state, more = self._describe()
        failed = {cause: count for cause, count in dropped.items() if cause.startswith("failed")}
        name = f"{self._node.get_fully_qualified_name()[1:]}: pose estimation"
        status = DiagnosticStatus(level=DiagnosticStatus.OK, name=name, message=state)
        if failed:
            status.level, status.message = (
                DiagnosticStatus.ERROR,
                f"{sum(failed.values())} frames {', '.join(failed)}",
            )
        elif not answered and (topic := self._expecting()):
            silent = (
                values["input rate [Hz]"] == "0.0"
            )  # else they come, and are slower to work on than this looks
            status.level, status.message = (
                DiagnosticStatus.WARN,
                f"{'no frames' if silent else 'no answer yet to the frames'} on {topic}",
            )
        elif others := {
            cause: count for cause, count in dropped.items() if cause != "a newer one came"
        }:
            status.level, status.message = (
                DiagnosticStatus.WARN,
                ", ".join(f"{cause} ({count})" for cause, count in others.items()),
            )
        values |= more | {"memory [MB]": f"{memory_bytes() / 1e6:.0f}"}
        if torch.cuda.is_available():
            values["GPU memory [MB]"] = f"{torch.cuda.memory_reserved() / 1e6:.0f}"
        status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)


def memory_bytes() -> int:
    """Resident memory of this process; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except OSError:
        return 0
