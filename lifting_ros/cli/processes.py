# SPDX-License-Identifier: Apache-2.0
"""Child processes that are all ended at the end, whatever happens, and that are told of when they
die."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_END_WITHIN_S = 15.0
_SHOWN_LINES = 15


class ChildDied(Exception):
    """A child ended that should not have; the text holds its last lines."""


class Children:
    """Named child processes with their output in `logs`; leaving the block ends those that still
    run."""

    def __init__(self, logs: Path, env: Mapping[str, str]):
        self._logs, self._env = logs, {**os.environ, **env}
        self._running: dict[str, subprocess.Popen] = {}
        self._peak_kb: dict[str, int] = {}

    def start(self, name: str, module: str, *arguments: str) -> None:
        """Run `python -m module arguments`."""
        with (self._logs / f"{name}.log").open("wb") as log:
            command = [sys.executable, "-m", module, *arguments]
            # Out of reach of the terminal: Ctrl-C comes to this process alone, and the children are
            # ended in order.
            self._running[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                start_new_session=True,
            )

    def check(self, *may_end: str) -> None:
        """ChildDied unless all run, but for those that `may_end`, with exit status 0."""
        for name, child in self._running.items():
            self._peak_kb[name] = max(self._peak_kb.get(name, 0), _peak_memory_kb(child.pid))
            status = child.poll()
            if status is not None and not (name in may_end and status == 0):
                raise ChildDied(
                    f"the {name} ended with status {status}; {self._logs / name}.log ends in:\n{self.tail(name)}"
                )

    def pid(self, name: str) -> int:
        """Its process id."""
        return self._running[name].pid

    def is_running(self, name: str) -> bool:
        """Whether it has not ended."""
        return self._running[name].poll() is None

    def stop(self, name: str) -> None:
        """SIGINT, and wait; killed where that does not end it. ChildDied where its exit status is
        not 0."""
        child = self._running[name]
        self._peak_kb[name] = max(self._peak_kb.get(name, 0), _peak_memory_kb(child.pid))
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
            try:
                child.wait(_END_WITHIN_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.check(name)
        del self._running[name]

    def tail(self, name: str) -> str:
        """The last lines of its output."""
        lines = (
            (self._logs / f"{name}.log").read_text(encoding="utf-8", errors="replace").splitlines()
        )
        return "\n".join(f"  {line}" for line in lines[-_SHOWN_LINES:])

    def peak_mb(self, name: str) -> float:
        """The most memory that it was seen to hold at a time (VmHWM)."""
        return self._peak_kb.get(name, 0) / 1024

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_) -> None:
        for child in self._running.values():
            if child.poll() is None:
                child.send_signal(signal.SIGINT)
        for child in self._running.values():
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _peak_memory_kb(pid: int) -> int:
    """0 where the process is gone or this system does not tell."""
    try:
        found = re.search(
            r"^VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE
        )
    except OSError:
        found = None
    return int(found[1]) if found else 0
