# SPDX-License-Identifier: Apache-2.0
"""A network that is cut into graphs says what the whole one says in torch.

Random weights have flat maps, whose lift multiplies roundings; hence the tolerances. The weights
that ship are compared in `test_openvino_graphs.py`.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from people import small_prior
from small_networks import LITE, crops, small_network

from lifting_ros.config import ConfigError
from lifting_ros.io.checkpoint import CheckpointError
from lifting_ros.keypoints import inference
from lifting_ros.keypoints.graph_runner import load_graph_runner
from lifting_ros.keypoints.graphs import SOURCES
from lifting_ros.keypoints.inference import load_runner, to_input
from lifting_ros.keypoints.network_weights import save_network

pytestmark = pytest.mark.usefixtures("narrow_trunk")


class TorchGraphs:
    """Stands for a runtime: runs the graphs in torch, and keeps the names that were asked for."""

    def __init__(self):
        self.names = []

    def load(self, path, kind, names):
        self.names = list(names)
        sources = SOURCES[kind](path)
        return [self._graph(sources[name].module) for name in names]

    def _graph(self, module):
        def call(*inputs):
            tensors = [torch.from_numpy(np.ascontiguousarray(values)) for values in inputs]
            with torch.inference_mode():
                outputs = module(*tensors)
            parts = outputs if isinstance(outputs, tuple) else (outputs,)
            return [part.numpy() for part in parts]

        return call


@pytest.fixture(autouse=True)
def float32(monkeypatch):
    monkeypatch.setattr(inference, "has_fast_bf16", lambda device: False)


@pytest.fixture
def weights(tmp_path) -> Path:
    """A small network in a file; its batch norms are not the identity."""
    network = small_network(LITE, small_prior()).train()
    for _ in range(3):
        network(torch.rand(4, 3, 64, 64))
    path = tmp_path / "small.safetensors"
    save_network(path, network.state_dict(), LITE, {})
    return path


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_maps_and_presence_are_those_of_torch(weights, mirrored, count):
    images = crops(count)
    runner = load_graph_runner(weights, small_prior(), TorchGraphs())
    whole = load_runner(weights, small_prior(), torch.device("cpu"))
    ours = runner.last(images, mirrored)
    theirs = whole.last(to_input(images), mirrored)
    for one, other, gap in zip(ours, theirs, (2e-3, 0.02, 2e-3, 2e-3, 2e-3), strict=True):
        np.testing.assert_allclose(one, other.float().numpy(), atol=gap)


@pytest.mark.parametrize("stages", [0, 1, 2])
def test_an_early_exit_loads_and_runs_so_many_stages(weights, stages):
    runtime = TorchGraphs()
    runner = load_graph_runner(weights, small_prior(), runtime, stages)
    last = ["stage_2"] if stages != 1 else []
    assert runtime.names == ["opening", *last, "presence"]
    whole = load_runner(weights, small_prior(), torch.device("cpu"), stages)
    expected, *_ = whole.last(to_input(crops(1)))
    np.testing.assert_allclose(runner.last(crops(1))[0], expected.numpy(), atol=2e-3)


def test_keypoints_are_in_pixels_of_the_image(weights):
    image = np.random.default_rng(4).integers(0, 256, (120, 160, 3), np.uint8)
    boxes = [np.array([20.0, 10, 90, 110]), np.array([60.0, -20, 150, 60])]
    runner = load_graph_runner(weights, small_prior(), TorchGraphs())
    whole = load_runner(weights, small_prior(), torch.device("cpu"))
    images = [image, image[:, ::-1]]
    for ours, theirs in zip(runner.find(images, boxes), whole.find(images, boxes), strict=True):
        np.testing.assert_allclose(ours.presence, theirs.presence, atol=0.01)
        np.testing.assert_allclose(ours.confidence, theirs.confidence, atol=0.01)
        assert np.median(np.abs(ours.keypoints_px - theirs.keypoints_px)) < 0.5
        assert ours.local.shape == theirs.local.shape == (14, ours.deep.size)
        assert np.median(np.abs(ours.local - theirs.local)) < 1e-3


def test_graphs_exported_without_the_last_layer_give_all_else(weights):
    runner = load_graph_runner(weights, small_prior(), TorchGraphs())
    boxes = [np.array([8.0, 8, 56, 56])]
    (whole,) = runner.find(crops(1), boxes, mirrored=True)
    opening = runner._opening
    runner._opening = lambda *inputs: opening(*inputs)[:4]
    (found,) = runner.find(crops(1), boxes, mirrored=True)
    assert found.local is None and whole.local is not None
    np.testing.assert_array_equal(found.keypoints_px, whole.keypoints_px)
    np.testing.assert_array_equal(found.deep, whole.deep)


def test_more_stages_than_there_are_is_one_line(weights):
    with pytest.raises(ConfigError, match="^stages: expected 0 to 2 with small.safetensors, got 3"):
        load_graph_runner(weights, small_prior(), TorchGraphs(), 3)


def test_a_file_of_something_else_is_one_line(tmp_path):
    path = tmp_path / "no.safetensors"
    path.write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="no.safetensors: not a weights file"):
        load_graph_runner(path, small_prior(), TorchGraphs())
