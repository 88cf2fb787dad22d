# SPDX-License-Identifier: Apache-2.0
"""The model file of the paper's release, `prob_model_params.mat`, to a prior of this package and
back, without loss.

The file holds mu (C, 51), e (C, K, 51) and sigma (C, K + 1) in millimetres, each row of 51 as (3,
17): x to the person's right, y ahead, z up. sigma are inverse standard deviations, of the K
coefficients and last of the noise. Here y is up and a person looks along z: the person's right is
at -x, which is a rotation of those axes, so that right stays right.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import loadmat

from lifting_ros.prior.ppca import LIMB_SPREAD_FLOOR, MixturePPCA, PriorError
from lifting_ros.skeleton import JOINT_COUNT, LIMBS

STATURE_SPREAD = 0.06
"""Relative deviation of people's size, which the file does not tell."""

_FROM_FILE = np.array(
    [[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]]
)  # ours = _FROM_FILE @ the file's; its own inverse


def read_published_prior(path: str | Path) -> MixturePPCA:
    """Read the published model; PriorError in one line that names the array that is missing or not
    as expected.

    The unit is the root mean square size of the poses that the model describes, kept as the
    stature. The file has no component weights, so they are equal; nor does it tell how limb lengths
    vary: their means are those of the model, their deviations the least that a prior may have.
    """
    mu, e, sigma = _arrays(path)
    components, basis = e.shape[:2]
    means, bases = _to_joints(mu), _to_joints(e)
    deviations = 1 / sigma[:, :-1]
    squared = _squared_limbs(means, bases, deviations)  # (C, 16) mm^2
    unit_mm = float(np.sqrt(squared.sum(1).mean()))
    prior = MixturePPCA(components, basis)
    prior.weights_ = np.full(components, 1 / components)
    prior.means_, prior.bases_ = means / unit_mm, bases
    prior.deviations_, prior.noises_ = deviations / unit_mm, 1 / (sigma[:, -1] * unit_mm)
    length = np.sqrt(squared.mean(0)) / unit_mm
    prior.limbs_ = np.stack([length, LIMB_SPREAD_FLOOR * length], 1)
    prior.stature_m_, prior.stature_std_m_ = unit_mm / 1000, STATURE_SPREAD * unit_mm / 1000
    return prior


def published_arrays(prior: MixturePPCA) -> dict[str, np.ndarray]:
    """A prior as `mu`, `e` and `sigma` of the published file; the component weights have no place
    there."""
    unit_mm = prior.stature_m_ * 1000
    sigma = np.concatenate([1 / prior.deviations_, 1 / prior.noises_[:, None]], 1) / unit_mm
    return {"mu": _to_rows(prior.means_ * unit_mm), "e": _to_rows(prior.bases_), "sigma": sigma}


def _to_joints(rows: np.ndarray) -> np.ndarray:
    """Rows (..., 51) of the file to joints (..., 17, 3), y up."""
    return np.swapaxes(rows.reshape(*rows.shape[:-1], 3, JOINT_COUNT), -1, -2) @ _FROM_FILE.T


def _to_rows(joints: np.ndarray) -> np.ndarray:
    return np.swapaxes(joints @ _FROM_FILE, -1, -2).reshape(*joints.shape[:-2], -1)


def _squared_limbs(means: np.ndarray, bases: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """Mean squared length (C, 16) of each limb under the coefficients, without the noise."""
    parents, children = np.array(LIMBS).T
    limb = means[:, children] - means[:, parents]  # (C, 16, 3)
    change = (bases[:, :, children] - bases[:, :, parents]) * deviations[
        :, :, None, None
    ]  # (C, K, 16, 3)
    return (limb**2).sum(-1) + (change**2).sum((1, 3))


def _arrays(path: str | Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three arrays, checked, as float64."""
    try:
        with Path(path).open("rb") as file:
            data = loadmat(file)
    except OSError as error:
        raise PriorError(f"{path}: {error.strerror or error}") from None
    except Exception as error:  # the reader raises many kinds on what is not its format
        raise PriorError(f"{path}: not a readable .mat ({' '.join(str(error).split())})") from None
    arrays = []
    for name, dimensions in (("mu", 2), ("e", 3), ("sigma", 2)):
        if name not in data:
            raise PriorError(f"{path}: {name} is missing")
        value = data[name]
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
            raise PriorError(
                f"{path}: {name}: expected real numbers, got {getattr(value, 'dtype', type(value).__name__)}"
            )
        if value.ndim != dimensions or not np.isfinite(value).all():
            raise PriorError(
                f"{path}: {name}: expected an array of {dimensions} dimensions and finite numbers, got shape {value.shape}"
            )
        arrays.append(value.astype(np.float64))
    _check(path, *arrays)
    return arrays[0], arrays[1], arrays[2]


def _check(path: str | Path, mu: np.ndarray, e: np.ndarray, sigma: np.ndarray) -> None:
    components, basis = e.shape[:2]
    wide = 3 * JOINT_COUNT
    if not components or not 1 <= basis <= wide - 6 or e.shape[2] != wide:
        raise PriorError(
            f"{path}: e: expected (C, K, {wide}) with K from 1 to {wide - 6}, got {e.shape}"
        )
    if mu.shape != (components, wide):
        raise PriorError(f"{path}: mu: expected ({components}, {wide}) beside e, got {mu.shape}")
    if sigma.shape != (components, basis + 1):
        raise PriorError(
            f"{path}: sigma: expected ({components}, {basis + 1}) beside e, got {sigma.shape}"
        )
    if (sigma <= 0).any():
        raise PriorError(f"{path}: sigma: expected positive inverse standard deviations")
    if np.abs(e @ e.transpose(0, 2, 1) - np.eye(basis)).max() > 1e-6:
        raise PriorError(f"{path}: e: expected orthonormal vectors of each component")
    if not np.square(mu).sum(1).all():
        raise PriorError(
            f"{path}: mu: expected poses in millimetres, got one with all joints in a point"
        )
