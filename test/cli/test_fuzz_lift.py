# SPDX-License-Identifier: Apache-2.0
"""A small part of `make fuzz`; and the judge of the fuzzing sees what it must see."""

import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import fuzz_cases
import fuzz_lift

COUNT = 150


@pytest.mark.filterwarnings("default")  # the fuzzing listens to warnings itself
def test_fuzzed_input_has_no_traceback_or_partial_output():
    outcomes, wrong = fuzz_lift.fuzz(COUNT, seed=1)
    assert dict(wrong) == {}
    total = sum(outcomes.values(), start=type(next(iter(outcomes.values())))())
    assert (
        total[0] > COUNT / 4 and total[2] > COUNT / 4
    )  # answers and refusals, not all of one kind


@pytest.mark.filterwarnings("default")
def test_a_process_of_its_own_says_the_same(tmp_path):
    for number in range(3):
        case = fuzz_cases.draw(np.random.default_rng((2, number)))
        assert fuzz_lift.faults(case, tmp_path, fuzz_lift.call_child) == (
            fuzz_lift.faults(case, tmp_path)[0],
            [],
        )


def test_the_same_seed_gives_the_same_inputs():
    one, other = (fuzz_cases.draw(np.random.default_rng((5, 3))) for _ in range(2))
    assert (one.kind, one.content, one.options) == (other.kind, other.content, other.options)


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("joints_m", np.nan, "a known joint is not finite"),
        ("covariance_m2", np.nan, "a known covariance is not finite"),
        ("covariance_m2", -1.0, "a covariance is not symmetric and positive"),
        ("root_m", np.inf, "a known root is not finite"),
        ("hypothesis_weight", 0.5, "weights do not sum to one"),
        ("status", 7, "status is not 0, 1 or 2"),
        ("status", 0, "an unknown joint is not NaN"),
        ("log_likelihood", np.nan, "a likelihood is not finite"),
        ("hypotheses_m", np.nan, "a hypothesis with a weight is not finite"),
        ("root_m", 1.0, "the root joint is not the root"),
    ],
)
def test_the_judge_sees_a_bad_answer(tmp_path, name, value, named):
    good = {
        "joints_m": np.zeros((2, 17, 3)),
        "root_m": np.zeros((2, 3)),
        "covariance_m2": np.tile(np.eye(3), (2, 17, 1, 1)),
        "root_covariance_m2": np.tile(np.eye(3), (2, 1, 1)),
        "status": np.ones((2, 17), np.uint8),
        "log_likelihood": np.zeros(2),
        "hypotheses_m": np.zeros((2, 3, 17, 3)),
        "hypothesis_weight": np.full((2, 3), 1 / 3),
    }
    np.savez(tmp_path / "good.npz", **good)
    assert fuzz_lift.answer_faults(tmp_path / "good.npz") == []
    good[name][1] = value
    np.savez(tmp_path / "bad.npz", **good)
    assert named in fuzz_lift.answer_faults(tmp_path / "bad.npz")


def _leave_a_file(argv):
    Path(argv[argv.index("--out") + 1] + ".partial").write_text("")
    return 2


def _talk(text):
    return lambda argv: print(text, file=sys.stderr) or 2


@pytest.mark.parametrize(
    ("program", "named"),
    [
        (lambda argv: 1 // 0, "ZeroDivisionError"),
        (lambda argv: warnings.warn("look", stacklevel=1) or 2, "warning: look"),
        (_leave_a_file, "left behind: out.npz.partial"),
        (_talk("one\ntwo"), "2 lines"),
        (_talk("bad"), "names no file"),
        (lambda argv: 0, "exit status 0 instead of 2"),
        (lambda argv: 2, "0 lines"),
    ],
)
def test_the_judge_sees_a_bad_program(tmp_path, monkeypatch, program, named):
    monkeypatch.setattr(fuzz_lift, "lifting", program)
    assert any(
        named in text for text in fuzz_lift.faults(fuzz_cases.Case("x", b"", must=2), tmp_path)[1]
    )


@pytest.mark.parametrize(
    ("hanging", "waits"),
    [(lambda argv: [None for _ in iter(int, 1)], 1000), (lambda argv: time.sleep(1000), 1)],
    ids=["works", "waits"],
)
def test_the_judge_ends_what_hangs(tmp_path, monkeypatch, hanging, waits):
    monkeypatch.setattr(fuzz_lift, "TIME_OUT_S", 1)
    monkeypatch.setattr(fuzz_lift, "WAITS", waits)
    monkeypatch.setattr(fuzz_lift, "lifting", hanging)
    assert fuzz_lift.faults(fuzz_cases.Case("x", b""), tmp_path)[1] == ["hang"]


def test_time_that_others_take_is_no_hang(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz_lift, "TIME_OUT_S", 1)

    def interrupted(argv):
        time.sleep(2)
        return 2

    monkeypatch.setattr(fuzz_lift, "lifting", interrupted)
    assert "hang" not in fuzz_lift.faults(fuzz_cases.Case("x", b""), tmp_path)[1]
