# SPDX-License-Identifier: Apache-2.0
"""Runs graphs with ONNX Runtime, for GPUs without CUDA in torch, such as on robots."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lifting_ros.config import ConfigError
from lifting_ros.device import thread_count
from lifting_ros.io.cache import cache_folder, cached_folder
from lifting_ros.io.checkpoint import CheckpointError
from lifting_ros.keypoints.graph_files import cache_name
from lifting_ros.keypoints.onnx_files import OPSET, check_origin, export_graphs

if TYPE_CHECKING:
    from lifting_ros.runtimes import OnnxConfig

PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
"""ONNX Runtime's names of the providers."""

MOST_CROPS = 8
"""Largest batch that a TensorRT engine is built for; a larger one builds it again."""

SIDES_PX = (64, 320, 1024)
"""Least, usual and largest side of the detector's input that a TensorRT engine is built for."""

_ERRORS_ONLY = 3


class OnnxRuntime:
    """Exports, loads and runs graphs with the best provider there is."""

    def __init__(self, config: OnnxConfig, device: str = "auto"):
        """ImportError without ONNX Runtime; ConfigError where none of the providers is installed,
        or for an unknown device."""
        import onnxruntime

        self._package = onnxruntime
        self._config = config
        self.providers = choose_providers(
            config.providers, device, onnxruntime.get_available_providers()
        )
        self._device_id = int(device.partition(":")[2] or 0)
        self.device = "cpu" if self.providers == ["cpu"] else f"cuda:{self._device_id}"

    def load(self, path: Path, kind: str, names: Sequence[str]) -> list[OnnxGraph]:
        """See `protocols.GraphRuntime`."""
        if self._config.graphs:
            return self._read(Path(self._config.graphs), path, names)

        name = cache_name(path, f"onnx {OPSET}")

        def fill(folder: Path) -> None:
            export_graphs(path, kind, folder)

        with cached_folder(name, fill) as folder:
            return self._read(folder, path, names)

    def _read(self, folder: Path, weights: Path, names: Sequence[str]) -> list[OnnxGraph]:
        graphs = []
        for name in names:
            file = folder / f"{name}.onnx"
            if not file.is_file():
                raise CheckpointError(f"{file}: no such file; lifting export writes it")

            try:
                session = self._session(file)
            except Exception as error:  # ONNX Runtime's own kinds have no common base
                raise CheckpointError(
                    f"{file}: ONNX Runtime cannot load it ({str(error).splitlines()[0]})"
                ) from None

            check_origin(session.get_modelmeta().custom_metadata_map, file, weights)
            graphs.append(OnnxGraph(session))

        return graphs

    def _session(self, file: Path) -> Any:
        options = self._package.SessionOptions()
        options.intra_op_num_threads = thread_count()
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")

        chosen = []
        for provider in self.providers:
            chosen.append((PROVIDERS[provider], self._options_of(provider, file)))

        return self._package.InferenceSession(str(file), options, providers=chosen)

    def _options_of(self, provider: str, file: Path) -> dict[str, Any]:
        """Options of a provider for one graph."""
        if provider == "cpu":
            return {}
        if provider == "cuda":
            return {"device_id": self._device_id}

        # ONNX Runtime adds the GPU's architecture to the names of the engines
        engines = cache_folder() / "tensorrt" / f"device_{self._device_id}"
        engines.mkdir(parents=True, exist_ok=True)
        inputs = self._package.InferenceSession(
            str(file), providers=[PROVIDERS["cpu"]]
        ).get_inputs()
        return {
            "device_id": self._device_id,
            "trt_fp16_enable": self._config.fp16,
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(engines),
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": str(engines),
            "trt_profile_min_shapes": profile(inputs, lambda axis: 1 if axis == 0 else SIDES_PX[0]),
            "trt_profile_opt_shapes": profile(inputs, lambda axis: 1 if axis == 0 else SIDES_PX[1]),
            "trt_profile_max_shapes": profile(
                inputs, lambda axis: MOST_CROPS if axis == 0 else SIDES_PX[2]
            ),
        }


def choose_providers(order: str, device: str, installed: Sequence[str]) -> list[str]:
    """The providers to use, best first; the CPU is always the last one.

    order: names, separated by commas; device: auto, cpu, cuda or cuda:n; installed: ONNX Runtime's
    names. ConfigError for an unknown name, or where a GPU is asked for and no provider of one is
    there.
    """
    wanted = [name.strip() for name in order.split(",") if name.strip()]
    for name in wanted:
        if name not in PROVIDERS:
            raise ConfigError(
                f"onnx.providers: expected names of {', '.join(PROVIDERS)}, got {name!r}"
            )

    if device not in ("auto", "cpu") and not re.fullmatch(r"cuda(:\d+)?", device):
        raise ConfigError(f"device: expected auto, cpu, cuda or cuda:n, got {device!r}")

    found = [name for name in wanted if name != "cpu" and PROVIDERS[name] in installed]
    if device == "cpu":
        found = []
    if device.startswith("cuda") and not found:
        raise ConfigError(
            f"device: {device} requires ONNX Runtime with one of onnx.providers {order}, installed "
            f"are {', '.join(installed)}"
        )

    return [*found, "cpu"]


def profile(inputs: Sequence[Any], length: Callable[[int], int]) -> str:
    """Shapes of the inputs as TensorRT's options have them, with `length(axis)` for free axes."""
    shapes = []
    for one in inputs:
        sides = [
            side if isinstance(side, int) else length(axis) for axis, side in enumerate(one.shape)
        ]
        shapes.append(f"{one.name}:{'x'.join(map(str, sides))}")

    return ",".join(shapes)


class OnnxGraph:
    """One graph in a session of ONNX Runtime."""

    def __init__(self, session: Any):
        self._session = session
        self._names = [one.name for one in session.get_inputs()]

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """See `protocols.Graph`."""
        feed = {}
        for name, values in zip(self._names, inputs):
            feed[name] = np.ascontiguousarray(values)

        return self._session.run(None, feed)
