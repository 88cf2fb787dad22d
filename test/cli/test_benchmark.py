# SPDX-License-Identifier: Apache-2.0
"""`lifting benchmark`: what it prints is what it measured, and bad input."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from lifting_ros.cli import benchmark
from lifting_ros.cli.main import main
from lifting_ros.cli.options import LIFTERS
from lifting_ros.lifting.lifters import METHODS


def test_the_lifters_to_choose_from_are_those_there_are():
    assert LIFTERS == METHODS


def test_the_table_and_the_file_say_the_same(tmp_path, capsys):
    out = tmp_path / "speed.json"
    assert (
        main(
            [
                "benchmark",
                "--seconds",
                "0.5",
                "--device",
                "cpu",
                "--threads",
                "1",
                "--json",
                str(out),
            ]
        )
        == 0
    )
    found, printed = json.loads(out.read_text()), capsys.readouterr().out
    steps = found["milliseconds"]
    assert list(steps) == ["detect", "network", "lift", "all"] and (
        found["device"],
        found["threads"],
    ) == ("cpu", 1)
    assert printed.startswith(f"{found['runtime']} on cpu, 1 threads, ")
    assert "images of 640x480" in printed
    assert (
        sum(steps[step]["mean"] for step in ("detect", "network", "lift")) <= steps["all"]["mean"]
    )
    assert found["rates"]["whole"]["images/s"] == pytest.approx(1e3 / steps["all"]["mean"])


def test_every_frame_has_its_turn_and_the_warm_up_does_not_count():
    seen = []

    def estimate(image):
        seen.append(int(image[0, 0, 0]))
        return SimpleNamespace(seconds={"detect": 0.001}, persons=[None] * seen[-1])

    frames = [np.full((2, 2, 3), n, np.uint8) for n in range(3)]
    steps = benchmark.measure(SimpleNamespace(estimate=estimate), frames, 0.05)
    assert (
        seen[:3] == [0, 1, 2] and seen[3:9] == [0, 1, 2] * 2 and len(steps["all"]) == len(seen) - 3
    )
    np.testing.assert_allclose(steps["detect"], 1.0)
    assert steps["persons"][:6].tolist() == [0, 1, 2] * 2


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--seconds", "0"], "--seconds: expected more than 0, got 0.0"),
        (["--json", "nowhere/f.json"], "--json nowhere/f.json: the folder does not exist"),
        (["/dev/video99"], "/dev/video99: "),
        (["--weights", "none.safetensors"], "none.safetensors: "),
    ],
)
def test_bad_input_is_one_line(arguments, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["benchmark", *arguments]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and error[0].startswith(f"lifting benchmark: {line}"), error
