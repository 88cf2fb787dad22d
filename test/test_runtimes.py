# SPDX-License-Identifier: Apache-2.0
"""Which runtime runs the networks, and one clear line where it cannot."""

import sys

import pytest
import torch

from lifting_ros import device, runtimes
from lifting_ros.backends import make_network
from lifting_ros.config import ConfigError
from lifting_ros.device import is_cpu, thread_count, use_threads
from lifting_ros.io.checkpoint import CheckpointError
from lifting_ros.runtimes import choose_placement


class Stub:
    """Stands for a runtime that is installed."""

    device = "cpu"


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setitem(runtimes.GRAPH_RUNTIMES, "openvino", lambda device, onnx: Stub())


@pytest.fixture
def missing(monkeypatch):
    """OpenVINO cannot be imported."""
    for name in [name for name in sys.modules if name.split(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "openvino", None)


@pytest.fixture
def with_gpu(monkeypatch):
    monkeypatch.setattr(device, "_has_gpu_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


def test_cpu_gets_openvino(installed):
    placement = choose_placement("auto", "cpu")
    assert (placement.runtime, placement.device) == ("openvino", "cpu")
    assert isinstance(placement.graphs, Stub) and not placement.required


def test_gpu_keeps_torch(installed, with_gpu):
    for name in ("auto", "cuda"):
        placement = choose_placement("auto", name)
        assert (placement.runtime, str(placement.device)) == ("torch", "cuda")
        assert placement.graphs is None


@pytest.mark.parametrize("runtime", ["torch", "auto"])
def test_torch_compiles_for_itself(installed, runtime):
    placement = choose_placement(runtime, "cpu", compiled=True)
    assert placement.runtime == "torch" and placement.graphs is None


def test_without_openvino_auto_is_torch_in_silence(missing, capfd):
    placement = choose_placement("auto", "cpu")
    assert placement.runtime == "torch" and str(placement.device) == "cpu"
    assert capfd.readouterr() == ("", "")


def test_without_openvino_asking_for_it_is_one_line(missing):
    with pytest.raises(ConfigError, match="^runtime: openvino requires a package that .*openvino"):
        choose_placement("openvino", "cpu")


def test_openvino_on_a_gpu_is_one_line(with_gpu):
    with pytest.raises(ConfigError, match="^runtime: openvino runs on the CPU; .* got cuda$"):
        choose_placement("openvino", "cuda")


@pytest.mark.parametrize("runtime", ["auto", "torch", "openvino"])
def test_unknown_device_is_one_line(runtime):
    with pytest.raises(ConfigError, match="^device: expected auto, cpu, cuda or cuda:n, got 'abc'"):
        choose_placement(runtime, "abc")


def test_cpu_is_known_without_torch(monkeypatch):
    monkeypatch.setattr(device, "_has_gpu_driver", lambda: False)
    monkeypatch.setattr(device, "choose_device", None)
    assert is_cpu("auto") and is_cpu("cpu")


def test_threads_reach_torch_and_the_others(monkeypatch):
    monkeypatch.setattr(device, "_threads", 0)
    use_threads(3)
    assert torch.get_num_threads() == thread_count() == 3


class Asked:
    """Stands for torch's loader of networks."""

    def __init__(self):
        self.device = None

    def __call__(self, path, prior, chosen, stages, compiled):
        self.device = chosen
        return self


def paper_file(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "paper.safetensors"
    save_file(
        {"x": torch.zeros(1)},
        str(path),
        metadata={"lifting_ros": '{"network": {"variant": "paper"}}'},
    )
    return path


def test_the_paper_network_runs_in_torch(installed, tmp_path, monkeypatch):
    from lifting_ros.keypoints import inference

    asked = Asked()
    monkeypatch.setattr(inference, "load_runner", asked)
    assert make_network(paper_file(tmp_path), None, choose_placement("auto", "cpu"), 0, False)
    assert asked.device == torch.device("cpu")

    with pytest.raises(ConfigError, match="^runtime: openvino cannot run the network paper; expec"):
        placement = choose_placement("openvino", "cpu")
        make_network(paper_file(tmp_path), None, placement, 0, False)


def test_missing_weights_are_one_line(tmp_path):
    with pytest.raises(CheckpointError, match="no such weights file"):
        make_network(tmp_path / "none", None, choose_placement("torch", "cpu"), 0, False)
