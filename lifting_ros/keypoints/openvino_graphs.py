# SPDX-License-Identifier: Apache-2.0
"""Runs graphs with OpenVINO, on CPUs the fastest of the runtimes.

A network is converted once per user and computer, which requires torch and takes seconds. Later
starts read the converted graphs from the cache and never import torch.
"""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from lifting_ros.device import cpu_has_bf16, thread_count
from lifting_ros.io.atomic import discard
from lifting_ros.io.cache import cached_folder
from lifting_ros.keypoints.graph_files import cache_name

if TYPE_CHECKING:
    from lifting_ros.keypoints.graphs import GraphSource

_TELEMETRY = "openvino_telemetry"


def import_openvino() -> ModuleType:
    """The package, without the module through which importing it reports its use over the network.

    ImportError where the package is missing or does not fit the system.
    """
    loaded = sys.modules.get("openvino")
    if loaded is not None:
        return loaded

    before = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # importing it now fails
    try:
        import openvino
    finally:
        del sys.modules[_TELEMETRY]
        if before is not None:
            sys.modules[_TELEMETRY] = before

    return openvino


@functools.cache
def _core() -> Any:
    """OpenVINO's entry to the CPU, one for the life of the process.

    Its CPU plugin gives the thread that creates it a stack for signal handlers. Of two that end in
    the order of their creation, the second one hands back the stack that the first has unmapped,
    and the next signal that Python handles kills the process.
    """
    return import_openvino().Core()


class OpenVINORuntime:
    """Converts, loads and compiles graphs for the CPU."""

    device = "cpu"

    def __init__(self):
        """ImportError without OpenVINO."""
        self._package = import_openvino()
        self._core = _core()
        self._options = {
            "INFERENCE_NUM_THREADS": thread_count(),
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # the cores belong to other programs too
            "INFERENCE_PRECISION_HINT": "bf16" if cpu_has_bf16() else "f32",
        }

    def load(self, path: Path, kind: str, names: Sequence[str]) -> list[OpenVINOGraph]:
        """See `protocols.GraphRuntime`."""
        name = cache_name(path, f"openvino {self._package.__version__}")

        def fill(folder: Path) -> None:
            convert(self._package, path, kind, folder)

        with cached_folder(name, fill) as folder:
            try:
                return self._read(folder, names)
            except RuntimeError:  # damaged; a second failure is no damage
                discard(folder)

        with cached_folder(name, fill) as folder:
            return self._read(folder, names)

    def _read(self, folder: Path, names: Sequence[str]) -> list[OpenVINOGraph]:
        options = dict(self._options)
        if os.access(folder, os.W_OK):
            options["CACHE_DIR"] = str(folder)  # what compiling gives is kept, too

        graphs = []
        for name in names:
            compiled = self._core.compile_model(folder / f"{name}.xml", "CPU", options)
            graphs.append(OpenVINOGraph(compiled, self._package.Tensor))

        return graphs


class OpenVINOGraph:
    """One compiled graph of batch size one.

    A larger batch runs row by row: on CPUs that takes no longer (`bench/runtimes.py`), and the
    result for a person does not depend on who else is in the image.
    """

    def __init__(self, compiled: Any, tensor: Any):
        """tensor: the package's class of tensors."""
        self._request = compiled.create_infer_request()
        self._outputs = len(compiled.outputs)
        self._tensor = tensor
        self._inputs: list[np.ndarray] = []
        """Those of the last call, whose memory the request uses."""

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """See `protocols.Graph`."""
        count = len(inputs[0])
        if count == 1:
            return self._run(inputs)

        rows = []
        for index in range(count):
            row = self._run([values[index : index + 1] for values in inputs])
            rows.append([values.copy() for values in row])

        return [np.concatenate(parts) for parts in zip(*rows)]

    def _run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        # Tensors that are set cost half of what arguments and results of `infer` cost
        self._inputs = [np.require(values, None, ("C", "W")) for values in inputs]
        for index, values in enumerate(self._inputs):
            self._request.set_input_tensor(index, self._tensor(values, shared_memory=True))
        self._request.infer(share_outputs=True)
        return [self._request.get_output_tensor(index).data for index in range(self._outputs)]


def convert(package: ModuleType, path: Path, kind: str, folder: Path) -> None:
    """Write the graphs of a weights file into a folder, in OpenVINO's own format."""
    from lifting_ros.keypoints.graphs import SOURCES

    for name, source in SOURCES[kind](path).items():
        model = _model_of(package, source)
        package.save_model(model, folder / f"{name}.xml", compress_to_fp16=False)


def _model_of(package: ModuleType, source: GraphSource) -> Any:
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    frontend = FrontEndManager().load_by_framework("pytorch")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations
        traced = torch.jit.trace(source.module.eval(), source.example, check_trace=False)
        decoder = TorchScriptPythonDecoder(torch.jit.freeze(traced))  # outlives the conversion
        model = frontend.convert(frontend.load(decoder))

    for port, example, name in zip(model.inputs, source.example, source.inputs):
        shape = list(example.shape)
        for axis in source.free_axes:
            shape[axis] = -1 if axis else 1
        dtype = example.numpy().dtype

        node = port.get_node()
        node.set_partial_shape(package.PartialShape(shape))
        node.set_element_type(package.Type(dtype))
        port.get_tensor().set_names({name})

    for port, name in zip(model.outputs, source.outputs):
        port.get_tensor().set_names({name})

    model.validate_nodes_and_infer_types()
    return model
