# SPDX-License-Identifier: Apache-2.0
"""Shared by all tests: the folder of the tests' own people is importable, torch is small and
repeatable."""

import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch

import lifting_ros.cli  # noqa: F401  before any test opens a video: FFmpeg looks only once whether it may say something

sys.path.insert(0, str(Path(__file__).parent))
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
