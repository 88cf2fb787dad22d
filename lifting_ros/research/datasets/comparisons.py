# SPDX-License-Identifier: Apache-2.0
"""Which of two joints is farther from the camera: comparisons as a crowd of annotators gives them,
simulated where the truth is known."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np

ANNOTATORS = ("exact", "constant", "crowd")
"""Who never errs, who errs as often whatever the distance, and who errs as the workers of the
paper's study did."""

CROWD_LEAST = 0.5
"""Share of right answers of the crowd for two joints of equal depth."""

CROWD_PER_M = 1.25
"""What each metre of depth between them adds: min(50 + 1.25 |dz in cm|, 100) %."""


class Comparisons(NamedTuple):
    """K comparisons of each of M pictures."""

    pairs: np.ndarray
    """(M, K, 2) numbers of joints."""
    label: np.ndarray
    """(M, K): 1 where the first joint is farther, -1 where the second is, 0 where they are equally
    far; int8."""


def probability_correct(apart_m: np.ndarray, annotator: str, correct: float = 1.0) -> np.ndarray:
    """How often an annotator is right about two joints `apart_m` apart in depth; `correct` is the
    constant annotator's rate."""
    if annotator == "crowd":
        return np.minimum(CROWD_LEAST + CROWD_PER_M * np.abs(apart_m), 1.0)
    return np.full(np.shape(apart_m), correct if annotator == "constant" else 1.0)


def simulate(
    depth_m: np.ndarray,
    rng: np.random.Generator,
    count: int = 1,
    annotator: str = "crowd",
    correct: float = 1.0,
    tolerance_m: float = 0.0,
) -> Comparisons:
    """Compare `count` random pairs (0: all) of joints of M people of depths (M, J); within the
    tolerance they are called equally far.

    Who errs says the opposite; of two equally far joints, either.
    """
    people, joints = depth_m.shape
    every = np.array(list(combinations(range(joints), 2)))

    if count:
        chosen = rng.random((people, len(every))).argpartition(min(count, len(every)) - 1, axis=1)[
            :, :count
        ]
        pairs = every[chosen]  # M, K, 2
    else:
        pairs = np.broadcast_to(every, (people, *every.shape))

    first, second = (np.take_along_axis(depth_m, pairs[..., side], 1) for side in (0, 1))
    apart = first - second
    truth = np.where(np.abs(apart) <= tolerance_m, 0, np.sign(apart))
    wrong = rng.random(apart.shape) >= probability_correct(apart, annotator, correct)
    other = np.where(truth == 0, rng.choice([-1, 1], apart.shape), -truth)

    return Comparisons(pairs.astype(np.int16), np.where(wrong, other, truth).astype(np.int8))
