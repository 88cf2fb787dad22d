# SPDX-License-Identifier: Apache-2.0
"""Locks between processes: they hold, they end with a killed process, and names do not matter to
each other."""

import errno
import fcntl
import subprocess
import sys

import pytest

from lifting_ros.io.file_lock import locked

HOLD = """
import sys, time
from pathlib import Path
from lifting_ros.io.file_lock import locked
with locked(Path(sys.argv[1]), "a"):
    print("held", flush=True)
    time.sleep(1000)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock `a` of the file `lock`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


@pytest.fixture
def impatient(monkeypatch):
    """Locks that raise BlockingIOError instead of waiting."""
    wait = fcntl.lockf
    monkeypatch.setattr(
        fcntl, "lockf", lambda file, flags, *more: wait(file, flags | fcntl.LOCK_NB, *more)
    )


@pytest.mark.usefixtures("impatient")
def test_lock_excludes_other_processes_until_they_are_killed(holder, tmp_path):
    with pytest.raises(BlockingIOError), locked(tmp_path / "lock", "a"):
        pass
    with locked(tmp_path / "lock", "b"):
        pass

    holder.kill()
    holder.wait()
    with locked(tmp_path / "lock", "a"):
        pass


@pytest.mark.parametrize(("number", "passes"), [(errno.ENOLCK, True), (errno.EIO, False)])
def test_file_system_without_locks_does_without(tmp_path, monkeypatch, number, passes):
    def fail(*_):
        raise OSError(number, "no")

    monkeypatch.setattr(fcntl, "lockf", fail)
    entered = []
    try:
        with locked(tmp_path / "lock", "a"):
            entered.append(True)
    except OSError:
        assert not passes
    assert bool(entered) == passes
