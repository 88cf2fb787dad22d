# SPDX-License-Identifier: Apache-2.0
"""How far a label is to be believed: weights in (0, 1] for keypoints labelled by a teacher, by
hand, or by both.

Only training labels are touched: what is measured against stays as it was labelled.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lifting_ros.skeleton import KEYPOINT_FLIP

TRUSTED_SPREAD = 0.08
"""Spread of a teacher's answers, in body sizes, at which its label counts half."""
CONTRADICTED = 0.3
"""Weight of a hand label that a sure teacher puts elsewhere."""
APART = 0.25
"""Distance, in torsos, from which two labels of a keypoint contradict each other."""
_SIDED = [k for k, other in enumerate(KEYPOINT_FLIP) if other != k]


def teacher_weight(spread: np.ndarray) -> np.ndarray:
    """Weight of a teacher's labels from the spread of its answers in body sizes, any shape."""
    return 1 / (1 + (np.asarray(spread, np.float32) / TRUSTED_SPREAD) ** 2)


def vote_weight(votes: Mapping[str, np.ndarray]) -> np.ndarray:
    """Weight (N, 14) of labels on which `agree` of the teachers' four answers agree within `spread`
    body sizes."""
    return teacher_weight(votes["spread"]) * votes["agree"].clip(0, 4) / 4


def settle(hand: np.ndarray, teacher: np.ndarray, torso_px: np.ndarray) -> np.ndarray:
    """One set of labels from two: (N, 14, 3) x, y px and weight, 0 where nobody labelled.

    hand: (N, 14, 3) with 1 where labelled; teacher: (N, 14, 3) with its weight, 0 where it is not
    sure; torso_px: (N,), NaN where unknown. People whose sides were swapped by hand are swapped
    back; a hand label that the teacher contradicts counts CONTRADICTED; a keypoint that only the
    teacher sees takes half its weight.
    """
    hand = np.where(
        sides_swapped(hand, teacher, torso_px)[:, None, None], hand[:, list(KEYPOINT_FLIP)], hand
    )
    apart = _distance(hand, teacher, torso_px) > APART  # False where one of the two is missing
    settled = hand.copy()
    settled[..., 2] *= np.where(apart, CONTRADICTED, 1.0)
    alone = (hand[..., 2] == 0) & (teacher[..., 2] > 0)
    settled[alone] = teacher[alone] * np.array([1, 1, 0.5], np.float32)

    return settled


def sides_swapped(hand: np.ndarray, teacher: np.ndarray, torso_px: np.ndarray) -> np.ndarray:
    """(N,) whether the hand labels fit the teacher's far better with left and right exchanged."""
    flipped = hand[:, list(KEYPOINT_FLIP)]
    as_is = _mean_distance(hand, teacher, torso_px)
    exchanged = _mean_distance(flipped, teacher, torso_px)
    return (exchanged < 0.6 * as_is) & (exchanged < 0.3)


def _mean_distance(hand: np.ndarray, teacher: np.ndarray, torso_px: np.ndarray) -> np.ndarray:
    """(N,) mean over the keypoints with a side, each at most one torso; infinite with fewer than
    six to compare."""
    distance = _distance(hand, teacher, torso_px)[:, _SIDED]
    distance = np.minimum(distance, 1)
    count = np.isfinite(distance).sum(1)
    mean = np.nansum(distance, 1) / np.maximum(count, 1)
    return np.where(count >= 6, mean, np.inf)


def _distance(hand: np.ndarray, teacher: np.ndarray, torso_px: np.ndarray) -> np.ndarray:
    """(N, 14) in torsos, NaN where one of the two is missing."""
    both = (hand[..., 2] > 0) & (teacher[..., 2] > 0)
    offset = hand[..., :2] - teacher[..., :2]
    distance_px = np.linalg.norm(offset, axis=-1)
    relative = distance_px / torso_px[:, None]
    return np.where(both, relative, np.nan)
