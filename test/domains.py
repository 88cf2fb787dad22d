# SPDX-License-Identifier: Apache-2.0
"""ROS domains for tests, so that no two that run at the same time hear each other."""

import fcntl
import itertools
import os
import tempfile
from collections import deque
from pathlib import Path

DOMAINS = 100
"""Domains 1 to 100; above 101 the ports collide with those of outgoing connections."""

HELD = 8
"""Domains that a process keeps for itself, the last ones: tests run one after the other."""

_count = itertools.count()
_held: deque[int] = deque()
"""Open files of the locks."""


def next_domain() -> int:
    """A domain that no other test uses now, in this test run or in another one on this machine.

    A process locks a file for each domain that it uses; the lock ends with the process.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(worker.removeprefix("gw") or 0)
    start = os.getpid() + number * (DOMAINS // workers)
    for _ in range(DOMAINS):
        domain = 1 + (start + next(_count)) % DOMAINS
        lock = os.open(lock_file(domain), os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue

        _held.append(lock)
        if len(_held) > HELD:
            os.close(_held.popleft())
        return domain

    raise RuntimeError(f"all {DOMAINS} ROS domains are in use by tests")


def lock_file(domain: int) -> Path:
    """The file whose lock says that a test of this user has the domain."""
    return Path(tempfile.gettempdir()) / f"lifting_ros_tests_{os.getuid()}_domain_{domain}.lock"
