# SPDX-License-Identifier: Apache-2.0
"""Comparisons of two joints by depth: which one is farther from the camera, as a simulated crowd of
annotators answers."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np

ANNOTATORS = ("exact", "constant", "crowd")
"""Kinds of annotators: always right; wrong at a constant rate; wrong as often as the workers of the
paper's study."""

CROWD_LEAST = 0.5
"""Share of right answers of the crowd for two joints of equal depth."""

CROWD_PER_M = 1.25
"""Increase of that share per metre of difference in depth: min(50 + 1.25 |dz in cm|, 100) %."""


class Comparisons(NamedTuple):
    """K comparisons of each of M pictures."""

    pairs: np.ndarray
    """(M, K, 2) numbers of joints."""
    label: np.ndarray
    """(M, K): 1 where the first joint is farther, -1 where the second is, 0 where they are equally
    far; int8."""


def probability_correct(
    apart_m: np.ndarray,
    annotator: str,
    correct: float = 1.0,
) -> np.ndarray:
    """Probability of a right answer for two joints `apart_m` apart in depth; correct: that of the
    constant annotator."""
    if annotator == "crowd":
        share = CROWD_LEAST + CROWD_PER_M * np.abs(apart_m)
        return np.minimum(share, 1.0)

    constant = correct if annotator == "constant" else 1.0
    return np.full(np.shape(apart_m), constant)


def simulate(
    depth_m: np.ndarray,
    rng: np.random.Generator,
    count: int = 1,
    annotator: str = "crowd",
    correct: float = 1.0,
    tolerance_m: float = 0.0,
) -> Comparisons:
    """Comparisons of `count` random pairs of joints (0: all pairs) of M persons, depths (M, J).

    Joints whose depths differ by at most the tolerance count as equally far. A wrong answer is the
    opposite one; for two equally far joints, either of them.
    """
    people, joints = depth_m.shape
    every = np.array(list(combinations(range(joints), 2)))

    if count:
        last = min(count, len(every)) - 1
        order = rng.random((people, len(every))).argpartition(last, axis=1)
        chosen = order[:, :count]
        pairs = every[chosen]  # M, K, 2
    else:
        pairs = np.broadcast_to(every, (people, *every.shape))

    first = np.take_along_axis(depth_m, pairs[..., 0], 1)
    second = np.take_along_axis(depth_m, pairs[..., 1], 1)
    apart = first - second

    truth = np.where(np.abs(apart) <= tolerance_m, 0, np.sign(apart))
    wrong = rng.random(apart.shape) >= probability_correct(apart, annotator, correct)
    either = rng.choice([-1, 1], apart.shape)
    other = np.where(truth == 0, either, -truth)
    label = np.where(wrong, other, truth)

    return Comparisons(pairs.astype(np.int16), label.astype(np.int8))
