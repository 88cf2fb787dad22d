# SPDX-License-Identifier: Apache-2.0
"""What runs the networks: torch, or a runtime for networks that are cut into graphs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lifting_ros.config import ConfigError
from lifting_ros.device import choose_device, is_cpu

if TYPE_CHECKING:
    import torch

    from lifting_ros.protocols import GraphRuntime


@dataclass(frozen=True)
class OnnxConfig:
    """Parameters of the runtime `onnx`."""

    graphs: str = field(
        default="",
        metadata={
            "description": (
                "folder that `lifting export` wrote; empty: export at the first start, which "
                "requires onnx and onnxscript"
            )
        },
    )
    providers: str = field(
        default="tensorrt,cuda,cpu",
        metadata={
            "description": (
                "ONNX Runtime's providers (tensorrt, cuda, cpu), best first; those that are not "
                "installed are skipped"
            )
        },
    )
    fp16: bool = field(
        default=True, metadata={"description": "let TensorRT compute in half precision"}
    )


def _openvino(device: str, onnx: OnnxConfig) -> GraphRuntime:
    from lifting_ros.keypoints.openvino_graphs import OpenVINORuntime

    if device != "auto" and not is_cpu(device):
        raise ConfigError(
            f"runtime: openvino runs on the CPU; expected device auto or cpu, got {device}"
        )
    return OpenVINORuntime()


def _onnx(device: str, onnx: OnnxConfig) -> GraphRuntime:
    from lifting_ros.keypoints.onnx_graphs import OnnxRuntime

    return OnnxRuntime(onnx, device)


GRAPH_RUNTIMES: dict[str, Callable[[str, OnnxConfig], GraphRuntime]] = {
    "openvino": _openvino,
    "onnx": _onnx,
}
"""Called with the name of the device; ImportError where their package is missing."""

TORCH = "torch"
CHOICES = ("auto", TORCH, *GRAPH_RUNTIMES)
"""Values of the parameter `runtime`."""

FASTEST_ON_CPU = "openvino"
"""What `auto` chooses on a CPU, where its package is installed (`bench/runtimes.py`)."""


_ONNX = OnnxConfig()


@dataclass(frozen=True)
class Placement:
    """What runs the networks, and where."""

    device: torch.device | str
    runtime: str = TORCH
    graphs: GraphRuntime | None = None
    """None: torch."""
    required: bool = False
    """Whether the user asked for this runtime. If not, torch may run what it cannot."""


def choose_placement(
    runtime: str, device: str, compiled: bool = False, onnx: OnnxConfig = _ONNX
) -> Placement:
    """The runtime of that name on the device of that name.

    `auto` is OpenVINO on a CPU and torch on a GPU; torch also where OpenVINO is not installed, and
    for networks that torch is to compile. ConfigError where the runtime's package is missing, or
    for a device that does not exist.
    """
    if runtime in GRAPH_RUNTIMES:
        try:
            graphs = GRAPH_RUNTIMES[runtime](device, onnx)
        except ImportError as error:
            raise ConfigError(
                f"runtime: {runtime} requires a package that cannot be imported ({error})"
            ) from None
        return Placement(graphs.device, runtime, graphs, required=True)

    if runtime == "auto" and not compiled and is_cpu(device):
        try:
            graphs = GRAPH_RUNTIMES[FASTEST_ON_CPU](device, onnx)
            return Placement(graphs.device, FASTEST_ON_CPU, graphs)
        except ImportError:
            pass  # no wheel for this machine

    return Placement(choose_device(device))


def without_graphs(placement: Placement, what: str) -> Placement:
    """The same with torch, for a network that has no graphs.

    what: it, for the message of the ConfigError where the user asked for another runtime.
    """
    if placement.required:
        raise ConfigError(
            f"runtime: {placement.runtime} cannot run {what}; expected auto or {TORCH}"
        )

    return Placement(choose_device("cpu"))
