# SPDX-License-Identifier: Apache-2.0
"""Published graph models are read as they are; what is none of them gives one line.

Where the folder of the published files is named by the environment variable PUBLISHED, the networks
read from them are compared with the graphs themselves, run node by node in float64.
"""

import base64
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from lifting_ros.detection.nanodet import SIDE_BINS, STRIDES, NanoDet
from lifting_ros.estimator import WEIGHTS
from lifting_ros.keypoints.trunk import Trunk
from lifting_ros.research import import_detector
from lifting_ros.research.graph_model import (
    GraphModel,
    GraphModelError,
    Node,
    read_graph_model,
    read_nanodet,
    read_trunk,
)

PUBLISHED = "LIFTING_PUBLISHED_MODELS"
CLASSES = 80


@pytest.fixture(scope="module")
def published() -> Path:
    """The folder of the published files."""
    if not os.environ.get(PUBLISHED):
        pytest.skip(f"{PUBLISHED} names no folder of published models")
    return Path(os.environ[PUBLISHED])


def text(value: str) -> dict:
    """An attribute that is a string."""
    return {"s": base64.b64encode(value.encode()).decode()}


def write_model(folder: Path, nodes: list[dict], weights: list[tuple[dict, np.ndarray]]) -> Path:
    """A graph model in two shards; the first ends in the middle of a number."""
    raw = b"".join(value.tobytes() for _, value in weights)
    cut = len(raw) // 2 | 1
    (folder / "m-1.bin").write_bytes(raw[:cut])
    (folder / "m-2.bin").write_bytes(raw[cut:])
    entries = [entry | {"shape": list(value.shape)} for entry, value in weights]
    model = {
        "format": "graph-model",
        "modelTopology": {"node": nodes},
        "weightsManifest": [{"paths": ["m-1.bin", "m-2.bin"], "weights": entries}],
    }
    path = folder / "m.json"
    path.write_text(json.dumps(model))
    return path


KERNEL = np.arange(18, dtype=np.float16).reshape(3, 3, 1, 2) / 8
BIAS = np.array([1.5, -2], np.float32)
SIZE = np.array([26, 13], np.int32)


@pytest.fixture
def tiny(tmp_path) -> Path:
    """A graph of one convolution."""
    attributes = {
        "strides": {"list": {"i": ["1", "2", "2", "1"]}},
        "padding": text("SAME"),
        "fused_ops": {"list": {"s": [text("BiasAdd")["s"], text("Relu6")["s"]]}},
        "epsilon": {"f": 0.25},
        "flag": {"b": True},
    }
    nodes = [
        {"name": "input", "op": "Placeholder"},
        {"name": "kernel", "op": "Const"},
        {"name": "layer", "op": "_FusedConv2D", "input": ["input", "kernel"], "attr": attributes},
    ]
    half = {"dtype": "float16", "original_dtype": "float32"}
    weights = [
        ({"name": "kernel", "dtype": "float32", "quantization": half}, KERNEL),
        ({"name": "size", "dtype": "int32"}, SIZE),
        ({"name": "bias", "dtype": "float32"}, BIAS),
        ({"name": "nothing", "dtype": "int32"}, np.zeros((0, 1), np.int32)),
    ]
    return write_model(tmp_path, nodes, weights)


def test_graph_is_read_as_it_was_written(tiny):
    model = read_graph_model(tiny)
    layer = model.nodes[2]
    assert [node.name for node in model.nodes] == ["input", "kernel", "layer"]
    assert (layer.operation, layer.inputs) == ("_FusedConv2D", ("input", "kernel"))
    assert layer.attributes == {
        "strides": [1, 2, 2, 1],
        "padding": "SAME",
        "fused_ops": ["BiasAdd", "Relu6"],
        "epsilon": 0.25,
        "flag": True,
    }


def test_weights_are_read_as_they_were_written(tiny):
    weights = read_graph_model(tiny).weights
    expected = {"kernel": KERNEL.astype(np.float32), "size": SIZE, "bias": BIAS}
    for name, value in expected.items():
        assert weights[name].dtype == value.dtype
        np.testing.assert_array_equal(weights[name], value)
    assert weights["nothing"].shape == (0, 1)


def refusal(read, path: Path) -> str:
    """What GraphModelError says of a file: one short line that begins with its name."""
    with pytest.raises(GraphModelError) as error:
        read(path)
    line = str(error.value)
    assert line.startswith(f"{path}: not a ") and "\n" not in line and len(line) < 300
    return line


def test_truncated_or_longer_weights_are_one_line(tiny):
    shard = tiny.with_name("m-2.bin")
    whole = shard.read_bytes()
    for content in (b"", whole[:-1], whole[:-4], whole + b"\0"):
        shard.write_bytes(content)
        assert "not a graph model" in refusal(read_graph_model, tiny)
    shard.unlink()
    assert "m-2.bin" in refusal(read_graph_model, tiny)


BROKEN = {
    "empty": "",
    "no JSON": "graph",
    "a list": "[]",
    "a number": "7",
    "no graph": '{"weightsManifest": []}',
    "no weights": '{"modelTopology": {"node": []}}',
    "a node that is a word": '{"modelTopology": {"node": ["x"]}, "weightsManifest": []}',
    "a node without a name": '{"modelTopology": {"node": [{}]}, "weightsManifest": []}',
    "an attribute that is a word": (
        '{"modelTopology": {"node": [{"name": "", "op": "", "attr": {"a": "b"}}]},'
        ' "weightsManifest": []}'
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_graph_model_is_one_line(tmp_path, kind):
    path = tmp_path / "m.json"
    path.write_text(BROKEN[kind])
    assert "not a graph model" in refusal(read_graph_model, path)


def test_bytes_and_missing_files_are_one_line(tmp_path):
    path = tmp_path / "m.json"
    assert "No such file" in refusal(read_graph_model, path)
    path.write_bytes(bytes(range(256)))
    refusal(read_graph_model, path)
    path.unlink()
    path.mkdir()
    assert "directory" in refusal(read_graph_model, path)


def test_unknown_type_of_weights_is_one_line(tiny):
    tiny.write_text(tiny.read_text().replace('"int32"', '"string"'))
    assert "string" in refusal(read_graph_model, tiny)


@pytest.mark.parametrize(
    ("read", "name"), [(read_trunk, "not a MoveNet"), (read_nanodet, "not a NanoDet-g")]
)
def test_another_network_is_one_line(tiny, read, name):
    assert name in refusal(read, tiny)
    tiny.with_name("m-1.bin").write_bytes(b"")
    assert "not a graph model" in refusal(read, tiny)


def write_nanodet(folder: Path, network: NanoDet) -> Path:
    """The network as it is published: BGR, 80 classes, numbered convolutions, float16."""
    layers = [(n, m) for n, m in network.named_modules() if isinstance(m, torch.nn.Conv2d)]
    half = {"dtype": "float16", "original_dtype": "float32"}
    nodes, weights = [], []
    for number, (name, layer) in enumerate(layers):
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        if name == "stem":
            weight = weight[:, ::-1]
        if name.endswith(".out"):
            others = np.full((CLASSES - 1, *weight.shape[1:]), 7)
            weight = np.concatenate([weight[:1], others, weight[1:]])
            bias = np.concatenate([bias[:1], np.full(CLASSES - 1, 7), bias[1:]])
        suffix = f"_{number}" if number else ""
        convolution = f"PartitionedCall/convolution{suffix}"
        inputs = [f"input{number}", f"split{number}"]
        nodes.append({"name": convolution, "op": "Conv2D", "input": inputs})
        nodes.append({"name": f"add{number}", "op": "Add", "input": [convolution, f"b{number}"]})
        for entry, value in (
            (inputs[1], weight.transpose(2, 3, 1, 0)),
            (f"b{number}", bias.reshape(1, -1, 1, 1)),
        ):
            entry = {"name": entry, "dtype": "float32", "quantization": half}
            weights.append((entry, np.ascontiguousarray(value, np.float16)))
    return write_model(folder, nodes[::-1], weights)


def test_nanodet_comes_back_with_persons_alone(tmp_path):
    network = NanoDet()
    read = read_nanodet(write_nanodet(tmp_path, network))
    for name, tensor in network.state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor.half().float()), name


def test_nanodet_of_another_shape_is_one_line(tmp_path):
    network = NanoDet()
    network.lateral[0] = torch.nn.Conv2d(128, 64, 1)
    line = refusal(read_nanodet, write_nanodet(tmp_path, network))
    assert "size mismatch for lateral.0.weight" in line


def test_command_says_one_line_for_another_network(tiny, monkeypatch, capsys):
    out = tiny.with_name("out.safetensors")
    monkeypatch.setattr("sys.argv", ["import_detector", str(tiny), str(out)])
    assert import_detector.main() == 2
    assert capsys.readouterr().err.count("\n") == 1 and not out.exists()


class Interpreter:
    """Runs a graph node by node, in float64 and in TensorFlow's layouts."""

    def __init__(self, model: GraphModel, image: torch.Tensor):
        """image: what the graph's placeholder stands for."""
        self.nodes = {node.name: node for node in model.nodes}
        self.values = {}
        for name, weight in model.weights.items():
            value = torch.from_numpy(weight.copy())
            self.values[name] = value.double() if value.is_floating_point() else value
        self.image = image.double()

    def __call__(self, name: str) -> torch.Tensor:
        """The value of a node."""
        if name not in self.values:
            node = self.nodes[name]
            inputs = [self(source) for source in node.inputs]
            self.values[name] = self._run(node, *inputs)
        return self.values[name]

    def _run(self, node: Node, *inputs) -> torch.Tensor:
        simple = {
            "Placeholder": lambda: self.image,
            "Cast": lambda x: x,
            "Unpack": lambda x: x[0],  # the only one that is asked for is a batch of one
            "ExpandDims": lambda x, axis: x.unsqueeze(int(axis)),
            "Squeeze": lambda x: x.squeeze(node.attributes["squeeze_dims"][0]),
            "Add": torch.add,
            "AddV2": torch.add,
            "Sub": torch.sub,
            "Mul": torch.mul,
            "Transpose": lambda x, axes: x.permute(axes.tolist()),
            "ConcatV2": lambda *x: torch.cat(x[:-1], int(x[-1])),
            "Pad": pad,
            "PadV2": pad,
            "LeakyRelu": lambda x: functional.leaky_relu(x, node.attributes["alpha"]),
        }
        layers = {
            "Conv2D": convolve,
            "_FusedConv2D": convolve,
            "DepthwiseConv2dNative": convolve,
            "FusedDepthwiseConv2dNative": convolve,
            "MaxPool": pool,
            "ResizeBilinear": resize,
        }
        if node.operation in simple:
            return simple[node.operation](*inputs)
        return layers[node.operation](node, *inputs)


def pad(x: torch.Tensor, sides: torch.Tensor, value: torch.Tensor | None = None) -> torch.Tensor:
    """sides: (dimensions, 2), of the first dimension first."""
    return functional.pad(x, sides.flip(0).flatten().tolist(), value=float(value or 0))


def convolve(node: Node, x: torch.Tensor, kernel: torch.Tensor, bias=None) -> torch.Tensor:
    """(N, H, W, C) with (K, K, in, out), or (K, K, C, 1) of depthwise filters."""
    stride = node.attributes["strides"][1]
    depthwise = "Depthwise" in node.operation
    x = x.permute(0, 3, 1, 2)
    weight = kernel.permute(2, 3, 0, 1) if depthwise else kernel.permute(3, 2, 0, 1)
    if node.attributes["padding"] == "SAME":
        side, length = weight.shape[-1], x.shape[-1]
        missing = max((-(-length // stride) - 1) * stride + side - length, 0)
        before = missing // 2
        x = functional.pad(x, (before, missing - before, before, missing - before))
    y = functional.conv2d(x, weight, bias, stride, groups=x.shape[1] if depthwise else 1)
    fused = node.attributes.get("fused_ops", [])
    if "Relu6" in fused:
        y = y.clamp(0, 6)
    elif "Relu" in fused:
        y = y.clamp(min=0)
    return y.permute(0, 2, 3, 1)


def pool(node: Node, x: torch.Tensor) -> torch.Tensor:
    """(N, H, W, C), without padding."""
    side, stride = node.attributes["ksize"][1], node.attributes["strides"][1]
    assert node.attributes["padding"] == "VALID"
    return functional.max_pool2d(x.permute(0, 3, 1, 2), side, stride).permute(0, 2, 3, 1)


def resize(node: Node, x: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """(N, H, W, C) to `size` (H, W)."""
    assert node.attributes["half_pixel_centers"] and not node.attributes["align_corners"]
    x = x.permute(0, 3, 1, 2)
    return functional.interpolate(x, size.tolist(), mode="bilinear").permute(0, 2, 3, 1)


def node_named(model: GraphModel, ending: str) -> str:
    """The one node whose name ends so."""
    (name,) = [node.name for node in model.nodes if node.name.endswith(ending)]
    return name


@pytest.mark.parametrize(
    ("name", "side", "width"), [("thunder", 256, 1.75), ("lightning", 192, 1.0)]
)
def test_trunk_says_what_the_published_movenet_says(published, name, side, width):
    path = published / f"movenet-{name}.json"
    trunk, model = read_trunk(path), read_graph_model(path)
    assert trunk.state_dict().keys() == Trunk(width).state_dict().keys()

    image = torch.randint(0, 256, (1, 3, side, side))
    image[..., : side // 2] = 128  # flat on one side
    graph = Interpreter(model, image.permute(0, 2, 3, 1))

    # the graph's own scale is rounded to float16
    normalised = node_named(model, "StatefulPartitionedCall/sub_1")
    plain = 2 * graph.image / 255 - 1
    torch.testing.assert_close(graph(normalised), plain, atol=1e-4, rtol=0)
    graph.values[normalised] = plain

    with torch.inference_mode():
        ours = trunk.double()(image.double() / 255)
        for maps, ending in (
            (ours.heat, "kpt_heatmap_0/conv2d_5/BiasAdd"),
            (ours.centre, "center_0/conv2d_4/BiasAdd"),
            (ours.regression, "kpt_regress_0/conv2d_6/BiasAdd"),
            (ours.features, "re_lu_2/Relu"),
        ):
            theirs = graph(node_named(model, ending)).permute(0, 3, 1, 2)
            assert theirs.std() > 0.01
            torch.testing.assert_close(maps, theirs, atol=1e-3, rtol=0)


def test_network_says_what_the_published_nanodet_says(published):
    path = published / "nanodet.json"
    network, model = read_nanodet(path), read_graph_model(path)
    image = torch.rand(1, 3, 416, 416, dtype=torch.float64)
    image[..., :200] = 0.5  # flat on one side
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(3, 1, 1)

    graph = Interpreter(model, ((image - mean) / std).flip(1))  # BGR
    with torch.inference_mode():
        levels = network.double()(image)
        for (logits, distances), number, stride in zip(levels, (29, 33, 37), STRIDES):
            maps = graph(f"PartitionedCall/Add_{number}")[0]  # (h, w, 80 + 44)
            torch.testing.assert_close(logits[0].double(), maps[..., 0], atol=1e-3, rtol=0)

            sides = maps[..., CLASSES:].unflatten(-1, (4, SIDE_BINS)).softmax(-1)
            expected = stride * sides @ torch.arange(SIDE_BINS, dtype=torch.float64)
            assert expected.std() > 0.01 * stride
            torch.testing.assert_close(
                distances[0].permute(1, 2, 0).double(), expected, atol=1e-3, rtol=0
            )


def test_published_networks_are_told_apart(published):
    assert "not a NanoDet-g" in refusal(read_nanodet, published / "movenet-thunder.json")
    assert "not a MoveNet" in refusal(read_trunk, published / "nanodet.json")


def test_detector_that_ships_is_the_published_one(published, tmp_path, monkeypatch):
    out = tmp_path / "out.safetensors"
    arguments = ["import_detector", str(published / "nanodet.json"), str(out)]
    monkeypatch.setattr("sys.argv", arguments)
    assert import_detector.main() == 0
    assert out.read_bytes() == (WEIGHTS / "detector.safetensors").read_bytes()
