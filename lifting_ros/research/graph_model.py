# SPDX-License-Identifier: Apache-2.0
"""Reads published TensorFlow.js graph models: the topology (JSON) and the weights beside it (binary
shards, float16 or float32)."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from lifting_ros.detection.multipose import MultiPose
from lifting_ros.errors import LiftingError
from lifting_ros.io.checkpoint import reason
from lifting_ros.keypoints.trunk import Trunk

Network = TypeVar("Network", bound=nn.Module)

_TYPES = {"float32": "<f4", "float16": "<f2", "int32": "<i4", "bool": "|b1", "uint8": "|u1"}
_TRUNK_HEADS = {"heat": "kpt_heatmap_0", "centre": "center_0", "regression": "kpt_regress_0"}
_PERSON_HEADS = {"centre": "center_0", "size": "box_scale_0", "offset": "box_offset_0"}
_WIDTHS = {56: 1.75, 48: 1.5, 32: 1.0}
_BLOCKS = 17
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
        quantization = entry.get("quantization", {})
        if "scale" in quantization:
            kind = quantization["dtype"]
            raise ValueError(f"{entry['name']}: weights in {kind}, expected float16")

        stored = quantization.get("dtype", entry["dtype"])
        kind = np.dtype(_TYPES[stored])
        count = int(np.prod(entry["shape"], dtype=np.int64))
        value = np.frombuffer(raw, kind, count, start).reshape(entry["shape"])
        weights[entry["name"]] = value.astype(_TYPES[entry["dtype"]])
        start += count * kind.itemsize

    if start != len(raw):
        raise ValueError(f"{len(raw)} bytes of weights, expected {start}")

    return weights


def read_trunk(path: str | Path) -> Trunk:
    """The trunk of a published MoveNet SinglePose, unchanged. GraphModelError for another
    network."""
    return _read_network(path, Trunk, _TRUNK_HEADS, "MoveNet")


def read_multipose(path: str | Path) -> MultiPose:
    """The published MoveNet MultiPose without its keypoint heads. GraphModelError for another
    network."""
    return _read_network(path, MultiPose, _PERSON_HEADS, "MoveNet MultiPose")


def _read_network(
    path: str | Path, make: Callable[[float], Network], heads: dict[str, str], name: str
) -> Network:
    """A network made by make(width), with the weights of a file.

    heads: published name of each head; name: of the network, for the error.
    """
    model = read_graph_model(path)
    try:
        layers = _Layers(model)
        network = make(layers.width())
        network.load_state_dict(layers.features() | layers.heads(heads))
    except _OTHER_NETWORK as error:
        raise GraphModelError(f"{path}: not a {name} ({reason(error)})") from None
    return network.eval()


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

    def width(self) -> float:
        """The width multiplier of the MobileNetV2."""
        return _WIDTHS[len(self.bias("model/Conv1_relu/Relu6"))]

    def features(self) -> dict[str, Tensor]:
        """State of a `Backbone` and of a `Pyramid`."""
        state = self.convolution("backbone.stem", "model/Conv1_relu/Relu6")

        for index in range(_BLOCKS):
            name = f"model/block_{index}" if index else "model/expanded_conv"
            block = f"backbone.blocks.{index}"
            if index:
                state |= self.convolution(f"{block}.expand", f"{name}_expand_relu/Relu6")

            state |= self.convolution(f"{block}.depthwise", f"{name}_depthwise/depthwise")
            state |= self.convolution(f"{block}.project", f"{name}_project_BN/FusedBatchNormV3")

        state |= self.convolution("backbone.last", "model/out_relu/Relu6")

        for index in range(4):
            lateral = _numbered("conv2d", index)
            state |= self.convolution(f"pyramid.lateral.{index}", f"{lateral}/BiasAdd")

        for index in range(3):
            merge = _numbered("separable_conv2d", index)
            depthwise = f"{merge}/separable_conv2d/depthwise"
            state |= self.separable(f"pyramid.merge.{index}", depthwise)

        return state

    def heads(self, published: dict[str, str]) -> dict[str, Tensor]:
        """State of heads, by our name and the published one."""
        state = {}
        for ours, theirs in published.items():
            depthwise = self._find(f"{theirs}/", "/depthwise")
            last = self._find(f"{theirs}/conv2d_", "/BiasAdd")
            state |= self.separable(f"{ours}.0", depthwise)
            state |= self.convolution(f"{ours}.1", last)
        return state

    def _find(self, start: str, end: str) -> str:
        return next(n for n in self.nodes if n.startswith(start) and n.endswith(end))

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
