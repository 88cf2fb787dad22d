# SPDX-License-Identifier: Apache-2.0
"""Graphs as ONNX files: writing them, and what their metadata says."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lifting_ros
from lifting_ros.config import ConfigError
from lifting_ros.io.checkpoint import sha256_of

if TYPE_CHECKING:
    from lifting_ros.keypoints.graphs import GraphSource

OPSET = 18
"""Version of the ONNX operators."""

SIDE_MULTIPLE = 32
"""Free heights and widths are multiples of this."""

WEIGHTS_SHA256 = "weights_sha256"
"""Key of the metadata: SHA-256 of the weights file that a graph was made from."""


class ExportError(ConfigError):
    """A graph that cannot be written; the text is one line."""


def export_graphs(path: Path, kind: str, folder: Path, opset: int = OPSET) -> list[Path]:
    """Write the graphs of a weights file as ONNX files into a folder; returns their paths.

    kind: `network` or `detector`. ExportError without the packages onnx and onnxscript;
    CheckpointError where the weights cannot be loaded.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch's exporter imports it
    except ImportError as error:
        raise ExportError(
            f"writing ONNX requires the packages onnx and onnxscript ({error})"
        ) from None

    from lifting_ros.keypoints.graphs import SOURCES

    metadata = {
        "lifting_ros": lifting_ros.__version__,
        "kind": kind,
        "opset": str(opset),
        WEIGHTS_SHA256: sha256_of(path),
    }
    written = []
    for name, source in SOURCES[kind](path).items():
        model = _model_of(source, opset)
        onnx.helper.set_model_props(model, metadata | {"graph": name})
        onnx.checker.check_model(model)
        file = folder / f"{name}.onnx"
        onnx.save_model(model, file)
        written.append(file)

    return written


def _model_of(source: GraphSource, opset: int) -> Any:
    """The module as an ONNX model."""
    import torch

    shapes = tuple(_free_shape(source) for _ in source.example)
    with _silence():
        program = torch.onnx.export(
            source.module.eval(),
            source.example,
            input_names=source.inputs,
            output_names=source.outputs,
            dynamic_shapes=shapes,
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )

    return program.model_proto  # type: ignore[union-attr]  # None only without dynamo


@contextmanager
def _silence() -> Iterator[None]:
    """Without the warnings of torch's exporter, about itself and packages that are not needed."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _free_shape(source: GraphSource) -> dict[int, Any]:
    """torch's description of the free axes, by number of the axis."""
    from torch.export import Dim

    shape = {}
    for axis in source.free_axes:
        shape[axis] = Dim("batch") if axis == 0 else SIDE_MULTIPLE * Dim(f"cells_{axis}")

    return shape


def check_origin(metadata: Mapping[str, str], file: Path, weights: Path) -> None:
    """Raise ConfigError unless the metadata of an ONNX file says that it was made from a weights
    file."""
    found = metadata.get(WEIGHTS_SHA256)
    expected = sha256_of(weights)
    if found != expected:
        raise ConfigError(
            f"{file}: was not made from {weights.name}; expected {WEIGHTS_SHA256} {expected}, got "
            f"{found}"
        )
