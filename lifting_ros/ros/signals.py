# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM: a signal requests shutdown; it never raises.

While the process starts, a signal ends it at once with status 0: there is nothing to clean up.
While it works, the request is remembered, and the loops in runtime.py end. Further signals are
ignored: ros2 launch repeats the terminal's SIGINT.

`listen` must be called before rclpy is imported, because the import takes long. The
handlers of rclpy are not installed. They end the context on another thread. If the main thread
destroys the node at that moment, the process crashes or hangs.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_starting = True
_asked = False


def listen() -> None:
    """Install the handlers; call it first in a process."""
    global _starting, _asked
    _starting = True
    _asked = False
    for number in SIGNALS:
        signal.signal(number, _on_signal)

    atexit.register(_ignore)  # a signal during Python's exit would kill the process


def started() -> None:
    """Remember signals from here on instead of exiting."""
    global _starting
    _starting = False


def asked() -> bool:
    """Whether a signal has arrived since `started`."""
    return _asked


def leave(status: int) -> NoReturn:
    """End the process with `status`, once nodes and files are closed, without Python's own end.

    That takes apart the modules of torch and others, most of a second of processor time, which on
    a loaded robot can be longer than what started the node is willing to wait.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _on_signal(number, frame) -> None:
    global _asked
    if _starting:
        os._exit(0)
    _asked = True


def _ignore() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
