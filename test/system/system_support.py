# SPDX-License-Identifier: Apache-2.0
"""Processes of the package under test, and the test's own node that talks to them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile

WAIT_S = 1800.0
"""For anything to happen: a limit against hanging, not a measure; importing torch alone can take
long on a busy machine."""


class Process:
    """A running module of the package; its output is in a file."""

    def __init__(self, module: str, arguments: tuple[str, ...], domain: int, log: Path):
        self._log = log
        env = {
            **os.environ,
            "ROS_DOMAIN_ID": str(domain),
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",
        }
        with log.open("wb") as out:
            command = [sys.executable, "-m", f"lifting_ros.ros.{module}", *arguments]
            self._popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env
            )

    @property
    def output(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def is_alive(self) -> bool:
        return self._popen.poll() is None

    def wait_for(self, text: str, count: int = 1) -> None:
        """Wait until the output holds `text` `count` times."""
        end = time.monotonic() + WAIT_S
        while self.output.count(text) < count:
            assert self.is_alive, f"ended with {self._popen.returncode}:\n{self.output}"
            assert time.monotonic() < end, f"{text!r} did not come:\n{self.output}"
            time.sleep(0.05)

    def wait(self) -> int:
        """The exit status, once it has ended by itself."""
        return self._popen.wait(WAIT_S)

    def send(self, signal: int) -> None:
        self._popen.send_signal(signal)

    def stop(self, signal: int) -> int:
        """The exit status after `signal`."""
        self.send(signal)
        return self.wait()

    def kill(self) -> None:
        """For the end of a test that failed."""
        if self.is_alive:
            self._popen.kill()
            self._popen.wait()


class Processes:
    """Starts modules of `lifting_ros.ros` in one domain."""

    def __init__(self, domain: int, logs: Path):
        self._domain, self._logs = domain, logs
        self._all: list[Process] = []

    def start(self, module: str, *arguments: str) -> Process:
        self._all.append(
            Process(module, arguments, self._domain, self._logs / f"{len(self._all)}_{module}.log")
        )
        return self._all[-1]

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_) -> None:
        for process in self._all:
            process.kill()


class Peer:
    """A node of the test: publishes, and keeps what it receives by topic."""

    def __init__(self, domain: int):
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self.node = Node("peer", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.received: dict[str, list] = defaultdict(list)

    def listen(self, kind: type, topic: str, qos: QoSProfile | int = 50) -> None:
        self.node.create_subscription(kind, topic, self.received[topic].append, qos)

    def wait(
        self,
        done: Callable[[], bool],
        what: str,
        alive: Process | None = None,
        limit_s: float = WAIT_S,
    ) -> None:
        """Spin until `done`; fails when `alive` ends before."""
        end = time.monotonic() + limit_s
        while not done():
            assert alive is None or alive.is_alive, (
                f"ended while waiting for {what}:\n{alive.output}"
            )
            assert time.monotonic() < end, f"{what} did not come:\n{alive.output if alive else ''}"
            self._executor.spin_once(timeout_sec=0.05)

    def drain(self) -> None:
        """Take what has arrived: whoever sent it may have ended before this node came to it."""
        count = -1
        while count != (count := sum(map(len, self.received.values()))):
            for _ in range(10):
                self._executor.spin_once(timeout_sec=0.05)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)


def stamp_ns(header) -> int:
    return header.stamp.sec * 10**9 + header.stamp.nanosec
