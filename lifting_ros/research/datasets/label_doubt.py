# SPDX-License-Identifier: Apache-2.0
"""Weights in (0, 1] of keypoint labels: how far a label from a teacher, by hand, or from both can
be trusted.

Only training labels get weights. Labels for measurements stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lifting_ros.skeleton import KEYPOINT_FLIP

TRUSTED_SPREAD = 0.08
"""Spread of a teacher's answers, in body sizes, at which its label has half its weight."""

CONTRADICTED = 0.3
"""Weight of a hand label that a confident teacher contradicts."""

APART = 0.25
"""Distance, in torsos, from which two labels of a keypoint contradict each other."""

_SIDED = [k for k, other in enumerate(KEYPOINT_FLIP) if other != k]


def teacher_weight(spread: np.ndarray) -> np.ndarray:
    """Weight of a teacher's labels, from the spread of its answers in body sizes, any shape."""
    relative = np.asarray(spread, np.float32) / TRUSTED_SPREAD
    return 1 / (1 + relative**2)


def vote_weight(votes: Mapping[str, np.ndarray]) -> np.ndarray:
    """Weight (N, 14) of labels on which `agree` of the teachers' four answers agree within `spread`
    body sizes."""
    agree = votes["agree"].clip(0, 4)
    return teacher_weight(votes["spread"]) * agree / 4


def settle(
    hand: np.ndarray,
    teacher: np.ndarray,
    torso_px: np.ndarray,
) -> np.ndarray:
    """One set of labels from two: (N, 14, 3) x, y px and weight, 0 without a label.

    hand: (N, 14, 3), 1 where labelled; teacher: (N, 14, 3) with its weight, 0 where it is not
    confident; torso_px: (N,), NaN where unknown. Left and right that were exchanged by hand are
    exchanged back. A hand label that the teacher contradicts gets the weight CONTRADICTED, and a
    label from the teacher alone half its weight.
    """
    swapped = sides_swapped(hand, teacher, torso_px)
    flipped = hand[:, list(KEYPOINT_FLIP)]
    hand = np.where(swapped[:, None, None], flipped, hand)

    apart = _distance(hand, teacher, torso_px) > APART  # False where one of the two is missing
    settled = hand.copy()
    settled[..., 2] *= np.where(apart, CONTRADICTED, 1.0)

    alone = (hand[..., 2] == 0) & (teacher[..., 2] > 0)
    settled[alone] = teacher[alone] * np.array([1, 1, 0.5], np.float32)
    return settled


def sides_swapped(
    hand: np.ndarray,
    teacher: np.ndarray,
    torso_px: np.ndarray,
) -> np.ndarray:
    """(N,) whether the hand labels agree much better with the teacher's if left and right are
    exchanged."""
    flipped = hand[:, list(KEYPOINT_FLIP)]
    as_is = _mean_distance(hand, teacher, torso_px)
    exchanged = _mean_distance(flipped, teacher, torso_px)
    return (exchanged < 0.6 * as_is) & (exchanged < 0.3)


def _mean_distance(
    hand: np.ndarray,
    teacher: np.ndarray,
    torso_px: np.ndarray,
) -> np.ndarray:
    """(N,) mean distance of the keypoints with a side, each at most one torso; infinite with fewer
    than six."""
    distance = _distance(hand, teacher, torso_px)[:, _SIDED]
    distance = np.minimum(distance, 1)
    count = np.isfinite(distance).sum(1)
    mean = np.nansum(distance, 1) / np.maximum(count, 1)
    return np.where(count >= 6, mean, np.inf)


def _distance(
    hand: np.ndarray,
    teacher: np.ndarray,
    torso_px: np.ndarray,
) -> np.ndarray:
    """(N, 14) in torsos, NaN where one of the two is missing."""
    both = (hand[..., 2] > 0) & (teacher[..., 2] > 0)
    offset = hand[..., :2] - teacher[..., :2]
    distance_px = np.linalg.norm(offset, axis=-1)
    relative = distance_px / torso_px[:, None]
    return np.where(both, relative, np.nan)
