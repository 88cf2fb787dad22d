# SPDX-License-Identifier: Apache-2.0
"""A small part of `make fuzz`; and the judge of the fuzzing sees what it must see."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed, so that no bag can be made")
sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import fuzz_files

COUNT = 60


@pytest.mark.filterwarnings("default")  # the fuzzing listens to warnings itself
def test_fuzzed_files_are_one_line_and_lose_nothing():
    outcomes, wrong, images = fuzz_files.fuzz(COUNT, seed=1)
    assert dict(wrong) == {}
    for kind in ("bag with odd stamps", "camera file", "folder with junk"):
        given, answered, stated = images[kind]
        assert given == answered + stated > 0
    assert set(outcomes) == set(fuzz_files.KINDS)
    answered = sum(each[0] for each in outcomes.values())
    refused = sum(each[2] for each in outcomes.values())
    assert answered > COUNT / 4 and refused > COUNT / 10


def test_the_judge_counts_what_is_stated():
    lines = [
        "lifting estimate: in: 2 of 5 images do not decode: a.png, b.png",
        "lifting estimate: a.avi: the container states 24 frames, 20 came: 4 do not decode",
        "lifting bag: 3 of 9 images on /image not used",
        "lifting bag: image not used: encoding: expected one of rgb8",
    ]
    assert fuzz_files.stated_losses(lines) == 2 + 4 + 3


@pytest.mark.parametrize(
    ("status", "error", "out", "wrong"),
    [
        (0, "", 3, []),
        (0, "lifting estimate: in: 1 of 3 images do not decode: a.png", 2, []),
        (0, "", 2, ["2 answers and 0 stated losses of 3 inputs"]),
        (2, "lifting estimate: in: no images", None, ["exit status 2 instead of 0"]),
        (1, "bug", None, ["1: ['bug']"]),
        ("hang", "", None, ["hang: []"]),
    ],
)
def test_the_judge_sees_a_silent_loss(tmp_path, monkeypatch, status, error, out, wrong):
    def call(argv):
        if out is not None:
            np.savez("out.npz", frame_count=out, joints_m=np.zeros((out, 17, 3)))
        return status, error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fuzz_files, "call", call)
    case = fuzz_files.Case(["estimate", "in", "--out", "out.npz"], "in", 3, 0)
    found = fuzz_files.faults(case, tmp_path)[1]
    assert len(found) == len(wrong)
    assert all(text.startswith(start) for text, start in zip(found, wrong))


@pytest.mark.parametrize(("out", "faults"), [(3, 0), (2, 0), (1, 1), (4, 1)])
def test_the_judge_forgives_what_nobody_can_see(tmp_path, monkeypatch, out, faults):
    def call(argv):
        np.savez("out.npz", frame_count=out, joints_m=np.zeros((out, 17, 3)))
        return 0, ""

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fuzz_files, "call", call)
    argv = ["estimate", "in.mkv", "--out", "out.npz"]
    case = fuzz_files.Case(argv, "in.mkv", 3, unstated=1)
    assert len(fuzz_files.faults(case, tmp_path)[1]) == faults
