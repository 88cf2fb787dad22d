# SPDX-License-Identifier: Apache-2.0
"""The small networks beside a keypoint network: their tensors in its weights file, and their linear
layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifting_ros.compiled import assign, compiled
from lifting_ros.io.checkpoint import CheckpointError, load_arrays, read_section
from lifting_ros.lifting.scoring import product
from lifting_ros.prior.streaming import in_parallel

_PIECE = 128
"""Largest number of rows per task of a thread; fewer need no threads."""

Tensors = Mapping[str, np.ndarray]
Shapes = Mapping[str, tuple[int, ...]]


def read_tensors(
    path: str | Path, section: str, names: Sequence[str], shapes_of: Callable[[Tensors], Shapes]
) -> dict[str, np.ndarray] | None:
    """The tensors (float32) of a section of a network's weights file, by `names`, which in the file
    follow the section's name and a dot; None in a file without the section, or of another format.

    shapes_of: the shapes that tensors should have, given what is there. CheckpointError in one line
    for tensors that are missing, have another shape or are not finite.
    """
    if read_section(path, section) is None:
        return None

    arrays = load_arrays(path, [f"{section}.{name}" for name in names])
    tensors = {name: arrays[f"{section}.{name}"].astype(np.float32) for name in names}
    for name, expected in shapes_of(tensors).items():
        values = tensors[name]
        if values.shape != expected or not np.isfinite(values).all():
            raise CheckpointError(f"{path}: {section}.{name}: expected {expected} finite numbers")

    return tensors


def layer_shapes(sides: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights and biases of layers with (outputs, inputs)."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (outputs, inputs) in sides.items():
        shapes[f"{name}.weight"] = (outputs, inputs)
        shapes[f"{name}.bias"] = (outputs,)

    return shapes


class Layer(NamedTuple):
    """A linear layer, float32."""

    weight: np.ndarray
    """(i, o), in this order in memory."""
    bias: np.ndarray
    """(o,)"""


def layers_of(tensors: Tensors, names: Sequence[str]) -> dict[str, Layer]:
    """The layers by name, of tensors `NAME.weight` (o, i) and `NAME.bias` (o,)."""
    layers = {}
    for name in names:
        weight = np.ascontiguousarray(tensors[f"{name}.weight"].T, np.float32)
        layers[name] = Layer(weight, np.ascontiguousarray(tensors[f"{name}.bias"], np.float32))

    return layers


def linear(values: np.ndarray, layer: Layer) -> np.ndarray:
    """Values (N, i) or (N, j, i) of N persons times the layer's weight, plus its bias: (N, o) or
    (N, j, o), float32.

    BLAS multiplies nothing here. It sums in another order for another number of rows, and the
    threads that it starts for a large product spin for 30 ms, on the cores that the networks need.
    A single row is multiplied by `_multiply`, whose zeros cost nothing.
    """
    values = np.ascontiguousarray(values, np.float32)
    result = np.empty((*values.shape[:-1], len(layer.bias)), np.float32)
    if values.ndim > 2:
        for rows, out in zip(values, result):
            out[:] = product(rows, layer.weight) + layer.bias
        return result

    if len(values) <= _PIECE:
        _multiply(values, layer, result)
    else:
        starts = range(0, len(values), _PIECE)
        pieces = [(slice(start, min(start + _PIECE, len(values))),) for start in starts]
        in_parallel(lambda piece: _multiply(values[piece], layer, result[piece]), pieces, _PIECE)
    return result


@compiled
def _multiply(
    rows,
    layer,
    out,
):
    """Write the rows (n, i) times the weight, plus the bias, to `out` (n, o)."""
    for n in range(len(rows)):
        assign(out[n], layer.bias)
        for i in range(rows.shape[1]):
            value = rows[n, i]
            if value != 0:
                weight = layer.weight[i]
                for o in range(len(weight)):
                    out[n, o] += value * weight[o]
