# SPDX-License-Identifier: Apache-2.0
"""Children are ended together, also where a signal comes while one is being started."""

import signal
import subprocess

import pytest

from lifting_ros.cli import processes
from lifting_ros.cli.processes import Children


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_signal_during_a_start_leaves_no_orphan(tmp_path, monkeypatch, sent):
    started = []
    start = subprocess.Popen

    def start_and_signal(*arguments, **options):
        started.append(start(*arguments, **options))
        signal.raise_signal(sent)
        return started[-1]

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(processes.subprocess, "Popen", start_and_signal)
    before = signal.signal(sent, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt), Children(tmp_path, {}) as children:
            children.start("waits", "asyncio")
        assert signal.getsignal(sent) is interrupt
    finally:
        signal.signal(sent, before)

    (child,) = started
    alive = child.poll() is None
    child.kill()
    child.wait()
    assert not alive
