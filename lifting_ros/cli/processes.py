# SPDX-License-Identifier: Apache-2.0
"""Child processes that are ended together, whatever happens."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_END_WITHIN_S = 15.0
"""Time that a child has to end after SIGINT, before it is killed."""
_CLEAN_UP_WITHIN_S = 5.0
"""The same at the end of the block."""
_SHOWN_LINES = 15
"""Lines of a child's log in an error."""


class ChildDied(Exception):
    """A child ended unexpectedly; the text has the last lines of its log."""


class Children:
    """Named child processes whose output goes into the folder `logs`.

    The end of the block ends those that still run.
    """

    def __init__(self, logs: Path, env: Mapping[str, str]):
        self._logs = logs
        self._env = {**os.environ, **env}
        self._running: dict[str, subprocess.Popen] = {}
        self._peak_kb: dict[str, int] = {}

    def start(self, name: str, module: str, *arguments: str) -> None:
        """Run `python -m module arguments`."""
        with (self._logs / f"{name}.log").open("wb") as log:
            command = [sys.executable, "-m", module, *arguments]
            # In a session of its own a child does not get the terminal's Ctrl-C: this process does,
            # and ends the children in order.
            # A signal between the start and the assignment would leave an orphan
            with _signals_later():
                self._running[name] = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._env,
                    start_new_session=True,
                )

    def check(self, *may_end: str) -> None:
        """Raise ChildDied unless all children run.

        may_end: names of those that may also have ended with exit status 0.
        """
        for name, child in self._running.items():
            self._update_peak(name)
            status = child.poll()
            if status is None or (status == 0 and name in may_end):
                continue
            log = self._logs / f"{name}.log"
            raise ChildDied(
                f"the {name} ended with status {status}; {log} ends in:\n{self.tail(name)}"
            )

    def pid(self, name: str) -> int:
        """Its process id."""
        return self._running[name].pid

    def is_running(self, name: str) -> bool:
        """Whether it has not ended."""
        return self._running[name].poll() is None

    def stop(self, name: str) -> None:
        """End a child with SIGINT, or SIGKILL where that does not help.

        ChildDied where its exit status is not 0.
        """
        child = self._running[name]
        self._update_peak(name)
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
        text = (self._logs / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        lines = text.splitlines()[-_SHOWN_LINES:]
        return "\n".join(f"  {line}" for line in lines)

    def peak_mb(self, name: str) -> float:
        """Its peak memory (VmHWM), as far as it was observed."""
        return self._peak_kb.get(name, 0) / 1024

    def _update_peak(self, name: str) -> None:
        now_kb = _peak_memory_kb(self._running[name].pid)
        self._peak_kb[name] = max(self._peak_kb.get(name, 0), now_kb)

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_) -> None:
        for child in self._running.values():
            if child.poll() is None:
                child.send_signal(signal.SIGINT)
        for child in self._running.values():
            try:
                child.wait(_CLEAN_UP_WITHIN_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


@contextmanager
def _signals_later() -> Iterator[None]:
    """Defer SIGINT and SIGTERM to the end of the block. Does nothing outside the main thread."""
    came: list[int] = []
    numbers: tuple[int, ...] = ()
    if threading.current_thread() is threading.main_thread():
        numbers = (signal.SIGINT, signal.SIGTERM)

    def note(number: int, _: object) -> None:
        came.append(number)

    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in came:
        signal.raise_signal(number)


def _peak_memory_kb(pid: int) -> int:
    """Peak memory of a process; 0 where it is gone, or the system has no /proc."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE)
    return int(found[1]) if found else 0
