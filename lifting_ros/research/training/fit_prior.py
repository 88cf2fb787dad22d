# SPDX-License-Identifier: Apache-2.0
"""Fit of the shipped prior: a mixture of PPCA from motion capture, with balanced frames, and
proportions apart from poses (section 4)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.errors import DataError
from lifting_ros.prior.alignment import rotate_about_vertical
from lifting_ros.prior.ppca import MixturePPCA, check_poses, normalised_in_blocks
from lifting_ros.prior.streaming import crossed, in_blocks, product
from lifting_ros.research.datasets.mocap import Mocap
from lifting_ros.research.datasets.posed_people import with_generated
from lifting_ros.skeleton import JOINT_COUNT, JOINT_FLIP, JOINT_PARENTS

CLUSTERS = 150
"""Number of clusters of poses for balancing."""

ROUNDS = 20
"""Rounds of k-means."""

CLUSTER_SAMPLE = 50_000
"""Number of poses that the clusters are computed from; the others are only assigned to them."""

STATURE_SPREAD_FLOOR = 0.04
"""Lower limit of the relative std of people's size: a few dozen recorded adults vary less than the
people a robot meets."""

BUILD_SPREAD = 0.10
"""Relative std of limb lengths in the poses of varied build."""

JOINT_SPREAD = 0.01
"""Std of each joint's position in the poses of varied build, divided by the person's size: sources
differ in where a joint is."""

COPIES_BELOW = 100_000
"""Up to this many poses, a varied copy of each is added; of more, every other one is varied."""

MOST_GENERATED = 100_000
"""Most generated poses that are added; up to this many, as many as recorded ones."""


class TrainingPoses(NamedTuple):
    """The poses that a prior or a lifter is trained on."""

    mocap: Mocap
    weights: np.ndarray
    """(N,) of its poses; the mean of the recorded ones is 1."""
    donor: np.ndarray
    """(N,) number of the recorded pose that each pose is, or that it borrows from."""


def training_poses(
    mocap: Mocap,
    posed: float = 0.0,
    seed: int = 0,
) -> TrainingPoses:
    """The recorded poses, balanced, and generated ones (`posed_people`) with the share `posed` of
    the total weight.

    DataError as `generate_people` raises it, and for a share outside [0, 1).
    """
    if not 0 <= posed < 1:
        raise DataError(f"posed: expected a share from 0 up to but not 1, got {posed}")

    recorded = balanced_weights(mocap, seed)
    count = min(len(recorded), MOST_GENERATED) if posed > 0 else 0
    extended, donor = with_generated(mocap, count, seed)

    total = posed / (1 - posed) * recorded.sum()
    generated = np.full(count, total / max(count, 1))
    weights = np.concatenate([recorded, generated])
    return TrainingPoses(extended, weights, donor)


def balanced_weights(mocap: Mocap, seed: int = 0) -> np.ndarray:
    """Weight of each pose (N,), mean 1, at most 20. Common poses get less weight, so that sitting
    is not lost among walking.

    The poses are turned to face one way and clustered; the weight of a pose is proportional to the
    size of its cluster to the power of -0.7.
    """
    normalised, _ = normalised_in_blocks(mocap.positions_m)
    facing = facing_one_way(normalised)
    rng = np.random.default_rng(seed)

    # Clusters of a sample
    sample = facing
    if len(facing) > CLUSTER_SAMPLE:
        drawn = rng.choice(len(facing), CLUSTER_SAMPLE, replace=False)
        sample = facing[np.sort(drawn)]
    count = min(CLUSTERS, max(1, len(sample) // 20))
    first = sample[rng.choice(len(sample), count, replace=False)]
    centres = cluster_centres(sample, first)

    # Weights of all
    owner = _nearest(facing, centres)
    sizes = np.bincount(owner, minlength=len(centres))
    weight = sizes[owner] ** -0.7
    return np.minimum(weight / weight.mean(), 20.0)


def cluster_centres(
    rows: np.ndarray,
    centres: np.ndarray,
) -> np.ndarray:
    """Lloyd's k-means of rows (N, 51) from centres (G, 51); an empty cluster keeps its centre."""
    for _ in range(ROUNDS):
        owner = _nearest(rows, centres)
        sums = _sums_by_owner(rows, owner, len(centres))
        count = np.bincount(owner, minlength=len(centres))[:, None]
        means = sums / np.maximum(count, 1)
        centres = np.where(count, means, centres)

    return centres


def _sums_by_owner(
    rows: np.ndarray,
    owner: np.ndarray,
    count: int,
) -> np.ndarray:
    """Sums (count, 51) of the rows (N, 51) that belong to each of `count` clusters."""
    one_hot = np.eye(count)

    def sums_of(part: slice) -> np.ndarray:
        return crossed(one_hot[owner[part]], rows[part])

    return sum(in_blocks(sums_of, len(rows)))


def _nearest(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Number (N,) of the nearest centre of each row."""
    offset = 0.5 * (centres**2).sum(1)
    across = np.ascontiguousarray(centres.T)

    def nearest_of(part: slice) -> np.ndarray:
        closeness = product(rows[part], across) - offset
        return closeness.argmax(1)

    return np.concatenate(in_blocks(nearest_of, len(rows)))


def facing_one_way(rows: np.ndarray) -> np.ndarray:
    """Poses (N, 51) turned about the vertical until hips and shoulders are along x."""
    joints = rows.reshape(len(rows), -1, 3)
    hips = joints[:, 4] - joints[:, 1]
    across = hips + joints[:, 11] - joints[:, 14]
    heading = np.arctan2(across[:, 2], across[:, 0])
    return rotate_about_vertical(rows, heading)


def stature(mocap: Mocap) -> tuple[float, float]:
    """Mean and std, in metres, of people's size (root of the sum of squared limb lengths), from
    skeletons with a person's own proportions."""
    use = mocap.own_proportions
    if not use.any():
        use = np.ones(len(mocap.subject_id), bool)

    _, sizes = normalised_in_blocks(mocap.positions_m[use])
    subjects = mocap.subject_id[use]
    each = np.array([sizes[subjects == subject].mean() for subject in np.unique(subjects)])
    count = len(each)
    mean = each.mean()

    # Std of a person who is not among them
    spread = 0.0
    if count > 1:
        spread = each.std(ddof=1) * np.sqrt(1 + 1 / count)
    spread = max(spread, STATURE_SPREAD_FLOOR * mean)
    return float(mean), float(spread)


def vary_build(
    positions_m: np.ndarray,
    rng: np.random.Generator,
    build: float = BUILD_SPREAD,
    joints: float = JOINT_SPREAD,
) -> np.ndarray:
    """Poses (N, 17, 3), metres, with the same limb directions on bodies of other, symmetric
    proportions, and with each joint displaced a little.

    build: relative std of the limb lengths; joints: std of the displacement, divided by the size.
    """
    count = len(positions_m)
    length = np.exp(build * rng.standard_normal((count, JOINT_COUNT)))
    length = 0.5 * (length + length[:, list(JOINT_FLIP)])

    # Limbs, from the root outwards
    varied = np.array(positions_m)
    for joint, parent in enumerate(JOINT_PARENTS):
        if parent >= 0:
            limb = positions_m[:, joint] - positions_m[:, parent]
            varied[:, joint] = varied[:, parent] + limb * length[:, joint, None]

    # Displacement
    limbs = positions_m[:, 1:] - positions_m[:, list(JOINT_PARENTS[1:])]
    size = np.sqrt((np.linalg.norm(limbs, axis=-1) ** 2).sum(-1))
    scale = joints * size[:, None, None]
    return varied + scale * rng.standard_normal(varied.shape)


def with_varied_build(
    positions_m: np.ndarray,
    weights: np.ndarray,
    own: np.ndarray,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poses (N, 17, 3), weights (N,) and whether the proportions are a person's own (N,); half of
    the poses are of varied build. Without them the prior would learn the proportions of a dozen
    skeletons as fixed."""
    rng = np.random.default_rng(seed)
    count = len(positions_m)

    if count <= COPIES_BELOW:
        positions_m = np.concatenate([positions_m, positions_m])
        weights = np.concatenate([weights, weights])
        own = np.concatenate([own, np.zeros(count, bool)])
        varied = slice(count, None)
    else:
        positions_m = positions_m.copy()
        own = own.copy()
        varied = slice(1, None, 2)
        own[varied] = False

    for start in range(varied.start, len(positions_m), COPIES_BELOW):
        part = slice(start, start + COPIES_BELOW, varied.step)
        positions_m[part] = vary_build(positions_m[part], rng)

    return positions_m, weights, own


def fit_prior(  # noqa: PLR0913 - options with defaults
    mocap: Mocap,
    components: int = 3,
    basis: int = 25,
    seed: int = 0,
    weights: np.ndarray | None = None,
    vary: bool = True,
    posed: float = 0.0,
) -> MixturePPCA:
    """The prior fitted to all poses of `mocap`.

    weights: (N,) instead of the balanced ones. vary: add poses on bodies of other proportions.
    posed: share of generated poses (see `training_poses`); not with `weights`.
    """
    check_poses(mocap.positions_m, components, basis)
    size = stature(mocap)
    recorded = len(mocap.positions_m)
    if weights is None:
        mocap, weights, _ = training_poses(mocap, posed, seed)

    positions = mocap.positions_m
    own = mocap.own_proportions
    if not own.any():
        own = np.arange(len(positions)) < recorded
    if vary:
        positions, weights, own = with_varied_build(positions, weights, own, seed)

    prior = MixturePPCA(components, basis, seed)
    return prior.fit(positions, weights, size, own)
