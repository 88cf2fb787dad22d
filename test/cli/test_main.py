# SPDX-License-Identifier: Apache-2.0
"""The command's errors: bad input is one line and status 2, a bug is one line and status 1."""

from __future__ import annotations

import argparse
import importlib

import pytest

from lifting_ros.cli import lift
from lifting_ros.cli.main import VERBS, main, make_parser
from lifting_ros.errors import DataError, LiftingError

CALL = ["lift", "in.npz", "--out", "out.npz"]


def fail_with(monkeypatch, error: BaseException) -> None:
    """Let `lifting lift` raise."""

    def run(args: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr(lift, "run", run)


@pytest.mark.parametrize(
    "error",
    [
        LiftingError("x.npz: bad"),
        DataError("x.npz:\nbad"),
        FileNotFoundError("x.npz: bad"),
        PermissionError("x.npz: bad"),
    ],
)
def test_bad_input_is_one_line_and_status_2(monkeypatch, capsys, error):
    fail_with(monkeypatch, error)
    assert main(CALL) == 2
    assert capsys.readouterr().err == "lifting lift: x.npz: bad\n"


@pytest.mark.parametrize("error", [ValueError("no\nreason"), KeyError("x"), RuntimeError()])
def test_a_bug_is_one_line_and_status_1(monkeypatch, capsys, error):
    fail_with(monkeypatch, error)
    assert main(CALL) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"lifting lift: bug: {type(error).__name__}: ")
    assert "(test_main.py:" in line and line.endswith("--traceback shows where")


def test_ctrl_c_is_status_130(monkeypatch, capsys):
    fail_with(monkeypatch, KeyboardInterrupt())
    assert main(CALL) == 130 and not capsys.readouterr().err


@pytest.mark.parametrize(("error", "status"), [(DataError("bad"), 2), (KeyError("x"), 1)])
def test_traceback_shows_where(monkeypatch, capsys, error, status):
    fail_with(monkeypatch, error)
    assert main([*CALL, "--traceback"]) == status
    said = capsys.readouterr().err
    assert said.startswith("Traceback (most recent call last)") and "test_main.py" in said
    assert said.splitlines()[-1].startswith("lifting lift: ")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_takes_traceback(verb):
    module = importlib.import_module(f"lifting_ros.cli.{verb.replace('-', '_')}")
    assert "--traceback" in make_parser(verb, module).format_help()


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "--traceback", "rendered", "/nowhere"],
        ["evaluate", "rendered", "/nowhere", "--traceback"],
    ],
)
def test_traceback_goes_before_and_behind_a_subverb(capsys, words):
    assert main(words) == 2
    assert capsys.readouterr().err.startswith("Traceback")
