# SPDX-License-Identifier: Apache-2.0
"""ONNX files: they say what torch says, where they come from, and which provider runs them."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from people import small_prior
from small_networks import LITE, PAPER, crops, small_network

from lifting_ros.cli.main import main
from lifting_ros.config import ConfigError
from lifting_ros.detection import multipose_detector
from lifting_ros.detection.detector import DetectorConfig
from lifting_ros.detection.graph_detector import load_graph_detector
from lifting_ros.detection.multipose import MultiPose
from lifting_ros.detection.multipose_detector import load_detector, save_detector
from lifting_ros.io.checkpoint import CheckpointError, sha256_of
from lifting_ros.keypoints import onnx_graphs
from lifting_ros.keypoints.graph_runner import load_graph_runner
from lifting_ros.keypoints.inference import load_runner, to_input
from lifting_ros.keypoints.network_weights import save_network
from lifting_ros.keypoints.onnx_files import OPSET, ExportError, export_graphs
from lifting_ros.keypoints.onnx_graphs import (
    OnnxRuntime,
    choose_providers,
    profile,
)
from lifting_ros.runtimes import OnnxConfig

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
EVERY = (TENSORRT, CUDA, CPU)

pytestmark = pytest.mark.usefixtures("narrow_trunk")


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A folder with the weights small.safetensors and detector.safetensors, and the folder graphs
    with both as ONNX."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)

    folder = tmp_path_factory.mktemp("exported")
    torch.manual_seed(0)
    network = small_network(LITE, small_prior())
    save_network(folder / "small.safetensors", network.state_dict(), LITE, {})
    with pytest.MonkeyPatch.context() as patch:
        narrow_detector(patch)
        save_detector(folder / "detector.safetensors", multipose_detector.MultiPose(), {})
        out = str(folder / "graphs")
        arguments = ["--weights", str(folder / "small.safetensors")]
        arguments += ["--detector", str(folder / "detector.safetensors")]
        assert main(["export", "--out", out, *arguments]) == 0

    return folder


@pytest.fixture(scope="module", autouse=True)
def narrow_for_the_module():
    """The trunk of `narrow_trunk` for fixtures of the whole module."""
    import small_networks

    with pytest.MonkeyPatch.context() as patch:
        small_networks.narrow_trunk(patch)
        yield


def narrow_detector(patch) -> None:
    patch.setattr(multipose_detector, "MultiPose", lambda: MultiPose(0.25))


def runtime_of(folder: Path) -> OnnxRuntime:
    return OnnxRuntime(OnnxConfig(graphs=str(folder / "graphs")), "cpu")


def test_any_batch_size_gives_what_torch_gives(exported, in_f32):
    weights = exported / "small.safetensors"
    runner = load_graph_runner(weights, small_prior(), runtime_of(exported))
    whole = load_runner(weights, small_prior(), torch.device("cpu"))
    for count in (1, 3):
        ours = runner.last(crops(count))
        theirs = whole.last(to_input(crops(count)))
        for one, other, gap in zip(ours, theirs, (5e-3, 0.05, 5e-3, 5e-3, 5e-3), strict=True):
            np.testing.assert_allclose(one, other.float().numpy(), atol=gap)


def test_any_image_size_gives_what_torch_gives(exported, monkeypatch, in_f32):
    narrow_detector(monkeypatch)
    weights = exported / "detector.safetensors"
    ours = load_graph_detector(weights, DetectorConfig(), runtime_of(exported))
    theirs = load_detector(weights, DetectorConfig())
    for height, width in ((64, 96), (128, 64)):
        image = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
        for mine, other in zip(ours.maps_of(image), theirs.maps_of(image), strict=True):
            np.testing.assert_allclose(mine, other, atol=1e-3 * np.abs(other).max() + 1e-4)


def test_files_say_what_they_were_made_from(exported):
    import onnx

    names = {"detector", "opening", "stage_2", "presence"}
    files = {path.stem: path for path in (exported / "graphs").iterdir()}
    assert files.keys() == names
    for name, path in files.items():
        model = onnx.load(path)
        metadata = {prop.key: prop.value for prop in model.metadata_props}
        weights = "detector" if name == "detector" else "small"
        assert metadata["weights_sha256"] == sha256_of(exported / f"{weights}.safetensors")
        assert metadata["graph"] == name and metadata["opset"] == str(OPSET)
        assert [one.version for one in model.opset_import if one.domain == ""] == [OPSET]


def test_graphs_of_other_weights_are_refused(exported, tmp_path):
    other = tmp_path / "other.safetensors"
    save_network(other, small_network(LITE, small_prior()).state_dict(), LITE, {"seed": 1})
    with pytest.raises(ConfigError, match="presence.onnx: was not made from other.safetensors; "):
        runtime_of(exported).load(other, "network", ["presence"])


def test_damaged_and_missing_graphs_are_one_line(exported, tmp_path):
    runtime = OnnxRuntime(OnnxConfig(graphs=str(tmp_path)), "cpu")
    with pytest.raises(CheckpointError, match="presence.onnx: no such file; lifting export writes"):
        runtime.load(exported / "small.safetensors", "network", ["presence"])

    (tmp_path / "presence.onnx").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="presence.onnx: ONNX Runtime cannot load it"):
        runtime.load(exported / "small.safetensors", "network", ["presence"])


def test_without_onnx_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ExportError, match="^writing ONNX requires the packages onnx and onnxscr"):
        export_graphs(tmp_path / "w", "network", tmp_path)


def test_the_paper_network_is_refused_and_leaves_nothing(tmp_path, capsys):
    pytest.importorskip("onnxscript")
    path = tmp_path / "paper.safetensors"
    save_network(path, small_network(PAPER).state_dict(), PAPER, {})
    assert main(["export", "--out", str(tmp_path / "out"), "--weights", str(path)]) == 2
    assert "the network paper cannot be cut into graphs" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["paper.safetensors"]


@pytest.mark.parametrize(
    ("order", "device", "installed", "chosen"),
    [
        ("tensorrt,cuda,cpu", "auto", EVERY, ["tensorrt", "cuda", "cpu"]),
        ("cuda, tensorrt", "cuda:1", EVERY, ["cuda", "tensorrt", "cpu"]),
        ("tensorrt,cuda,cpu", "cuda", (CUDA, CPU), ["cuda", "cpu"]),
        ("tensorrt,cuda,cpu", "cpu", EVERY, ["cpu"]),
        ("tensorrt,cuda,cpu", "auto", (CPU,), ["cpu"]),
    ],
)
def test_providers_are_used_in_the_order_given(order, device, installed, chosen):
    assert choose_providers(order, device, installed) == chosen


@pytest.mark.parametrize(
    ("order", "device", "message"),
    [
        ("cuda,rocm", "auto", "^onnx.providers: expected names of tensorrt, cuda, cpu, got 'rocm'"),
        ("cuda", "cuda", "^device: cuda requires ONNX Runtime with one of onnx.providers cuda, "),
        ("cuda", "gpu", "^device: expected auto, cpu, cuda or cuda:n, got 'gpu'"),
    ],
)
def test_unusable_providers_are_one_line(order, device, message):
    with pytest.raises(ConfigError, match=message):
        choose_providers(order, device, (CPU,))


class StandIn:
    """Stands for ONNX Runtime with a GPU: keeps the providers of the sessions."""

    def __init__(self, metadata: dict[str, str]):
        self.metadata = metadata
        self.asked = []

    def get_available_providers(self):
        return list(EVERY)

    def SessionOptions(self):
        return SimpleNamespace(add_session_config_entry=lambda key, value: None)

    def InferenceSession(self, file, options=None, providers=()):
        self.asked.append(providers)
        inputs = [
            SimpleNamespace(name="deep", shape=["batch", 1280]),
            SimpleNamespace(name="heat", shape=["batch", 17, 48, 48]),
        ]
        meta = SimpleNamespace(custom_metadata_map=self.metadata)
        return SimpleNamespace(get_inputs=lambda: inputs, get_modelmeta=lambda: meta)


def test_tensorrt_keeps_its_engines_and_computes_in_fp16(tmp_path, monkeypatch):
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"weights")
    (tmp_path / "presence.onnx").write_bytes(b"graph")
    package = StandIn({"weights_sha256": sha256_of(weights)})
    monkeypatch.setitem(sys.modules, "onnxruntime", package)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    runtime = OnnxRuntime(OnnxConfig(graphs=str(tmp_path)), "cuda:1")
    runtime.load(weights, "network", ["presence"])
    assert runtime.device == "cuda:1"

    names = [name for name, _ in package.asked[-1]]
    assert names == [TENSORRT, CUDA, CPU]
    tensorrt, cuda, cpu = [options for _, options in package.asked[-1]]
    assert cuda == {"device_id": 1} and cpu == {}
    assert tensorrt["device_id"] == 1 and tensorrt["trt_fp16_enable"]
    assert Path(tensorrt["trt_engine_cache_path"]).is_dir()
    most = f"deep:{onnx_graphs.MOST_CROPS}x1280,heat:{onnx_graphs.MOST_CROPS}x17x48x48"
    assert tensorrt["trt_profile_max_shapes"] == most


def test_free_sides_get_a_length_in_the_profile():
    image = SimpleNamespace(name="image", shape=[1, "h", "w", 3])
    assert profile([image], lambda axis: 10 * axis) == "image:1x10x20x3"
