# SPDX-License-Identifier: Apache-2.0
"""Fit of the shipped prior: motion capture in, mixture of PPCA out, frames balanced and proportions kept apart (section 4)."""
from __future__ import annotations

import numpy as np

from lifting_ros.core.ppca import MixturePPCA, normalise
from lifting_ros.data.mocap import Mocap

STATURE_SPREAD_FLOOR = 0.06
"""Least relative deviation of people's size: a few dozen recorded adults are not the people a robot meets."""


def balanced_weights(mocap: Mocap) -> np.ndarray:
    """Weight of each frame (N,): a clip counts as the square root of its length, so that long dances do not rule."""
    _, clip, length = np.unique(mocap.clip_id, return_inverse=True, return_counts=True)
    weight = 1 / np.sqrt(length[clip])
    return weight / weight.mean()


def stature(mocap: Mocap) -> tuple[float, float]:
    """Mean and deviation of people's size (root of the sum of squared limb lengths), metres, from skeletons that are a person's own."""
    use = mocap.own_proportions if mocap.own_proportions.any() else np.ones(len(mocap.subject_id), bool)
    sizes = normalise(mocap.positions_m[use].astype(np.float64))[1]
    subjects = mocap.subject_id[use]
    each = np.array([sizes[subjects == s].mean() for s in np.unique(subjects)])
    return float(each.mean()), float(max(each.std(), STATURE_SPREAD_FLOOR * each.mean()))


def fit_prior(mocap: Mocap, components: int = 3, basis: int = 25, seed: int = 0) -> MixturePPCA:
    """Fit on all poses of `mocap`."""
    return MixturePPCA(components, basis, seed).fit(mocap.positions_m, balanced_weights(mocap), stature(mocap))
