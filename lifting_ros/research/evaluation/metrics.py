# SPDX-License-Identifier: Apache-2.0
"""Metrics as free functions on arrays, named as in the papers."""

from __future__ import annotations

import numpy as np

from lifting_ros.research.evaluation.procrustes import align
from lifting_ros.skeleton import KEYPOINT_FLIP, LIMBS, torso_px

ALPHA = 0.2
"""Keypoints are correct within this many torsos of their label."""

DEPTH_M = 0.05
"""Limbs of a smaller extent in depth cannot be flipped."""


def pck(
    predicted_px: np.ndarray,
    keypoints: np.ndarray,
    alpha: float = ALPHA,
) -> np.ndarray:
    """Percentage of correct keypoints (PCK) as a share, (14,); NaN for a keypoint that is never
    labelled. Correct means within `alpha` torsos of the label.

    predicted_px: (N, 14, 2); keypoints: (N, 14, 3), the third 1 where labelled.
    """
    error = predicted_px - keypoints[..., :2]
    distance = np.linalg.norm(error, axis=-1)
    torso = torso_px(keypoints)
    labelled = keypoints[..., 2] > 0
    counted = labelled & np.isfinite(torso)[:, None]

    with np.errstate(invalid="ignore"):
        near = distance <= alpha * torso[:, None]
        correct = (near & counted).sum(0)

    total = counted.sum(0)
    return correct / np.where(total > 0, total, np.nan)


def mean_pck(
    predicted_px: np.ndarray,
    keypoints: np.ndarray,
) -> float:
    """Mean of `pck` over the keypoints that are labelled somewhere; NaN if none is."""
    each = pck(predicted_px, keypoints)
    known = np.isfinite(each)
    if not known.any():
        return float("nan")
    return float(each[known].mean())


def swapped(
    predicted_px: np.ndarray,
    keypoints: np.ndarray,
) -> float:
    """Share of keypoints with left and right swapped: within ALPHA torsos of the label of the
    other side, and not of their own. Keypoints count if both sides are labelled; NaN if none does.

    predicted_px: (N, 14, 2); keypoints: (N, 14, 3), the third 1 where labelled.
    """
    flip = np.array(KEYPOINT_FLIP)
    paired = flip != np.arange(len(flip))
    opposite = keypoints[:, flip]

    near = ALPHA * torso_px(keypoints)[:, None]
    to_own = predicted_px - keypoints[..., :2]
    to_opposite = predicted_px - opposite[..., :2]
    own = np.linalg.norm(to_own, axis=-1)
    other = np.linalg.norm(to_opposite, axis=-1)

    labelled = (keypoints[..., 2] > 0) & (opposite[..., 2] > 0)
    counted = labelled & np.isfinite(near) & paired
    if not counted.any():
        return float("nan")

    taken = (own > near) & (other <= near)
    return float(taken[counted].mean())


def mpjpe(
    predicted: np.ndarray,
    truth: np.ndarray,
) -> np.ndarray:
    """Mean per-joint position error after aligning the roots (joint 0), (N, J, 3) -> (N,), in the
    unit given."""
    predicted = predicted - predicted[:, :1]
    truth = truth - truth[:, :1]
    distance = np.linalg.norm(predicted - truth, axis=-1)
    return distance.mean(-1)


def n_aligned(
    predicted: np.ndarray,
    truth: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Both (N, J, 3) relative to their roots (joint 0), the prediction times its best scale."""
    predicted = predicted - predicted[:, :1]
    truth = truth - truth[:, :1]
    product = (predicted * truth).sum((1, 2))
    square = (predicted**2).sum((1, 2))
    scale = product / np.maximum(square, 1e-12)
    return scale[:, None, None] * predicted, truth


def n_mpjpe(
    predicted: np.ndarray,
    truth: np.ndarray,
) -> np.ndarray:
    """MPJPE after the best scale about the root, (N, J, 3) -> (N,)."""
    scaled, relative = n_aligned(predicted, truth)
    return mpjpe(scaled, relative)


def pa_mpjpe(
    predicted: np.ndarray,
    truth: np.ndarray,
) -> np.ndarray:
    """MPJPE after Procrustes alignment (rotation, scale, translation; no reflection), (N, J, 3) ->
    (N,)."""
    aligned = align(predicted, truth).joints
    return np.linalg.norm(aligned - truth, axis=-1).mean(-1)


def flipped_limbs(
    predicted: np.ndarray,
    truth: np.ndarray,
) -> float:
    """Share of the limbs that point the wrong way in depth, among those whose true extent in depth
    (z, optical frame) exceeds DEPTH_M; (N, 17, 3), NaN if there is none."""
    parents, children = np.array(LIMBS).T
    predicted_z = predicted[..., 2]
    true_z = truth[..., 2]
    said = predicted_z[:, children] - predicted_z[:, parents]
    true = true_z[:, children] - true_z[:, parents]
    counted = np.abs(true) > DEPTH_M
    if not counted.any():
        return float("nan")

    flipped = said * true < 0
    return float(flipped[counted].mean())


def depth_and_across(
    predicted: np.ndarray,
    truth: np.ndarray,
) -> tuple[float, float]:
    """Mean error along depth (z, optical frame) and across it (in x and y), in the unit given;
    (N, J, 3)."""
    error = predicted - truth
    depth = np.abs(error[..., 2])
    across = np.linalg.norm(error[..., :2], axis=-1)
    return float(depth.mean()), float(across.mean())


def wrong_orders(
    joints: np.ndarray,
    pairs: np.ndarray,
    label: np.ndarray,
) -> np.ndarray:
    """Whether the depth order of joints (N, J, 3) contradicts the label, 0 or 1, (N, K); NaN where
    the label says equally far, or where the person was not lifted.

    pairs: (N, K, 2) numbers of joints; label: (N, K), 1 where the first joint is farther away (z,
    optical frame), -1 where the second is, 0 where they are equally far.
    """
    pairs = np.asarray(pairs, np.int64)
    depth = joints[..., 2]
    first = np.take_along_axis(depth, pairs[..., 0], 1)
    second = np.take_along_axis(depth, pairs[..., 1], 1)
    apart = first - second

    unknown = (label == 0) | np.isnan(apart)
    return np.where(unknown, np.nan, apart * label <= 0)
