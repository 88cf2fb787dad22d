# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM, from a process's first lines to its last: a wish to end, never an exception
in the middle of something.

While a process starts there is nothing to put in order: it ends there and then, with status 0.
While it works the wish is remembered, and rclpy's handler, which calls this one, ends the context.
Whatever comes after that changes nothing: ros2 launch passes on the terminal's SIGINT a second
time. Before rclpy is imported, for that takes long; after it rclpy's handler stands in front, and
must not be replaced.
"""

from __future__ import annotations

import atexit
import os
import signal

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_starting, _asked = True, False


def listen() -> None:
    """Take the signals, in a process that is starting."""
    global _starting, _asked
    _starting, _asked = True, False
    for number in SIGNALS:
        if signal.getsignal(number) is not _on_signal:
            signal.signal(number, _on_signal)
    atexit.register(_ignore)  # Python's own end would let a late one kill the process


def started() -> None:
    """From here on a signal is remembered, for `asked`."""
    global _starting
    _starting = False


def asked() -> bool:
    """Whether a signal has come since `started`."""
    return _asked


def _on_signal(number, frame) -> None:
    global _asked
    if _starting:
        os._exit(0)
    _asked = True


def _ignore() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
