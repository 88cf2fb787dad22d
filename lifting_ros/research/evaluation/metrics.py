# SPDX-License-Identifier: Apache-2.0
"""Metrics as free functions on arrays, named as in the papers."""

from __future__ import annotations

import numpy as np

from lifting_ros.research.evaluation.procrustes import align
from lifting_ros.skeleton import KEYPOINT_FLIP, LIMBS, torso_px


def pck(predicted_px: np.ndarray, keypoints: np.ndarray, alpha: float = 0.2) -> np.ndarray:
    """Percentage of correct keypoints (as a share), per keypoint: within `alpha` torsos of the
    label.

    predicted_px: (N, 14, 2); keypoints: (N, 14, 3) with 1 where labelled. Returns (14,), NaN for a
    keypoint that is nowhere labelled.
    """
    missed = predicted_px - keypoints[..., :2]
    distance = np.linalg.norm(missed, axis=-1)
    torso = torso_px(keypoints)
    labelled = keypoints[..., 2] > 0
    counted = labelled & np.isfinite(torso)[:, None]

    with np.errstate(invalid="ignore"):
        correct = (distance <= alpha * torso[:, None]) & counted
        total = counted.sum(0)
        return correct.sum(0) / np.where(total > 0, total, np.nan)


def mean_pck(predicted_px: np.ndarray, keypoints: np.ndarray, alpha: float = 0.2) -> float:
    """Mean of `pck` over the keypoints that are labelled somewhere; NaN where none is."""
    each = pck(predicted_px, keypoints, alpha)
    known = np.isfinite(each)
    if not known.any():
        return float("nan")
    return float(each[known].mean())


def swapped(predicted_px: np.ndarray, keypoints: np.ndarray, alpha: float = 0.2) -> float:
    """Share of keypoints with left and right swapped: within `alpha` torsos of the other side's
    label, and not of their own.

    predicted_px: (N, 14, 2); keypoints: (N, 14, 3) with 1 where labelled. Of those counts whose two
    sides are labelled; NaN if none.
    """
    flip = list(KEYPOINT_FLIP)
    paired = np.array(KEYPOINT_FLIP) != np.arange(len(KEYPOINT_FLIP))
    near = alpha * torso_px(keypoints)[:, None]
    opposite = keypoints[:, flip]
    own = np.linalg.norm(predicted_px - keypoints[..., :2], axis=-1)
    other = np.linalg.norm(predicted_px - opposite[..., :2], axis=-1)

    labelled = (keypoints[..., 2] > 0) & (opposite[..., 2] > 0)
    counted = labelled & np.isfinite(near) & paired
    if not counted.any():
        return float("nan")

    taken = (own > near) & (other <= near)
    return float(taken[counted].mean())


def mpjpe(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean per-joint position error after aligning the roots (joint 0), (N, J, 3) -> (N,), in the
    unit given."""
    predicted = predicted - predicted[:, :1]
    truth = truth - truth[:, :1]
    return np.linalg.norm(predicted - truth, axis=-1).mean(-1)


def n_aligned(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both (N, J, 3) about their roots (joint 0), the prediction times its best scale about it."""
    predicted = predicted - predicted[:, :1]
    truth = truth - truth[:, :1]
    product = (predicted * truth).sum((1, 2))
    square = (predicted**2).sum((1, 2))
    scale = product / np.maximum(square, 1e-12)
    return scale[:, None, None] * predicted, truth


def n_mpjpe(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """MPJPE after the best scale about the root, (N, J, 3) -> (N,)."""
    return mpjpe(*n_aligned(predicted, truth))


def pa_mpjpe(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """MPJPE after Procrustes alignment (rotation, scale, translation; no reflection), (N, J, 3) ->
    (N,)."""
    aligned = align(predicted, truth).joints
    return np.linalg.norm(aligned - truth, axis=-1).mean(-1)


def flipped_limbs(predicted: np.ndarray, truth: np.ndarray, least_m: float = 0.05) -> float:
    """Share of the limbs longer than `least_m` in depth (z, optical frame) that point the wrong way
    in depth; (N, 17, 3), NaN if none."""
    parents, children = np.array(LIMBS).T
    said = predicted[:, children, 2] - predicted[:, parents, 2]
    true = truth[:, children, 2] - truth[:, parents, 2]
    counted = np.abs(true) > least_m
    if not counted.any():
        return float("nan")

    flipped = said * true < 0
    return float(flipped[counted].mean())


def depth_and_across(predicted: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Mean error along depth (z, optical frame) and across the image (x, y together), in the unit
    given, (N, J, 3)."""
    error = predicted - truth
    depth = np.abs(error[..., 2])
    across = np.linalg.norm(error[..., :2], axis=-1)
    return float(depth.mean()), float(across.mean())


def wrong_orders(joints: np.ndarray, pairs: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Whether the depth order of joints (N, J, 3) contradicts the label, 0 or 1; NaN where the
    label says equally far, or where the person was not lifted.

    pairs (N, K, 2) numbers of joints, label (N, K) 1 where the first is farther (z, optical frame),
    -1 where the second is. Returns (N, K).
    """
    first, second = (
        np.take_along_axis(joints[..., 2], np.asarray(pairs[..., side], np.int64), 1)
        for side in (0, 1)
    )
    apart = first - second

    return np.where((label == 0) | np.isnan(apart), np.nan, apart * label <= 0)
