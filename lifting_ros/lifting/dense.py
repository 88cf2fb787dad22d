# SPDX-License-Identifier: Apache-2.0
"""The small networks beside a keypoint network: their tensors in its weights file, and their linear
layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from lifting_ros.io.checkpoint import CheckpointError, load_arrays, read_section

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


def linear(values: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Values (N, ..., i) of N persons times weight (o, i), plus bias (o,): (N, ..., o).

    Persons are multiplied one at a time. In a larger product BLAS sums in another order, so the
    result would depend on the other persons. BLAS would also start threads. They spin on the cores
    that the networks use: with four persons the networks took 1.5 times as long.
    """
    result = np.empty((*values.shape[:-1], len(bias)), np.result_type(values, weight))
    for person in range(len(values)):
        one = slice(person, person + 1)
        np.matmul(values[one], weight.T, out=result[one])

    return result + bias
