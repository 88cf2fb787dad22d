# SPDX-License-Identifier: Apache-2.0
"""Shared by the nodes of this package: start and end of a process, throttled warnings, a queue."""

from __future__ import annotations

import argparse
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from lifting_ros.errors import LiftingError
from lifting_ros.memory import keep_freed_memory
from lifting_ros.ros import signals

BAD_INPUT = 2
"""Exit status for input that cannot be used."""

SIGNAL_LATENCY_S = 0.1
"""Longest wait for the middleware; after it a loop looks for a signal."""

STEADY = Clock(clock_type=ClockType.STEADY_TIME)
"""For timers that must run while simulated time is paused."""


def parse(parser: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    """The options in `argv` (program name first) without the ROS arguments.

    Ends the process with one line and status BAD_INPUT if they are invalid.
    """
    try:
        plain = remove_ros_args(argv)[1:]
    except RuntimeError as error:  # rclpy's own kinds are private
        parser.exit(BAD_INPUT, f"{parser.prog}: ROS arguments: {error}\n")

    return parser.parse_args(plain)


def run(
    name: str, make_node: Callable[[], Node], work: Callable[[Node], Any], args: list[str] | None
) -> int:
    """Create a node, run `work` until it returns or a signal arrives, close the node.

    Returns the exit status: 0 after `work` or a signal; BAD_INPUT, with one line on stderr, if
    `make_node` raises ValueError or OSError, or `work` raises LiftingError. The node's method
    `close`, if any, is called at the end.
    """
    signals.listen()
    keep_freed_memory()
    node = None
    status = 0

    try:
        status = _init(name, args)
        if status == 0:
            node = _made(name, make_node)
            status = BAD_INPUT if node is None else 0

        signals.started()
        if node is not None:
            work(node)
    except ExternalShutdownException:
        pass
    except LiftingError as error:
        status = _refuse(name, str(error))
    finally:
        _end(node)

    return status


def run_managed(
    name: str, description: str, make_node: Callable[[], Any], args: list[str] | None
) -> int:
    """`run` for a ManagedNode without options of its own.

    It starts unless its parameter `autostart` is false, and logs what the package logs. args:
    program name first; None: those of this process.
    """
    argv = sys.argv if args is None else args
    parse(argparse.ArgumentParser(name, description=description), argv)

    def make() -> Node:
        node = make_node()
        forward_log(node)
        if node.parameters.value.autostart:
            node.start()

        return node

    return run(name, make, spin, argv)


def spin(node: Node) -> None:
    """Spin `node` until a signal arrives or its context ends."""
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    try:
        while should_run(node):
            executor.spin_once(timeout_sec=SIGNAL_LATENCY_S)
    finally:
        executor.shutdown()


def should_run(node: Node) -> bool:
    """Whether no signal has arrived and the context of `node` has not ended."""
    return node.context.ok() and not signals.asked()


def _init(name: str, args: list[str] | None) -> int:
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # rclpy's own kinds are private
        return _refuse(name, f"ROS arguments: {error}")

    return 0


def _made(name: str, make_node: Callable[[], Node]) -> Node | None:
    try:
        return make_node()
    except (ValueError, OSError, ParameterException) as error:
        _refuse(name, str(error))

    return None


def _refuse(name: str, text: str) -> int:
    print(f"{name}: {(text.strip().splitlines() or ['failed'])[0]}", file=sys.stderr, flush=True)
    return BAD_INPUT


def _end(node: Node | None) -> None:
    # also where something was raised: from here on there is something to put in order
    signals.started()
    if node is not None:
        close = getattr(node, "close", None)
        if close:
            close()
        node.destroy_node()

    rclpy.try_shutdown()


class RosLog(logging.Handler):
    """Forwards what the package logs to a node's logger."""

    def __init__(self, node: Node):
        super().__init__(logging.INFO)
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record's text as information, or as a warning from that level on."""
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)


def forward_log(node: Node) -> None:
    """Let what the package logs from here on appear in the log of `node`; for entry points."""
    package = logging.getLogger("lifting_ros")
    package.setLevel(logging.INFO)
    package.addHandler(RosLog(node))


class Throttle:
    """Forwards each kind of warning at most once per period."""

    def __init__(self, warn: Callable[[str], Any], period_s: Callable[[], float]):
        self._warn = warn
        self._period_s = period_s
        self._last: dict[str, float] = {}

    def __call__(self, text: str) -> None:
        """Warn with `text`. The part before its second colon is the kind."""
        kind = ":".join(text.split(":")[:2])
        now = time.monotonic()
        period_s = self._period_s()

        if now - self._last.get(kind, -float("inf")) >= period_s:
            # a kind may hold a name that somebody sent
            self._last = {other: at for other, at in self._last.items() if now - at < period_s}
            self._last[kind] = now
            self._warn(text)


class NewestQueue:
    """A queue from the executor to one worker; when full, it drops the oldest item."""

    def __init__(self, size: int):
        self._items: deque[Any] = deque(maxlen=size)
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: Any) -> bool:
        """Add an item; never blocks. Returns whether an older item was dropped."""
        with self._changed:
            full = len(self._items) == self._items.maxlen
            self._items.append(item)
            self._changed.notify()
            return full

    def get(self) -> Any | None:
        """Wait for the oldest item and remove it; None once the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed)
            return None if self._closed else self._items.popleft()

    def take_if_full(self) -> Any | None:
        """Remove the oldest item if the queue is full; else None."""
        with self._changed:
            if len(self._items) < self._items.maxlen:
                return None
            return self._items.popleft()

    def clear(self) -> None:
        """Drop all items."""
        with self._changed:
            self._items.clear()

    def close(self) -> None:
        """Wake the worker with None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
