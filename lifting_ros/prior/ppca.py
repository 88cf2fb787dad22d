# SPDX-License-Identifier: Apache-2.0
"""The probabilistic 3D prior of section 4: a mixture of probabilistic PCAs.

It describes poses of unit size, aligned about the vertical. The code that learns and scores it is
imported at its first use, because a robot only loads it.
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lifting_ros.errors import LiftingError
from lifting_ros.io.atomic import replacing
from lifting_ros.prior.gaussian import Gaussian
from lifting_ros.prior.streaming import in_blocks, summed
from lifting_ros.skeleton import JOINT_COUNT, JOINT_FLIP, LIMBS, limb_lengths

if TYPE_CHECKING:
    from lifting_ros.prior.alignment import Mixture

FORMAT = "lifting_ros prior 2"
"""Identifies a prior file and its version."""

LIMB_SPREAD_FLOOR = 0.04
"""Least std of a limb's length, relative to the length: skin and clothes hide the joint centres."""

_MIN_SIZE_M = 1e-3
"""Poses whose limb lengths add up to less are points."""

_POSES_PER_VECTOR = 4
"""Poses that each basis vector of each component requires."""

_CHILDREN = [child for _, child in LIMBS]
_LIMB_FLIP = [_CHILDREN.index(JOINT_FLIP[child]) for child in _CHILDREN]
"""`lengths[..., _LIMB_FLIP]` swaps the left and right limbs."""


class PriorError(LiftingError):
    """An unusable prior file or training set; the message is one line that names the field."""


def normalise(positions_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (N, 51) of unit size about the centroid, and the sizes (N,) in metres.

    positions_m: poses (N, 17, 3). The size of a pose is the root of the sum of its squared limb
    lengths.
    """
    lengths = limb_lengths(positions_m)
    square = (lengths**2).sum(-1)
    size = np.sqrt(square)
    centroid = positions_m.mean(1, keepdims=True)
    centred = positions_m - centroid
    scaled = centred / size[:, None, None]
    rows = scaled.reshape(len(positions_m), -1)

    return rows, size


def normalised_in_blocks(positions_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Do as `normalise`, in blocks: it needs no more memory than its result."""
    count = len(positions_m)
    rows = np.empty((count, 3 * JOINT_COUNT))
    size = np.empty(count)

    def block(part: slice) -> None:
        poses = positions_m[part].astype(np.float64)
        rows[part], size[part] = normalise(poses)

    in_blocks(block, count)
    return rows, size


def proportions(rows: np.ndarray) -> np.ndarray:
    """Return mean and std (16, 2) of each limb's length.

    rows: poses of unit size (N, 51); their mirror images count as well.
    """

    def sums(part: slice) -> np.ndarray:
        poses = rows[part].reshape(-1, JOINT_COUNT, 3)
        lengths = limb_lengths(poses)
        mirrored_lengths = lengths[:, _LIMB_FLIP]
        lengths = 0.5 * (lengths + mirrored_lengths)
        squares = lengths**2

        return np.stack([lengths.sum(0), squares.sum(0)])

    count = len(rows)
    total = summed(in_blocks(sums, count))
    mean, square = total / count
    variance = square - mean**2
    std = np.sqrt(np.maximum(variance, 0))

    least = LIMB_SPREAD_FLOOR * mean
    std = np.maximum(std, least)

    return np.stack([mean, std], 1)


def check_poses(
    positions_m: np.ndarray,
    components: int,
    basis: int,
) -> None:
    """Raise PriorError if the mixture cannot be learnt from these poses (N, 17, 3)."""
    shape = positions_m.shape
    if positions_m.ndim != 3 or shape[1:] != (JOINT_COUNT, 3):
        raise PriorError(f"positions: expected (N, {JOINT_COUNT}, 3), got {shape}")

    most = 3 * JOINT_COUNT - 6
    if not 1 <= basis <= most:
        raise PriorError(f"basis: expected 1 to {most}, got {basis}")

    if components < 1:
        raise PriorError(f"components: expected 1 or more, got {components}")

    count = len(positions_m)
    needed = _POSES_PER_VECTOR * components * basis
    if count < needed:
        raise PriorError(
            f"positions: expected at least {needed} poses for {components} components, got {count}"
        )

    def is_finite(part: slice) -> bool:
        finite = np.isfinite(positions_m[part])
        return bool(finite.all())

    def smallest(part: slice) -> float:
        lengths = limb_lengths(positions_m[part])
        return lengths.sum(-1).min()

    if not all(in_blocks(is_finite, count)):
        raise PriorError("positions: expected finite numbers")

    if min(in_blocks(smallest, count)) < _MIN_SIZE_M:
        raise PriorError(
            "positions: expected poses of people in metres, got one with all joints in a point"
        )


def _checked_weights(
    sample_weight: np.ndarray | None,
    count: int,
) -> np.ndarray:
    """Return weights (N,) of mean 1; PriorError if they cannot be weights."""
    if sample_weight is None:
        weight = np.ones(count)
    else:
        weight = np.asarray(sample_weight, np.float64)

    usable = (
        weight.shape == (count,)
        and np.isfinite(weight).all()
        and (weight >= 0).all()
        and weight.any()
    )
    if not usable:
        raise PriorError(
            f"sample_weight: expected ({count},) finite numbers, none negative, not all zero"
        )

    return weight / weight.mean()


def mirrored(positions_m: np.ndarray) -> np.ndarray:
    """Return poses (N, 17, 3) mirrored in x, with left and right exchanged."""
    reflected = positions_m * np.array([-1.0, 1, 1])
    return reflected[:, list(JOINT_FLIP)]


class MixturePPCA:
    """Mixture of C probabilistic PCAs with K basis vectors each, over centred poses of unit size.

    The y axis points up.

    Parameters
    ----------
    components, basis : C and K.
    seed : of the sub-sample from which centres are chosen.
    max_iterations, tolerance : EM ends when the mean log-likelihood gains less than `tolerance`.

    Learned by `fit`
    ----------------
    weights_ (C,) : mixture weights.
    means_ (C, 17, 3), bases_ (C, K, 17, 3) : mean poses and orthonormal bases.
    deviations_ (C, K) : std of each coefficient; the total variance along a basis vector is
    deviation^2 + noise^2.
    noises_ (C,) : std per coordinate off the basis.
    limbs_ (16, 2) : mean and std of each limb's length divided by the person's size.
    stature_m_, stature_std_m_ : mean and std of the size of the people in the data, metres. The
    size is the root of the sum of squared limb lengths.
    theta_ (N,), log_likelihoods_, alignment_history_ : rotations of the poses and course of the
    fit; `save` does not keep them.
    """

    def __init__(
        self,
        components: int = 3,
        basis: int = 25,
        seed: int = 0,
        max_iterations: int = 100,
        tolerance: float = 1e-3,
    ):
        self.components = components
        self.basis = basis
        self.seed = seed
        self.max_iterations = max_iterations
        self.tolerance = tolerance

    def fit(
        self,
        positions_m: np.ndarray,
        sample_weight: np.ndarray | None = None,
        stature_m: tuple[float, float] | None = None,
        own_proportions: np.ndarray | None = None,
    ) -> MixturePPCA:
        """Learn from poses (N, 17, 3) in metres, y up; return self.

        sample_weight: (N,), by default equal; stature_m: mean and std of people's size, if better
        known than from the data; own_proportions: (N,) bool, poses with real limb lengths, by
        default all. Raises PriorError if the data cannot be used.
        """
        from lifting_ros.prior.alignment import align
        from lifting_ros.prior.mixture import expectation_maximisation, start_mixture

        check_poses(positions_m, self.components, self.basis)
        rows, size = normalised_in_blocks(positions_m)
        weight = _checked_weights(sample_weight, len(rows))

        # Section 4.1: alignment
        theta, _, self.alignment_history_ = align(rows, weight, self.basis)

        # Section 4.2: mixture
        mixture = start_mixture(rows, weight, theta, self.components, self.basis, self.seed)
        self.theta_, mixture, self.log_likelihoods_ = expectation_maximisation(
            rows,
            weight,
            theta,
            mixture,
            self.max_iterations,
            self.tolerance,
        )
        self._store(mixture)

        # Limb lengths and size
        measured = rows if own_proportions is None else rows[own_proportions]
        self.limbs_ = proportions(measured)
        if stature_m is None:
            stature_m = (float(size.mean()), float(size.std()))
        self.stature_m_, self.stature_std_m_ = stature_m

        return self

    def _store(self, mixture: Mixture) -> None:
        """Take over the components of a mixture, the heaviest first."""
        count = len(mixture.weights)
        order = np.lexsort((np.arange(count), -mixture.weights))
        chosen = [mixture.gaussians[c] for c in order]

        means = []
        bases = []
        noises = []
        excess = []
        for model in chosen:
            means.append(model.mean)
            bases.append(model.basis)
            noises.append(model.noise)
            excess.append(model.variance - model.noise)

        self.weights_ = mixture.weights[order]
        self.means_ = np.stack(means).reshape(-1, JOINT_COUNT, 3)
        self.bases_ = np.stack(bases).reshape(count, -1, JOINT_COUNT, 3)
        self.noises_ = np.sqrt(noises)
        self.deviations_ = np.sqrt(np.maximum(np.stack(excess), 0))

    def gaussians(self) -> list[Gaussian]:
        """Return the components, the heaviest first."""
        bases = self._flat_bases()
        noises = self.noises_**2
        found = []
        for c, mean in enumerate(self.means_):
            noise = noises[c]
            variance = self.deviations_[c] ** 2 + noise
            model = Gaussian(mean.ravel(), bases[c], variance, float(noise))
            found.append(model)

        return found

    def covariances(self) -> np.ndarray:
        """Return the covariance (C, 51, 51) of each component's pose."""
        bases = self._flat_bases()
        variance = self.deviations_**2
        noise = self.noises_[:, None, None] ** 2
        explained = np.einsum("cki,ck,ckj->cij", bases, variance, bases)

        return explained + noise * np.eye(bases.shape[-1])

    def _flat_bases(self) -> np.ndarray:
        """Return the bases as (C, K, 51)."""
        bases = self.bases_
        components, vectors = bases.shape[:2]
        return bases.reshape(components, vectors, -1)

    def transform(self, positions_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the likeliest component (N,) and its coefficients (N, K) of poses (N, 17, 3).

        Each pose is turned about the vertical to the best rotation under that component.
        """
        component, _, rows = self._best(positions_m)
        count = len(self.means_)

        # Least-squares coefficients
        means = self.means_.reshape(count, -1)
        centred = rows - means[component]
        bases = self._flat_bases()
        projected = np.einsum("nd,nkd->nk", centred, bases[component])

        # The prior draws them towards zero.
        variance = self.deviations_**2
        noise = self.noises_[:, None] ** 2
        shrink = variance / (variance + noise)
        return component, projected * shrink[component]

    def score_samples(self, positions_m: np.ndarray) -> np.ndarray:
        """Return the log-likelihood (N,) of poses (N, 17, 3), normalised in size and place.

        Each component is turned to its best rotation.
        """
        _, likelihood, _ = self._best(positions_m)
        return likelihood

    def _best(self, positions_m: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the likeliest component (N,), the log-likelihood (N,) and the rows (N, 51).

        The rows are normalised and turned to the best rotation under that component.
        """
        from lifting_ros.prior.alignment import Mixture, rotate_about_vertical
        from lifting_ros.prior.mixture import best_components

        rows, _ = normalised_in_blocks(np.asarray(positions_m))
        mixture = Mixture(self.weights_, self.gaussians())

        def block(part: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            return best_components(rows[part], mixture)

        found = in_blocks(block, len(rows))
        components, likelihoods, angles = zip(*found)
        theta = np.concatenate(angles)
        turned = rotate_about_vertical(rows, -theta)

        return np.concatenate(components), np.concatenate(likelihoods), turned

    def save(self, path: str | Path) -> None:
        """Write the prior as .npz without pickles; `path` is replaced only when it is complete."""
        stature_m = np.array([self.stature_m_, self.stature_std_m_])
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez_compressed(
                file,
                format=FORMAT,
                weights=self.weights_,
                means=self.means_,
                bases=self.bases_,
                deviations=self.deviations_,
                noises=self.noises_,
                limbs=self.limbs_,
                stature_m=stature_m,
            )

    @classmethod
    def load(cls, path: str | Path) -> MixturePPCA:
        """Return a saved prior; PriorError if the file is missing, corrupt or not a prior."""
        try:
            with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                data = {name: file[name] for name in file.files}
            return cls._from_arrays(data)
        except FileNotFoundError:
            raise PriorError(f"{path}: no such prior file") from None
        except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
            first_line = str(error).splitlines()[0]
            raise PriorError(f"{path}: not a prior of lifting_ros ({first_line})") from None

    @classmethod
    def _from_arrays(cls, data: dict[str, np.ndarray]) -> MixturePPCA:
        """Return the prior that a file's arrays describe; KeyError or ValueError if they do not."""
        if str(data["format"]) != FORMAT:
            raise KeyError("format")

        components = len(data["weights"])
        basis = data["bases"].shape[1]
        prior = cls(components, basis)
        prior.weights_ = data["weights"]
        prior.means_ = data["means"]
        prior.bases_ = data["bases"]
        prior.deviations_ = data["deviations"]
        prior.noises_ = data["noises"]
        prior.limbs_ = data["limbs"]
        prior.stature_m_, prior.stature_std_m_ = map(float, data["stature_m"])

        prior._check_loaded()
        return prior

    def digest(self) -> str:
        """SHA-256 of what the prior states: the same for a prior before and after `save`."""
        content = hashlib.sha256()
        fields = (self.weights_, self.means_, self.bases_, self.deviations_, self.noises_)
        for values in (*fields, self.limbs_, [self.stature_m_, self.stature_std_m_]):
            content.update(np.ascontiguousarray(values, "<f8").tobytes())
        return content.hexdigest()

    def _check_loaded(self) -> None:
        """Raise ValueError if an array has the wrong shape or impossible values."""
        c, k = self.bases_.shape[:2]
        expected = {
            "weights_": (c,),
            "means_": (c, JOINT_COUNT, 3),
            "bases_": (c, k, JOINT_COUNT, 3),
            "deviations_": (c, k),
            "noises_": (c,),
            "limbs_": (len(LIMBS), 2),
        }
        for name, shape in expected.items():
            value = getattr(self, name)
            if value.shape != shape or not np.isfinite(value).all():
                raise ValueError(f"{name.rstrip('_')}: expected {shape} finite numbers")

        not_positive = (
            (self.noises_ <= 0).any()
            or (self.limbs_ <= 0).any()
            or (self.weights_ <= 0).any()
            or self.stature_m_ <= 0
        )
        if not_positive:
            raise ValueError("noises, weights, stature_m: expected positive numbers")
