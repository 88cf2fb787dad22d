# SPDX-License-Identifier: Apache-2.0
"""The probabilistic 3D prior of section 4: a mixture of probabilistic PCA over poses of unit limb
length, aligned about the vertical."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np

from lifting_ros.prior.alignment import Mixture, align, rotate_about_vertical
from lifting_ros.prior.gaussian import Gaussian
from lifting_ros.prior.mixture import best_components, expectation_maximisation, start_mixture
from lifting_ros.prior.streaming import in_blocks
from lifting_ros.skeleton import JOINT_COUNT, JOINT_FLIP, LIMBS, limb_lengths

FORMAT = "lifting_ros prior 2"

LIMB_SPREAD_FLOOR = 0.04
"""Least relative deviation of a limb's length: joint centres are not where skin and clothes let one
believe."""

_LIMB_FLIP = tuple([child for _, child in LIMBS].index(JOINT_FLIP[child]) for _, child in LIMBS)


class PriorError(ValueError):
    """A prior file, or poses to fit one on, that cannot be used; one line naming the field."""


def normalise(positions_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Poses (N, 17, 3) to rows (N, 51), centroid at zero and squared limb lengths summing to one;
    and their sizes in metres (N,)."""
    size = np.sqrt((limb_lengths(positions_m) ** 2).sum(-1))
    centred = positions_m - positions_m.mean(1, keepdims=True)
    return (centred / size[:, None, None]).reshape(len(positions_m), -1), size


def normalised_in_blocks(positions_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`normalise` for a million poses: no more memory than its result."""
    rows, size = np.empty((len(positions_m), 3 * JOINT_COUNT)), np.empty(len(positions_m))

    def block(part: slice) -> None:
        rows[part], size[part] = normalise(positions_m[part].astype(np.float64))

    in_blocks(block, len(rows))
    return rows, size


def proportions(rows: np.ndarray) -> np.ndarray:
    """Mean and deviation (16, 2) of each limb's length over poses of unit size (N, 51) and their
    mirror images."""

    def sums(part: slice) -> np.ndarray:
        lengths = limb_lengths(rows[part].reshape(-1, JOINT_COUNT, 3))
        lengths = 0.5 * (lengths + lengths[:, list(_LIMB_FLIP)])
        return np.stack([lengths.sum(0), (lengths**2).sum(0)])

    mean, square = sum(in_blocks(sums, len(rows))) / len(rows)
    return np.stack(
        [mean, np.maximum(np.sqrt(np.maximum(square - mean**2, 0)), LIMB_SPREAD_FLOOR * mean)], 1
    )


def check_poses(positions_m: np.ndarray, components: int, basis: int) -> None:
    """PriorError where a mixture of so many components and vectors cannot be learnt from these
    poses (N, 17, 3)."""
    most, count = 3 * JOINT_COUNT - 6, len(positions_m)
    if positions_m.ndim != 3 or positions_m.shape[1:] != (JOINT_COUNT, 3):
        raise PriorError(f"positions: expected (N, {JOINT_COUNT}, 3), got {positions_m.shape}")
    if not 1 <= basis <= most:
        raise PriorError(f"basis: expected 1 to {most}, got {basis}")
    if components < 1:
        raise PriorError(f"components: expected 1 or more, got {components}")
    if count < 4 * components * basis:
        raise PriorError(
            f"positions: expected at least {4 * components * basis} poses for {components} components, got {count}"
        )
    if not all(in_blocks(lambda part: bool(np.isfinite(positions_m[part]).all()), count)):
        raise PriorError("positions: expected finite numbers")
    if min(in_blocks(lambda part: limb_lengths(positions_m[part]).sum(-1).min(), count)) < 1e-3:
        raise PriorError(
            "positions: expected poses of people in metres, got one with all joints in a point"
        )


def mirrored(positions_m: np.ndarray) -> np.ndarray:
    """Poses (N, 17, 3) mirrored in x, left and right exchanged."""
    return (positions_m * np.array([-1.0, 1, 1]))[:, list(JOINT_FLIP)]


class MixturePPCA:
    """Mixture of C probabilistic PCAs with K basis vectors each, over centred poses of unit size, y
    up.

    Parameters
    ----------
    components, basis : C and K.
    seed : of the sub-sample that proposes centres.
    max_iterations, tolerance : EM ends when the mean log-likelihood gains less than `tolerance`.

    Learned by `fit`
    ----------------
    weights_ (C,) : mixture weights.
    means_ (C, 17, 3), bases_ (C, K, 17, 3) : mean poses and orthonormal basis.
    deviations_ (C, K) : standard deviation of each coefficient; the total variance along a basis
    vector is deviation^2 + noise^2.
    noises_ (C,) : standard deviation off the basis, each coordinate.
    limbs_ (16, 2) : mean and deviation of each limb's length over the person's size.
    theta_ (N,), log_likelihoods_, alignment_history_ : rotations of the poses of the fit, its
    course; not kept by `save`.
    stature_m_, stature_std_m_ : size (root of the sum of squared limb lengths) of the people in the
    data, metres.
    """

    def __init__(
        self,
        components: int = 3,
        basis: int = 25,
        seed: int = 0,
        max_iterations: int = 100,
        tolerance: float = 1e-3,
    ):
        self.components, self.basis, self.seed = components, basis, seed
        self.max_iterations, self.tolerance = max_iterations, tolerance

    def fit(
        self,
        positions_m: np.ndarray,
        sample_weight: np.ndarray | None = None,
        stature_m: tuple[float, float] | None = None,
        own_proportions: np.ndarray | None = None,
    ) -> MixturePPCA:
        """Learn from poses (N, 17, 3) in metres, y up.

        stature_m: mean and deviation of people's size where it is known better; own_proportions
        (N,) bool: poses whose limb lengths are a person's own, all by default.
        """
        check_poses(positions_m, self.components, self.basis)
        rows, size = normalised_in_blocks(positions_m)
        weight = (
            np.ones(len(rows)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        )
        if weight.shape != (len(rows),) or not (
            np.isfinite(weight).all() and (weight >= 0).all() and weight.any()
        ):
            raise PriorError(
                f"sample_weight: expected ({len(rows)},) finite numbers, none negative, not all zero"
            )
        weight = weight / weight.mean()
        theta, _, self.alignment_history_ = align(rows, weight, self.basis)
        mixture = start_mixture(rows, weight, theta, self.components, self.basis, self.seed)
        self.theta_, mixture, self.log_likelihoods_ = expectation_maximisation(
            rows, weight, theta, mixture, self.max_iterations, self.tolerance
        )
        self._store(mixture)
        self.limbs_ = proportions(rows if own_proportions is None else rows[own_proportions])
        self.stature_m_, self.stature_std_m_ = stature_m or (float(size.mean()), float(size.std()))
        return self

    def _store(self, mixture: Mixture) -> None:
        order = np.lexsort((np.arange(len(mixture.weights)), -mixture.weights))
        chosen = [mixture.gaussians[c] for c in order]
        self.weights_ = mixture.weights[order]
        self.means_ = np.stack([g.mean for g in chosen]).reshape(-1, JOINT_COUNT, 3)
        self.bases_ = np.stack([g.basis for g in chosen]).reshape(len(chosen), -1, JOINT_COUNT, 3)
        self.noises_ = np.sqrt([g.noise for g in chosen])
        self.deviations_ = np.sqrt(np.maximum(np.stack([g.variance - g.noise for g in chosen]), 0))

    def gaussians(self) -> list[Gaussian]:
        """The components as `gaussian.Gaussian`, heaviest first."""
        noise = self.noises_**2
        flat = self.bases_.reshape(*self.bases_.shape[:2], -1)
        return [
            Gaussian(m.ravel(), e, d**2 + n, float(n))
            for m, e, d, n in zip(self.means_, flat, self.deviations_, noise)
        ]

    def covariances(self) -> np.ndarray:
        """Covariance of each component's pose, (C, 51, 51)."""
        flat = self.bases_.reshape(*self.bases_.shape[:2], -1)  # (C, K, 51)
        spread = np.einsum("cki,ck,ckj->cij", flat, self.deviations_**2, flat)
        return spread + self.noises_[:, None, None] ** 2 * np.eye(flat.shape[-1])

    def transform(self, positions_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Component (N,) that explains each pose (N, 17, 3) best, turned about the vertical as it
        likes, and coefficients (N, K)."""
        component, _, rows = self._best(positions_m)
        centred = rows - self.means_.reshape(len(self.means_), -1)[component]
        flat = self.bases_.reshape(*self.bases_.shape[:2], -1)
        shrink = self.deviations_**2 / (self.deviations_**2 + self.noises_[:, None] ** 2)
        return component, np.einsum("nd,nkd->nk", centred, flat[component]) * shrink[component]

    def score_samples(self, positions_m: np.ndarray) -> np.ndarray:
        """Log-likelihood (N,) of poses (N, 17, 3), normalised, each component turned to its best
        rotation."""
        return self._best(positions_m)[1]

    def _best(self, positions_m: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Likeliest component (N,), log-likelihood of the mixture (N,), and rows (N, 51) turned as
        that component likes."""
        rows, _ = normalised_in_blocks(np.asarray(positions_m))
        mixture = Mixture(self.weights_, self.gaussians())
        found = in_blocks(lambda part: best_components(rows[part], mixture), len(rows))
        component, likelihood, theta = (np.concatenate(x) for x in zip(*found))
        return component, likelihood, rotate_about_vertical(rows, -theta)

    def save(self, path: str | Path) -> None:
        """Write the prior as .npz (no pickles), whole or not at all."""
        path = Path(path)
        beside = path.with_name(path.name + ".partial")
        with beside.open("wb") as file:
            np.savez_compressed(
                file,
                format=FORMAT,
                weights=self.weights_,
                means=self.means_,
                bases=self.bases_,
                deviations=self.deviations_,
                noises=self.noises_,
                limbs=self.limbs_,
                stature_m=np.array([self.stature_m_, self.stature_std_m_]),
            )
        os.replace(beside, path)

    @classmethod
    def load(cls, path: str | Path) -> MixturePPCA:
        """Read a prior; PriorError in one line where the file is missing, corrupt or of another
        shape."""
        try:
            with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                data = {name: file[name] for name in file.files}
            if str(data.pop("format")) != FORMAT:
                raise KeyError("format")
            prior = cls(len(data["weights"]), data["bases"].shape[1])
            prior.weights_, prior.means_, prior.bases_ = (
                data["weights"],
                data["means"],
                data["bases"],
            )
            prior.deviations_, prior.noises_, prior.limbs_ = (
                data["deviations"],
                data["noises"],
                data["limbs"],
            )
            prior.stature_m_, prior.stature_std_m_ = map(float, data["stature_m"])
            prior._check_loaded()
        except FileNotFoundError:
            raise PriorError(f"{path}: no such prior file") from None
        except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
            raise PriorError(
                f"{path}: not a prior of lifting_ros ({str(error).splitlines()[0]})"
            ) from None
        return prior

    def _check_loaded(self) -> None:
        c, k = self.bases_.shape[:2]
        joints = (JOINT_COUNT, 3)
        expected = {
            "weights_": (c,),
            "means_": (c, *joints),
            "bases_": (c, k, *joints),
            "deviations_": (c, k),
        }
        expected |= {"noises_": (c,), "limbs_": (16, 2)}
        for name, shape in expected.items():
            value = getattr(self, name)
            if value.shape != shape or not np.isfinite(value).all():
                raise ValueError(f"{name.rstrip('_')}: expected {shape} finite numbers")
        if (
            (self.noises_ <= 0).any()
            or (self.limbs_ <= 0).any()
            or (self.weights_ <= 0).any()
            or self.stature_m_ <= 0
        ):
            raise ValueError("noises, weights, stature_m: expected positive numbers")
