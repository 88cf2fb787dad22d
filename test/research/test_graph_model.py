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

from lifting_ros.detection.multipose import WIDTH, MultiPose
from lifting_ros.estimator import WEIGHTS
from lifting_ros.io.checkpoint import load_tensors, sha256_of
from lifting_ros.keypoints.trunk import Head, Trunk
from lifting_ros.research import import_detector
from lifting_ros.research.graph_model import (
    GraphModel,
    GraphModelError,
    Node,
    read_graph_model,
    read_multipose,
    read_trunk,
)

PUBLISHED = "LIFTING_PUBLISHED_MODELS"


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


def test_weights_with_a_scale_are_refused(tiny):
    model = json.loads(tiny.read_text())
    (kernel,) = [w for g in model["weightsManifest"] for w in g["weights"] if w["name"] == "kernel"]
    kernel["quantization"] = {"dtype": "uint8", "scale": 0.1, "min": -1.0}
    tiny.write_text(json.dumps(model))
    assert "kernel: weights in uint8, expected float16" in refusal(read_graph_model, tiny)


@pytest.mark.parametrize(
    ("read", "name"), [(read_trunk, "not a MoveNet"), (read_multipose, "not a MoveNet MultiPose")]
)
def test_another_network_is_one_line(tiny, read, name):
    assert name in refusal(read, tiny)
    tiny.with_name("m-1.bin").write_bytes(b"")
    assert "not a graph model" in refusal(read, tiny)


def write_movenet(folder: Path, network: torch.nn.Module, heads: dict[str, str]) -> Path:
    """A network with trunk, pyramid and heads as it is published: names of TensorFlow, float16.

    heads: published name of each head.
    """
    scope = "StatefulPartitionedCall/"
    deep = scope + "center_net_mobile_net_v2fpn_feature_extractor/model_1/"
    half = {"dtype": "float16", "original_dtype": "float32"}
    nodes, weights = [], []

    def add(name: str, layer: torch.nn.Conv2d, source: str = "", prefix: str = deep) -> None:
        depthwise = layer.groups > 1
        axes = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
        inputs = [source or "input", f"{name}/weights"]
        arrays = [(inputs[1], layer.weight.detach().permute(*axes).numpy())]
        if layer.bias is not None:
            inputs.append(f"{name}/bias")
            arrays.append((inputs[2], layer.bias.detach().numpy()))
        operation = "DepthwiseConv2dNative" if depthwise else "_FusedConv2D"
        nodes.append({"name": prefix + name, "op": operation, "input": inputs})
        for array, value in arrays:
            entry = {"name": array, "dtype": "float32", "quantization": half}
            weights.append((entry, np.ascontiguousarray(value, np.float16)))

    def add_separable(name: str, layer: torch.nn.Module, prefix: str = deep) -> None:
        add(f"{name}/depthwise", layer.depthwise, prefix=prefix)
        source = f"{prefix}{name}/depthwise"
        add(f"{name}/pointwise", layer.pointwise, source, prefix)

    add("model/Conv1_relu/Relu6", network.backbone.stem)
    for index, block in enumerate(network.backbone.blocks):
        name = f"model/block_{index}" if index else "model/expanded_conv"
        if block.expand is not None:
            add(f"{name}_expand_relu/Relu6", block.expand)
        add(f"{name}_depthwise/depthwise", block.depthwise)
        add(f"{name}_project_BN/FusedBatchNormV3", block.project)
    add("model/out_relu/Relu6", network.backbone.last)

    for index, lateral in enumerate(network.pyramid.lateral):
        add(f"conv2d_{index}/BiasAdd" if index else "conv2d/BiasAdd", lateral)
    for index, merge in enumerate(network.pyramid.merge):
        suffix = f"_{index}" if index else ""
        add_separable(f"separable_conv2d{suffix}/separable_conv2d", merge)

    for head, published in heads.items():
        separable, last = getattr(network, head)
        add_separable(f"{published}/separable_conv2d_9/separable_conv2d", separable, scope)
        add(f"{published}/conv2d_9/BiasAdd", last, prefix=scope)

    return write_model(folder, nodes[::-1], weights)


MULTIPOSE_HEADS = {"centre": "center_0", "size": "box_scale_0", "offset": "box_offset_0"}


def test_multipose_comes_back_without_keypoint_heads(tmp_path):
    network = MultiPose()
    network.other = Head(17)
    heads = MULTIPOSE_HEADS | {"other": "kpt_heatmap_0"}
    read = read_multipose(write_movenet(tmp_path, network, heads))

    assert read.state_dict().keys() == MultiPose().state_dict().keys()
    for name, tensor in read.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name].half().float()), name


def test_multipose_of_another_shape_is_one_line(tmp_path):
    network = MultiPose()
    network.size[-1] = torch.nn.Conv2d(96, 3, 1)
    line = refusal(read_multipose, write_movenet(tmp_path, network, MULTIPOSE_HEADS))
    assert "size mismatch for size.1.weight" in line


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
            "Shape": lambda x: torch.tensor(x.shape),
            "StridedSlice": lambda x, start, end, _: x[int(start) : int(end)],
            "Unpack": lambda x: x[0],  # the only one that is asked for is a batch of one
            "ExpandDims": lambda x, axis: x.unsqueeze(int(axis)),
            "Squeeze": lambda x: x.squeeze(node.attributes["squeeze_dims"][0]),
            "AddV2": torch.add,
            "Sub": torch.sub,
            "Mul": torch.mul,
        }
        layers = {
            "Conv2D": convolve,
            "_FusedConv2D": convolve,
            "DepthwiseConv2dNative": convolve,
            "FusedDepthwiseConv2dNative": convolve,
            "ResizeBilinear": resize,
        }
        if node.operation in simple:
            return simple[node.operation](*inputs)
        return layers[node.operation](node, *inputs)


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


def test_detector_says_what_the_published_multipose_says(published):
    path = published / "movenet-multipose.json"
    network, model = read_multipose(path), read_graph_model(path)
    assert network.state_dict().keys() == MultiPose(WIDTH).state_dict().keys()

    image = torch.randint(0, 256, (1, 3, 256, 192))
    image[..., :96] = 128  # flat on one side
    graph = Interpreter(model, image.permute(0, 2, 3, 1))
    graph.values[node_named(model, "StatefulPartitionedCall/sub_1")] = 2 * graph.image / 255 - 1

    with torch.inference_mode():
        ours = network.double()(image.double() / 255)
        for maps, ending in (
            (ours.centre[:, None], "center_0/conv2d_4/BiasAdd"),
            (ours.size, "box_scale_0/conv2d_5/BiasAdd"),
            (ours.offset, "box_offset_0/conv2d_6/BiasAdd"),
        ):
            theirs = graph(node_named(model, ending)).permute(0, 3, 1, 2)
            assert theirs.std() > 0.01
            torch.testing.assert_close(maps, theirs, atol=1e-3, rtol=0)


def test_single_and_multiple_persons_are_told_apart(published):
    single = published / "movenet-thunder.json"
    assert "not a MoveNet MultiPose" in refusal(read_multipose, single)


def test_backbone_of_the_shipped_detector_is_the_published_one(published):
    tensors, header = load_tensors(WEIGHTS / "detector.safetensors")
    network = read_multipose(published / "movenet-multipose.json")
    for name, tensor in network.backbone.state_dict().items():
        assert torch.equal(tensors[f"backbone.{name}"], tensor.half()), name

    binary = published / "movenet-multipose.bin"
    assert header["card"]["trunk"] == {binary.name: sha256_of(binary)}
