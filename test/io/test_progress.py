# SPDX-License-Identifier: Apache-2.0
"""Progress in a log: few lines, and each a line."""

import io
import sys

import pytest

from lifting_ros.io.progress import Progress

STEP_S = 0.05


@pytest.fixture
def clock(monkeypatch):
    """A clock that every step of a bar moves by STEP_S."""
    now = [1e9]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


def run(clock, steps: int, **options) -> str:
    """What a bar of `steps` steps writes to standard error."""
    for _ in Progress(range(steps), desc="estimating", unit="frame", **options):
        clock[0] += STEP_S
    return sys.stderr.getvalue()


@pytest.mark.parametrize("options", [{"delay": 2}, {"mininterval": 5}])
def test_log_has_a_line_every_ten_seconds(clock, monkeypatch, options):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    text = run(clock, 5000, **options)  # 250 s
    lines = text.split("\n")
    assert "\r" not in text and lines[-1] == ""
    assert 20 <= len(lines) - 1 <= 28
    assert lines[-2].startswith("estimating: 100%") and "5000/5000" in lines[-2]
    assert all(line.startswith("estimating: ") and line.isascii() for line in lines[:-1])


def test_short_work_leaves_no_line_in_a_log(clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert run(clock, 30, delay=2) == ""  # 1.5 s


def test_terminal_has_a_bar_that_moves(clock, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    assert run(clock, 5000).count("\r") > 1000
