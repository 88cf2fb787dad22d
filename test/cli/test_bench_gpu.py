# SPDX-License-Identifier: Apache-2.0
"""bench/gpu.sh without a GPU: how its steps are run, what becomes of those that fail, CUDA graphs
on a stand-in for CUDA, and, slowly, every step on the CPU."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from people import small_prior
from small_networks import LITE

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import agree
import gpu
import network

from lifting_ros.types import Detection

ROOT = Path(__file__).parents[2]
STEP = gpu.Step("a step", "step.py", (), (), 60.0)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_step_gives_its_figures_and_its_log(tmp_path):
    code = "import sys; print('said'); open(sys.argv[1], 'w').write('{\"ms\": 1.5}')"
    command = [*python(code), str(gpu.figures_of(STEP, tmp_path))]
    result = gpu.run_step(STEP, command, tmp_path, 300.0)
    assert (result["ended"], result["figures"]) == ("done", {"ms": 1.5})
    assert (tmp_path / "a_step.log").read_text() == "said\n"


def test_a_step_that_fails_says_so_and_has_no_old_figures(tmp_path):
    gpu.figures_of(STEP, tmp_path).write_text("{}")
    result = gpu.run_step(STEP, python("raise SystemExit(3)"), tmp_path, 300.0)
    assert result["ended"] == "failed with status 3"
    assert "figures" not in result


def test_a_step_that_takes_too_long_is_ended(tmp_path):
    result = gpu.run_step(STEP, python("import time; time.sleep(3600)"), tmp_path, 0.2)
    assert result["ended"] == "ended after 0 s"


def test_a_step_that_does_not_end_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "END_WITHIN_S", 0.2)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)"
    assert gpu.run_step(STEP, python(code), tmp_path, 5.0)["ended"] == "ended after 5 s"


@pytest.fixture
def made_up(monkeypatch):
    """Steps that write their options; the second one fails."""
    names = ("first", "second", "third")
    steps = tuple(dataclasses.replace(STEP, name=name, quick=("--short",)) for name in names)
    monkeypatch.setattr(gpu, "STEPS", steps)
    monkeypatch.setattr(gpu, "machine", lambda device: {"device": device})
    command_of = gpu.command_of

    def command(step, *rest):
        words = command_of(step, *rest)
        if step.name == "second":
            return python("raise SystemExit(1)")
        code = "import json, sys; json.dump(sys.argv[1:], open(sys.argv[-1], 'w'))"
        return [*python(code), *words[2:]]

    monkeypatch.setattr(gpu, "command_of", command)
    return names


def result_of(folder: Path) -> dict:
    return json.loads((folder / "gpu.json").read_text())


def test_a_step_that_fails_costs_the_others_nothing(made_up, tmp_path):
    status = gpu.main(["--out", str(tmp_path), "--device", "cuda:1", "--quick"])
    assert status == 1
    steps = result_of(tmp_path)["steps"]
    assert [steps[name]["ended"] for name in made_up] == ["done", "failed with status 1", "done"]
    assert steps["third"]["figures"][:3] == ["--short", "--device", "cuda:1"]


def test_steps_for_which_no_time_is_left_are_named(made_up, tmp_path):
    assert gpu.main(["--out", str(tmp_path), "--limit", "1"]) == 1
    ended = {one["ended"] for one in result_of(tmp_path)["steps"].values()}
    assert ended == {"not begun: no time was left"}


def test_the_steps_fit_into_the_time():
    most_s = sum(step.most_s for step in gpu.STEPS)
    assert most_s + gpu.RESERVE_S <= gpu.LIMIT_S == 600.0


@pytest.mark.parametrize("step", gpu.STEPS, ids=lambda step: step.name)
def test_the_options_of_a_step_are_those_of_its_program(step, tmp_path):
    text = (ROOT / "bench" / step.program).read_text(encoding="utf-8")
    words = gpu.command_of(step, "cuda", tmp_path, quick=True)
    assert words[1] == str(ROOT / "bench" / step.program)
    assert all(f'"{word}"' in text for word in words if word.startswith("--"))


class Graph:
    """Stands for a CUDA graph: knows whether something was recorded, and counts the replays."""

    def __init__(self):
        self.recorded, self.replays = False, 0

    def replay(self):
        assert self.recorded
        self.replays += 1


def test_cuda_graphs_are_recorded_and_replayed(monkeypatch):
    made = []

    class Stream:
        def wait_stream(self, other):
            pass

    def new_graph():
        made.append(Graph())
        return made[-1]

    @contextlib.contextmanager
    def record(graph):
        yield
        graph.recorded = True

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", new_graph)
    monkeypatch.setattr(torch.cuda, "graph", record)
    recipe = dataclasses.replace(network.RECIPES["lite"], network=LITE)
    monkeypatch.setattr(network, "RECIPES", {"lite": recipe})
    monkeypatch.setattr(network.MixturePPCA, "load", lambda path: small_prior())
    watch = network.Stopwatch(torch.device("cpu"), 0.0)
    row = network.inference_row(watch, "lite", "float32", 2, "graph", peak=1.0)
    assert row["crops/s"] > 0
    assert [graph.replays >= network.LEAST_CALLS for graph in made] == [True]


def box(x: float) -> Detection:
    return Detection(np.array([x, 0.0, x + 10, 10]), 0.9)


def test_boxes_differ_by_the_farthest_corner_or_by_a_person():
    assert agree.box_gap([box(0), box(5)], [box(0), box(5.5)]) == 0.5
    assert agree.box_gap([], []) == 0.0
    assert agree.box_gap([box(0)], []) == np.inf


@pytest.mark.parametrize(("value", "status"), [(0.0, 0), (10.0, 1), (float("nan"), 1)])
def test_a_difference_above_its_limit_is_named(monkeypatch, tmp_path, value, status):
    monkeypatch.setattr(agree, "frames", lambda count: [])
    monkeypatch.setattr(agree, "detector_row", lambda *_: {"box px": 0.0})
    row = {"keypoints px": value, "confidence": 0.0}
    monkeypatch.setattr(agree, "network_row", lambda *_: row)
    monkeypatch.setattr(agree, "paper_row", lambda *_: {"maps": 0.0})
    monkeypatch.setattr(agree, "has_fast_bf16", lambda device: False)
    out = tmp_path / "agree.json"
    assert agree.main(["--device", "cpu", "--json", str(out)]) == status
    apart = ["lite, float32: keypoints px", "full, float32: keypoints px"] if status else []
    found = json.loads(out.read_text())
    assert found["agree"] == (not status)
    assert sorted(found["apart"]) == sorted(apart)


def rehearse(out: Path, *options: str) -> dict:
    """Run the script on the CPU with small sizes."""
    environment = os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    command = [str(ROOT / "bench" / "gpu.sh"), "--device", "cpu", "--quick", "--limit", "7200"]
    done = subprocess.run(
        [*command, "--out", str(out), *options], env=environment, capture_output=True, text=True
    )
    logs = "".join(log.read_text() for log in out.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    return result_of(out)


def test_the_script_runs_a_step(tmp_path):
    result = rehearse(tmp_path, "--steps", "lifter")
    assert result["machine"]["device"] == "cpu"
    assert result["steps"]["lifter"]["figures"]["4 a call"]["poses_per_s"] > 0


@pytest.mark.slow
def test_every_step_runs_on_the_cpu(tmp_path):
    result = rehearse(tmp_path)
    assert list(result["steps"]) == [step.name for step in gpu.STEPS]
    assert all("figures" in step for step in result["steps"].values())
    assert result["steps"]["agreement"]["figures"]["agree"]
