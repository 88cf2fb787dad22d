# SPDX-License-Identifier: Apache-2.0
"""System tests: real processes over real topics. Each test talks in a ROS domain of its own, to
this machine only."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "ros"))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

import conftest_ros  # noqa: F401
from domains import next_domain
from system_support import Peer, Processes


@pytest.fixture(scope="module")
def domain() -> int:
    return next_domain()


@pytest.fixture(scope="module")
def processes(domain, tmp_path_factory):
    """Starts modules of the package as processes; those that still run at the end are killed."""
    with Processes(domain, tmp_path_factory.mktemp("logs")) as started:
        yield started


@pytest.fixture(scope="module")
def peer(domain):
    """The test's own node."""
    with Peer(domain) as node:
        yield node
