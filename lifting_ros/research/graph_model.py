# SPDX-License-Identifier: Apache-2.0
"""Reads published TensorFlow.js graph models: the topology (JSON) and the weights beside it (binary
shards, float16 or float32)."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lifting_ros.detection.nanodet import NanoDet
from lifting_ros.errors import LiftingError
from lifting_ros.io.checkpoint import reason
from lifting_ros.keypoints.trunk import Trunk

_TYPES = {"float32": "<f4", "float16": "<f2", "int32": "<i4", "bool": "|b1", "uint8": "|u1"}
_HEADS = {"heat": "kpt_heatmap_0", "centre": "center_0", "regression": "kpt_regress_0"}
_WIDTHS = {56: 1.75, 48: 1.5, 32: 1.0}
_CLASSES = 80
_PERSON = 0
_OTHER_NETWORK = (KeyError, IndexError, ValueError, RuntimeError, StopIteration)
"""What reading the layers of another network raises."""


class GraphModelError(LiftingError):
    """A graph model that is missing, damaged or another network; the text is one line and names the
    file."""


class Node(NamedTuple):
    """One operation of the graph."""

    name: str
    operation: str
    inputs: tuple[str, ...]
    attributes: dict[str, Any]


class GraphModel(NamedTuple):
    """Operations in the file's order, and constants by name as float32, int32 or bool."""

    nodes: tuple[Node, ...]
    weights: dict[str, np.ndarray]


def read_graph_model(path: str | Path) -> GraphModel:
    """Read `NAME.json` and the shards that it names; GraphModelError in one line where that cannot
    be done."""
    path = Path(path)
    try:
        model = json.loads(path.read_text(encoding="utf-8"))
        nodes = tuple(_node(node) for node in model["modelTopology"]["node"])
        weights = {
            name: value
            for group in model["weightsManifest"]
            for name, value in _read_group(path.parent, group).items()
        }
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise GraphModelError(f"{path}: not a graph model ({reason(error)})") from None

    return GraphModel(nodes, weights)


def _node(node: dict) -> Node:
    raw = node.get("attr", {})
    attributes = {name: _attribute(value) for name, value in raw.items()}
    inputs = tuple(node.get("input", ()))
    return Node(node["name"], node["op"], inputs, attributes)


def _attribute(value: dict) -> Any:
    if "list" in value:
        return [_attribute({kind: item}) for kind, items in value["list"].items() for item in items]

    kind, content = next(iter(value.items()), ("", None))
    if kind == "s":
        return base64.b64decode(content).decode()
    if kind == "i":
        return int(content)
    return content


def _read_group(folder: Path, group: dict) -> dict[str, np.ndarray]:
    raw = b"".join((folder / shard).read_bytes() for shard in group["paths"])
    weights = {}
    start = 0

    for entry in group["weights"]:
        stored = entry.get("quantization", {}).get("dtype", entry["dtype"])
        kind = np.dtype(_TYPES[stored])
        count = int(np.prod(entry["shape"], dtype=np.int64))
        value = np.frombuffer(raw, kind, count, start).reshape(entry["shape"])
        weights[entry["name"]] = value.astype(_TYPES[entry["dtype"]])
        start += count * kind.itemsize

    if start != len(raw):
        raise ValueError(f"{len(raw)} bytes of weights, expected {start}")

    return weights


def read_trunk(path: str | Path) -> Trunk:
    """The trunk of a published MoveNet, unchanged. GraphModelError for another network."""
    model = read_graph_model(path)
    try:
        return _trunk(model)
    except _OTHER_NETWORK as error:
        raise GraphModelError(f"{path}: not a MoveNet ({reason(error)})") from None


def _trunk(model: GraphModel) -> Trunk:
    layers = _Layers(model)
    trunk = Trunk(_WIDTHS[layers.bias("model/Conv1_relu/Relu6").shape[0]])
    state = {}
    state |= layers.convolution("backbone.stem", "model/Conv1_relu/Relu6")

    for index in range(len(trunk.backbone.blocks)):
        name = f"model/block_{index}" if index else "model/expanded_conv"
        block = f"backbone.blocks.{index}"
        if index:
            state |= layers.convolution(f"{block}.expand", f"{name}_expand_relu/Relu6")

        state |= layers.convolution(f"{block}.depthwise", f"{name}_depthwise/depthwise")
        state |= layers.convolution(f"{block}.project", f"{name}_project_BN/FusedBatchNormV3")

    state |= layers.convolution("backbone.last", "model/out_relu/Relu6")

    for index in range(4):
        state |= layers.convolution(
            f"pyramid.lateral.{index}", f"{_numbered('conv2d', index)}/BiasAdd"
        )

    for index in range(3):
        depthwise = f"{_numbered('separable_conv2d', index)}/separable_conv2d/depthwise"
        state |= layers.separable(f"pyramid.merge.{index}", depthwise)

    for head, published in _HEADS.items():
        depthwise = next(
            name
            for name in layers.nodes
            if name.startswith(published) and name.endswith("/depthwise")
        )
        last = next(
            name
            for name in layers.nodes
            if name.startswith(f"{published}/conv2d_") and name.endswith("/BiasAdd")
        )
        state |= layers.separable(f"{head}.0", depthwise)
        state |= layers.convolution(f"{head}.1", last)

    trunk.load_state_dict(state)

    return trunk.eval()


def _numbered(name: str, index: int) -> str:
    return f"{name}_{index}" if index else name


class _Layers:
    """Convolutions of the graph by the part of their name that its authors gave them."""

    def __init__(self, model: GraphModel):
        self.weights = model.weights
        self.nodes = {_short(node.name): node for node in model.nodes}
        self.readers = {
            _short(node.inputs[0]): node
            for node in model.nodes
            if node.inputs and "Conv2D" in node.operation
        }

    def convolution(self, ours: str, published: str) -> dict[str, Tensor]:
        """Weight and bias of a convolution with bias."""
        return {
            f"{ours}.weight": self.kernel(self.nodes[published]),
            f"{ours}.bias": self.bias(published),
        }

    def separable(self, ours: str, published: str) -> dict[str, Tensor]:
        """The filters per channel, and the 1x1 convolution that reads them."""
        depthwise = self.nodes[published]
        pointwise = self.readers[published]

        return {
            f"{ours}.depthwise.weight": self.kernel(depthwise),
            f"{ours}.pointwise.weight": self.kernel(pointwise),
            f"{ours}.pointwise.bias": self.bias(_short(pointwise.name)),
        }

    def kernel(self, node: Node) -> Tensor:
        """(out, in / groups, h, w) from TensorFlow's (h, w, in, out), or (h, w, channels, 1) of
        depthwise filters."""
        axes = (2, 3, 0, 1) if "Depthwise" in node.operation else (3, 2, 0, 1)
        weights = self.weights[node.inputs[1]]
        return torch.from_numpy(weights.transpose(axes).copy())

    def bias(self, published: str) -> Tensor:
        """(out,) of a convolution with bias."""
        return torch.from_numpy(self.weights[self.nodes[published].inputs[2]].copy())


def _short(name: str) -> str:
    """A node's name without the scopes that all of them share."""
    return name.removeprefix("StatefulPartitionedCall/").removeprefix(
        "center_net_mobile_net_v2fpn_feature_extractor/model_1/"
    )


def read_nanodet(path: str | Path) -> NanoDet:
    """The published NanoDet-g, of its 80 classes that of persons alone. GraphModelError for another
    network."""
    model = read_graph_model(path)
    try:
        return _nanodet(model)
    except _OTHER_NETWORK as error:
        raise GraphModelError(f"{path}: not a NanoDet-g ({reason(error)})") from None


def _nanodet(model: GraphModel) -> NanoDet:
    """The graph names convolutions by number alone: 0 to 24 are the backbone's, 25 to 27 the
    pyramid's, 28 to 33 the heads'."""
    network = NanoDet()
    names = [name for name, _ in _convolutions(network)]
    published = _numbered_convolutions(model)
    if len(published) != len(names):
        raise ValueError(f"{len(published)} convolutions, expected {len(names)}")

    state = {}

    for name, (weight, bias) in zip(names, published):
        if name.startswith("heads") and name.endswith("out"):
            kept = [_PERSON, *range(_CLASSES, len(weight))]
            weight = weight[kept]
            bias = bias[kept]
        state |= {f"{name}.weight": weight, f"{name}.bias": bias}

    network.load_state_dict(state)

    return network.eval()


def _convolutions(network: nn.Module) -> list[tuple[str, nn.Module]]:
    modules = network.named_modules()
    return [(name, module) for name, module in modules if isinstance(module, nn.Conv2d)]


def _numbered_convolutions(model: GraphModel) -> list[tuple[Tensor, Tensor]]:
    """Weights (out, in, h, w) with their colours as RGB, and biases, in the order of the
    convolutions' numbers."""
    adders = {node.inputs[0]: node for node in model.nodes if node.operation == "Add"}
    numbered = {}

    for node in model.nodes:
        if node.operation == "Conv2D":
            number = int("0" + node.name.rpartition("/convolution")[2].strip("_"))
            weight = model.weights[node.inputs[1]].transpose(3, 2, 0, 1)
            weight = weight[:, ::-1] if number == 0 else weight
            bias = model.weights[adders[node.name].inputs[1]].reshape(-1)
            numbered[number] = torch.from_numpy(weight.copy()), torch.from_numpy(bias.copy())

    return [numbered[number] for number in sorted(numbered)]
