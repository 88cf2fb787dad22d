# SPDX-License-Identifier: Apache-2.0
"""Fit of the shipped prior: motion capture in, mixture of PPCA out, frames balanced and proportions kept apart (section 4)."""
from __future__ import annotations

import numpy as np
from scipy.cluster.vq import kmeans2

from lifting_ros.core.alignment import rotate_about_vertical
from lifting_ros.core.ppca import MixturePPCA, normalise
from lifting_ros.data.mocap import Mocap

CLUSTERS = 150
"""Clusters of poses for balancing."""

STATURE_SPREAD_FLOOR = 0.06
"""Least relative deviation of people's size: a few dozen recorded adults are not the people a robot meets."""


def balanced_weights(mocap: Mocap, seed: int = 0) -> np.ndarray:
    """Weight of each pose (N,), mean one: poses of a crowded part of pose space count less, so that sitting is not lost among walking.

    The poses, turned to face one way, are put into clusters; a pose counts as its cluster's size to the power of -0.7.
    """
    facing = facing_one_way(normalise(mocap.positions_m)[0])
    clusters = min(CLUSTERS, max(1, len(facing) // 20))
    start = facing[np.random.default_rng(seed).choice(len(facing), clusters, replace=False)]
    owner = kmeans2(facing, start, iter=20, minit="matrix")[1]
    weight = np.bincount(owner, minlength=clusters)[owner] ** -0.7
    return np.minimum(weight / weight.mean(), 20.0)


def facing_one_way(rows: np.ndarray) -> np.ndarray:
    """Poses (N, 51) turned about the vertical until hips and shoulders lie along x."""
    joints = rows.reshape(len(rows), -1, 3)
    across = joints[:, 4] - joints[:, 1] + joints[:, 11] - joints[:, 14]
    return rotate_about_vertical(rows, np.arctan2(across[:, 2], across[:, 0]))


def stature(mocap: Mocap) -> tuple[float, float]:
    """Mean and deviation of people's size (root of the sum of squared limb lengths), metres, from skeletons that are a person's own."""
    use = mocap.own_proportions if mocap.own_proportions.any() else np.ones(len(mocap.subject_id), bool)
    sizes = normalise(mocap.positions_m[use].astype(np.float64))[1]
    subjects = mocap.subject_id[use]
    each = np.array([sizes[subjects == s].mean() for s in np.unique(subjects)])
    return float(each.mean()), float(max(each.std(), STATURE_SPREAD_FLOOR * each.mean()))


def fit_prior(mocap: Mocap, components: int = 3, basis: int = 25, seed: int = 0) -> MixturePPCA:
    """Fit on all poses of `mocap`."""
    own = mocap.own_proportions if mocap.own_proportions.any() else None
    return MixturePPCA(components, basis, seed).fit(mocap.positions_m, balanced_weights(mocap, seed), stature(mocap), own)
