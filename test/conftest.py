# SPDX-License-Identifier: Apache-2.0
"""Shared by all tests: the folder of the tests' own people is importable, torch is small and
repeatable."""

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch

# Before any test opens a video: FFmpeg looks only once whether it may say something
import lifting_ros.cli  # noqa: F401

sys.path.insert(0, str(Path(__file__).parent))
if "PYTEST_XDIST_WORKER" in os.environ:  # several processes: each in a ROS domain of its own
    from domains import next_domain

    os.environ["ROS_DOMAIN_ID"] = str(next_domain())

signal.signal(
    signal.SIGINT, signal.default_int_handler
)  # a shell's background job ignores it, and so would what the tests start


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """The folder in which the tests, and the processes that they start, keep converted networks;
    removed at the end. The user's own cache is neither read nor written."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder

    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def repeatable():
    """Every test starts from the same random state."""
    torch.set_num_threads(1)  # tiny networks: more threads only wait for each other
    torch.manual_seed(0)


@pytest.fixture
def narrow_trunk(monkeypatch):
    """A quick trunk for networks of the variant `lite`."""
    import small_networks

    small_networks.narrow_trunk(monkeypatch)


@pytest.fixture
def in_f32(monkeypatch):
    """Networks compute in float32 on this CPU too, so that runtimes can be compared closely."""
    from lifting_ros.detection import multipose_detector
    from lifting_ros.keypoints import inference, openvino_graphs

    monkeypatch.setattr(openvino_graphs, "cpu_has_bf16", lambda: False)
    for module in (inference, multipose_detector):
        monkeypatch.setattr(module, "has_fast_bf16", lambda device: False)
