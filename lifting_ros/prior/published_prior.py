# SPDX-License-Identifier: Apache-2.0
"""Lossless conversion between the model file of the paper's release and a prior of this package.

`prob_model_params.mat` holds mu (C, 51), e (C, K, 51), sigma (C, K + 1), in millimetres. Each row
of 51 is (3, 17): x to the person's right, y ahead, z up. sigma holds inverse standard deviations:
first of the K coefficients, last of the noise.

In this package y is up and a person looks along z, with the right side at -x. The two differ by a
rotation of the axes, so that right stays right.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.io import loadmat

from lifting_ros.errors import one_line
from lifting_ros.prior.ppca import LIMB_SPREAD_FLOOR, MixturePPCA, PriorError
from lifting_ros.skeleton import JOINT_COUNT, LIMBS

STATURE_SPREAD = 0.06
"""Std of people's size divided by its mean; the file does not state it."""

_ROW = 3 * JOINT_COUNT
"""Numbers per row of the file."""

_MAX_BASIS = _ROW - 6
"""Largest number of basis vectors."""

_FROM_FILE = np.array([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]])
"""ours = _FROM_FILE @ the file's; it is its own inverse."""


class _Arrays(NamedTuple):
    """The arrays of the file, float64."""

    mu: np.ndarray
    """(C, 51)."""
    e: np.ndarray
    """(C, K, 51)."""
    sigma: np.ndarray
    """(C, K + 1)."""


_DIMENSIONS = {"mu": 2, "e": 3, "sigma": 2}
"""Number of dimensions of each array, in the order of `_Arrays`."""


def read_published_prior(path: str | Path) -> MixturePPCA:
    """Return the published model; PriorError names an array that is missing or not as expected.

    The unit of length is the root mean square size of the poses that the model describes; it
    becomes the stature. The file has no component weights, so they are equal. It does not state how
    limb lengths vary: their means are those of the model, their stds the least that a prior may
    have.
    """
    arrays = _read_arrays(path)
    components, basis = arrays.e.shape[:2]
    means = _to_joints(arrays.mu)
    bases = _to_joints(arrays.e)
    deviations = 1 / arrays.sigma[:, :-1]

    squared = _squared_limbs(means, bases, deviations)  # (C, 16) mm^2
    mean_square = squared.sum(1).mean()
    unit_mm = float(np.sqrt(mean_square))
    length = np.sqrt(squared.mean(0)) / unit_mm

    prior = MixturePPCA(components, basis)
    prior.weights_ = np.full(components, 1 / components)
    prior.means_ = means / unit_mm
    prior.bases_ = bases
    prior.deviations_ = deviations / unit_mm
    prior.noises_ = 1 / (arrays.sigma[:, -1] * unit_mm)
    prior.limbs_ = np.stack([length, LIMB_SPREAD_FLOOR * length], 1)
    prior.stature_m_ = unit_mm / 1000
    prior.stature_std_m_ = STATURE_SPREAD * unit_mm / 1000

    return prior


def _to_joints(rows: np.ndarray) -> np.ndarray:
    """Return rows (..., 51) of the file as joints (..., 17, 3), y up."""
    leading = rows.shape[:-1]
    by_axis = rows.reshape(*leading, 3, JOINT_COUNT)
    joints = np.swapaxes(by_axis, -1, -2)
    return joints @ _FROM_FILE.T


def _squared_limbs(
    means: np.ndarray,
    bases: np.ndarray,
    deviations: np.ndarray,
) -> np.ndarray:
    """Return the mean squared length (C, 16) of each limb under the coefficients, without noise."""
    parents, children = np.array(LIMBS).T
    scale = deviations[:, :, None, None]

    limb = means[:, children] - means[:, parents]
    square = limb**2  # (C, 16, 3)
    direction = bases[:, :, children] - bases[:, :, parents]
    change = direction * scale
    spread = change**2  # (C, K, 16, 3)

    squared_mean = square.sum(-1)
    variance = spread.sum((1, 3))
    return squared_mean + variance


def _read_arrays(path: str | Path) -> _Arrays:
    """Return the arrays of the file, checked."""
    try:
        with Path(path).open("rb") as file:
            data = loadmat(file)
    except OSError as error:
        raise PriorError(f"{path}: {error.strerror or error}") from None
    except Exception as error:  # loadmat raises many kinds for other formats
        raise PriorError(f"{path}: not a readable .mat ({one_line(error)})") from None

    found = []
    for name, dimensions in _DIMENSIONS.items():
        if name not in data:
            raise PriorError(f"{path}: {name} is missing")
        _check_array(f"{path}: {name}", data[name], dimensions)
        found.append(data[name].astype(np.float64))

    arrays = _Arrays(*found)
    _check_model(path, arrays)
    return arrays


def _check_array(
    label: str,
    value: object,
    dimensions: int,
) -> None:
    """Raise PriorError unless `value` is an array of finite real numbers."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        kind = getattr(value, "dtype", type(value).__name__)
        raise PriorError(f"{label}: expected real numbers, got {kind}")

    if value.ndim != dimensions or not np.isfinite(value).all():
        raise PriorError(
            f"{label}: expected an array of {dimensions} dimensions and finite numbers, "
            f"got shape {value.shape}"
        )


def _check_model(
    path: str | Path,
    arrays: _Arrays,
) -> None:
    """Raise PriorError unless the three arrays describe a model."""
    mu, e, sigma = arrays
    components, basis, width = e.shape
    if not components or not 1 <= basis <= _MAX_BASIS or width != _ROW:
        raise PriorError(
            f"{path}: e: expected (C, K, {_ROW}) with K from 1 to {_MAX_BASIS}, got {e.shape}"
        )

    if mu.shape != (components, _ROW):
        raise PriorError(f"{path}: mu: expected ({components}, {_ROW}) beside e, got {mu.shape}")

    if sigma.shape != (components, basis + 1):
        raise PriorError(
            f"{path}: sigma: expected ({components}, {basis + 1}) beside e, got {sigma.shape}"
        )

    if (sigma <= 0).any():
        raise PriorError(f"{path}: sigma: expected positive inverse standard deviations")

    products = e @ e.transpose(0, 2, 1)
    if np.abs(products - np.eye(basis)).max() > 1e-6:
        raise PriorError(f"{path}: e: expected orthonormal vectors of each component")

    if not np.square(mu).sum(1).all():
        raise PriorError(
            f"{path}: mu: expected poses in millimetres, got one with all joints in a point"
        )
