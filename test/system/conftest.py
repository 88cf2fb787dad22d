# SPDX-License-Identifier: Apache-2.0
"""System tests: real processes over real topics. Each test talks in a ROS domain of its own, to
this machine only."""

import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "ros"))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

import conftest_ros  # noqa: F401
from domains import next_domain
from system_support import Peer, Processes

from lifting_ros.detection.multipose import MultiPose
from lifting_ros.detection.multipose_detector import save_detector


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


@pytest.fixture(scope="session")
def keen(tmp_path_factory) -> list[str]:
    """Arguments of a node that finds one person in every image, who all but fills it."""
    path = tmp_path_factory.mktemp("weights") / "keen.safetensors"
    network = MultiPose()
    with torch.no_grad():
        # A person in every cell, each larger than the image: all of them are one
        for head, value in ((network.centre, 4.0), (network.size, 1e3), (network.offset, 0.0)):
            head[-1].weight.zero_()
            head[-1].bias.fill_(value)
    save_detector(path, network, {})

    parameters = {
        "detector.weights": path,
        "detector.max_persons": 1,
        "min_person_score": 0.0,
        "min_keypoint_confidence": 0.0,
        "second_look": 0.0,
    }
    return [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
