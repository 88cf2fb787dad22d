# SPDX-License-Identifier: Apache-2.0
"""The probabilistic 3D prior of section 4: a mixture of probabilistic PCA over poses of unit limb length, aligned about the vertical."""
from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
from scipy.special import logsumexp

from lifting_ros.core.alignment import Gaussian, align, fit_gaussian, rotate_about_vertical, update_rotations
from lifting_ros.core.skeleton import JOINT_COUNT, JOINT_FLIP, LIMBS, limb_lengths

FORMAT = "lifting_ros prior 2"

LIMB_SPREAD_FLOOR = 0.04
"""Least relative deviation of a limb's length: joint centres are not where skin and clothes let one believe."""

_LIMB_FLIP = tuple([child for _, child in LIMBS].index(JOINT_FLIP[child]) for _, child in LIMBS)


class PriorError(ValueError):
    """A prior file, or poses to fit one on, that cannot be used; one line naming the field."""


def normalise(positions_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Poses (N, 17, 3) to rows (N, 51), centroid at zero and squared limb lengths summing to one; and their sizes in metres (N,)."""
    size = np.sqrt((limb_lengths(positions_m) ** 2).sum(-1))
    centred = positions_m - positions_m.mean(1, keepdims=True)
    return (centred / size[:, None, None]).reshape(len(positions_m), -1), size


def mirrored(positions_m: np.ndarray) -> np.ndarray:
    """Poses (N, 17, 3) mirrored in x, left and right exchanged."""
    return (positions_m * np.array([-1.0, 1, 1]))[:, list(JOINT_FLIP)]


class MixturePPCA:
    """Mixture of C probabilistic PCAs with K basis vectors each, over centred poses of unit size, y up.

    Parameters
    ----------
    components, basis : C and K.
    seed : of the sub-sample that proposes centres.
    max_iterations, tolerance : EM ends when the mean log-likelihood gains less than `tolerance`.

    Learned by `fit`
    ----------------
    weights_ (C,) : mixture weights.
    means_ (C, 17, 3), bases_ (C, K, 17, 3) : mean poses and orthonormal basis.
    deviations_ (C, K) : standard deviation of each coefficient; the total variance along a basis vector is deviation^2 + noise^2.
    noises_ (C,) : standard deviation off the basis, each coordinate.
    limbs_ (16, 2) : mean and deviation of each limb's length over the person's size.
    stature_m_, stature_std_m_ : size (root of the sum of squared limb lengths) of the people in the data, metres.
    """

    def __init__(self, components: int = 3, basis: int = 25, seed: int = 0, max_iterations: int = 100, tolerance: float = 1e-4):
        self.components, self.basis, self.seed = components, basis, seed
        self.max_iterations, self.tolerance = max_iterations, tolerance

    def fit(
        self, positions_m: np.ndarray, sample_weight: np.ndarray | None = None, stature_m: tuple[float, float] | None = None,
        own_proportions: np.ndarray | None = None,
    ) -> MixturePPCA:  # fmt: skip
        """Learn from poses (N, 17, 3) in metres, y up.

        stature_m: mean and deviation of people's size where it is known better; own_proportions (N,) bool: poses whose limb lengths are a
        person's own, all by default.
        """
        self._check(positions_m)
        rows, size = normalise(positions_m.astype(np.float64))
        rows = np.concatenate([rows, normalise(mirrored(positions_m.astype(np.float64)))[0]])
        weight = np.ones(len(positions_m)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        weight = np.concatenate([weight, weight]) / weight.mean()
        theta, _, self.alignment_history_ = align(rows, weight, self.basis)
        aligned = rotate_about_vertical(rows, -theta)
        gaussians = self._initial(aligned, weight)
        self._expectation_maximisation(aligned, weight, gaussians)
        own = np.ones(len(positions_m), bool) if own_proportions is None else own_proportions
        lengths = limb_lengths(positions_m[own]) / size[own, None]
        lengths = 0.5 * (lengths + lengths[:, list(_LIMB_FLIP)])
        self.limbs_ = np.stack([lengths.mean(0), np.maximum(lengths.std(0), LIMB_SPREAD_FLOOR * lengths.mean(0))], 1)
        self.stature_m_, self.stature_std_m_ = stature_m or (float(size.mean()), float(size.std()))
        return self

    def _check(self, positions_m: np.ndarray) -> None:
        if positions_m.ndim != 3 or positions_m.shape[1:] != (JOINT_COUNT, 3):
            raise PriorError(f"positions: expected (N, {JOINT_COUNT}, 3), got {positions_m.shape}")
        if not np.isfinite(positions_m).all():
            raise PriorError("positions: expected finite numbers")
        if (limb_lengths(positions_m).sum(-1) < 1e-3).any():
            raise PriorError("positions: expected poses of people in metres, got one with all joints in a point")
        if not 1 <= self.basis <= JOINT_COUNT * 3 - 6:
            raise PriorError(f"basis: expected 1 to {JOINT_COUNT * 3 - 6}, got {self.basis}")
        if self.components < 1 or len(positions_m) < 4 * self.components * self.basis:
            raise PriorError(f"positions: expected at least {4 * self.components * self.basis} poses for {self.components} components")

    def _initial(self, aligned: np.ndarray, weight: np.ndarray) -> list[tuple[float, Gaussian]]:
        """Greedy choice of centres (equation (3)) on a sub-sample; each pose goes to its nearest centre."""
        rng = np.random.default_rng(self.seed)
        chosen = rng.choice(len(aligned), min(1500, len(aligned)), replace=False, p=weight / weight.sum())
        sample = aligned[chosen]
        distance = np.linalg.norm(sample[:, None] - sample[None], axis=-1)
        nearest = np.full(len(sample), np.inf)
        centres: list[int] = []
        for _ in range(self.components):
            cost = np.minimum(nearest[:, None], distance).sum(0)
            if centres:  # not beside a centre that is there already
                cost[distance[:, centres].min(1) < 0.5 * np.median(distance)] = np.inf
            if not np.isfinite(cost.min()):
                break
            centres.append(int(cost.argmin()))
            nearest = np.minimum(nearest, distance[:, centres[-1]])
        owner = np.stack([((aligned - sample[c]) ** 2).sum(1) for c in centres], 1).argmin(1)
        groups = [weight * (owner == c) for c in range(len(centres))]
        return [(g.sum() / weight.sum(), fit_gaussian(aligned, g, self.basis)) for g in groups]

    def _expectation_maximisation(self, aligned: np.ndarray, weight: np.ndarray, mixture: list[tuple[float, Gaussian]]) -> None:
        """EM of the mixture: the weighted log-likelihood never falls."""
        self.log_likelihoods_: list[float] = []
        for _ in range(self.max_iterations):
            log_joint = np.stack([np.log(w) + g.log_density(aligned) for w, g in mixture], 1)  # (N, C)
            evidence = logsumexp(log_joint, axis=1)
            self.log_likelihoods_.append(float(weight @ evidence / weight.sum()))
            if len(self.log_likelihoods_) > 1 and self.log_likelihoods_[-1] - self.log_likelihoods_[-2] < self.tolerance:
                break
            responsibility = np.exp(log_joint - evidence[:, None]) * weight[:, None]  # (N, C)
            share = responsibility.sum(0) / weight.sum()
            keep = share > 2e-3  # an empty component is dropped, not repaired
            kept = share[keep].sum()
            mixture = [(share[c] / kept, fit_gaussian(aligned, responsibility[:, c], self.basis)) for c in np.flatnonzero(keep)]
        self._store(mixture)

    def _store(self, mixture: list[tuple[float, Gaussian]]) -> None:
        mixture = sorted(mixture, key=lambda pair: -pair[0])
        self.weights_ = np.array([w for w, _ in mixture])
        self.means_ = np.stack([g.mean for _, g in mixture]).reshape(-1, JOINT_COUNT, 3)
        self.bases_ = np.stack([g.basis for _, g in mixture]).reshape(len(mixture), -1, JOINT_COUNT, 3)
        self.noises_ = np.sqrt([g.noise for _, g in mixture])
        self.deviations_ = np.sqrt(np.maximum(np.stack([g.variance - g.noise for _, g in mixture]), 0))

    def gaussians(self) -> list[Gaussian]:
        """The components as `alignment.Gaussian`, heaviest first."""
        noise = self.noises_**2
        flat = self.bases_.reshape(*self.bases_.shape[:2], -1)
        return [Gaussian(m.ravel(), e, d**2 + n, float(n)) for m, e, d, n in zip(self.means_, flat, self.deviations_, noise)]

    def covariances(self) -> np.ndarray:
        """Covariance of each component's pose, (C, 51, 51)."""
        flat = self.bases_.reshape(*self.bases_.shape[:2], -1)  # (C, K, 51)
        spread = np.einsum("cki,ck,ckj->cij", flat, self.deviations_**2, flat)
        return spread + self.noises_[:, None, None] ** 2 * np.eye(flat.shape[-1])

    def transform(self, positions_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Component (N,) that explains each pose (N, 17, 3) best, turned about the vertical as it likes, and coefficients (N, K)."""
        component, _, rows = self._best(positions_m)
        centred = rows - self.means_.reshape(len(self.means_), -1)[component]
        flat = self.bases_.reshape(*self.bases_.shape[:2], -1)
        shrink = self.deviations_**2 / (self.deviations_**2 + self.noises_[:, None] ** 2)
        return component, np.einsum("nd,nkd->nk", centred, flat[component]) * shrink[component]

    def score_samples(self, positions_m: np.ndarray) -> np.ndarray:
        """Log-likelihood (N,) of poses (N, 17, 3), normalised and turned to the best rotation."""
        return self._best(positions_m)[1]

    def _best(self, positions_m: np.ndarray):
        rows, _ = normalise(np.asarray(positions_m, np.float64))
        turned, density = [], []
        for weight, model in zip(self.weights_, self.gaussians()):
            theta = update_rotations(rows, np.zeros(len(rows)), model, grid=32)
            turned.append(rotate_about_vertical(rows, -theta))
            density.append(np.log(weight) + model.log_density(turned[-1]))
        component = np.argmax(density, 0)
        return component, np.max(density, 0), np.stack(turned, 1)[np.arange(len(rows)), component]

    def save(self, path: str | Path) -> None:
        """Write the prior as .npz (no pickles), whole or not at all."""
        path = Path(path)
        beside = path.with_name(path.name + ".partial")
        with beside.open("wb") as file:
            np.savez_compressed(
                file, format=FORMAT, weights=self.weights_, means=self.means_, bases=self.bases_, deviations=self.deviations_,
                noises=self.noises_, limbs=self.limbs_, stature_m=np.array([self.stature_m_, self.stature_std_m_]),
            )  # fmt: skip
        os.replace(beside, path)

    @classmethod
    def load(cls, path: str | Path) -> MixturePPCA:
        """Read a prior; PriorError in one line where the file is missing, corrupt or of another shape."""
        try:
            with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                data = {name: file[name] for name in file.files}
            if str(data.pop("format")) != FORMAT:
                raise KeyError("format")
            prior = cls(len(data["weights"]), data["bases"].shape[1])
            prior.weights_, prior.means_, prior.bases_ = data["weights"], data["means"], data["bases"]
            prior.deviations_, prior.noises_, prior.limbs_ = data["deviations"], data["noises"], data["limbs"]
            prior.stature_m_, prior.stature_std_m_ = map(float, data["stature_m"])
            prior._check_loaded()
        except FileNotFoundError:
            raise PriorError(f"{path}: no such prior file") from None
        except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
            raise PriorError(f"{path}: not a prior of lifting_ros ({str(error).splitlines()[0]})") from None
        return prior

    def _check_loaded(self) -> None:
        c, k = self.bases_.shape[:2]
        joints = (JOINT_COUNT, 3)
        expected = {"weights_": (c,), "means_": (c, *joints), "bases_": (c, k, *joints), "deviations_": (c, k)}
        expected |= {"noises_": (c,), "limbs_": (16, 2)}
        for name, shape in expected.items():
            value = getattr(self, name)
            if value.shape != shape or not np.isfinite(value).all():
                raise ValueError(f"{name.rstrip('_')}: expected {shape} finite numbers")
        if (self.noises_ <= 0).any() or (self.limbs_ <= 0).any() or (self.weights_ <= 0).any() or self.stature_m_ <= 0:
            raise ValueError("noises, weights, stature_m: expected positive numbers")
