# SPDX-License-Identifier: Apache-2.0
"""ROS domains for tests, so that no two that run at the same time hear each other."""

import itertools
import os

DOMAINS = 100
"""Domains 1 to 100; above 101 the ports collide with those of outgoing connections."""

_count = itertools.count()


def next_domain() -> int:
    """A domain that no other test uses now.

    The processes of one test run (pytest-xdist) share the domains between them; another run on
    this machine most likely begins elsewhere.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    share = DOMAINS // workers
    number = int(worker.removeprefix("gw") or 0)
    run = os.getppid() if worker else os.getpid()
    return 1 + (run + number * share + next(_count) % share) % DOMAINS
