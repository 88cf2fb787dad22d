# SPDX-License-Identifier: Apache-2.0
"""Losses of the multistage network: intermediate supervision on the belief maps of every stage,
before and after fusion."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lifting_ros.keypoints import belief_maps
from lifting_ros.keypoints.network import NetworkOutput
from lifting_ros.keypoints.network_paper import PEAK

_FACE = 2
"""Number of keypoints, the first ones, that the trunk lacks: head top and neck."""
_BODY = (6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15)
"""Which of the trunk's 17 keypoints are the others."""

LEAST_TRUNK_SCORE = 0.3
"""Keypoints of the trunk below it are no labels."""


def target_maps(
    keypoints_px: Tensor,
    weight: Tensor,
    stride: int,
    size: tuple[int, int],
    sigma: float,
) -> tuple[Tensor, Tensor]:
    """Target beliefs (N, J, h, w), each with the sum 1, and the weights of the keypoints (N, J):
    those of the labels (N, J), or 0 outside the grid."""
    cells = belief_maps.pixels_to_cells(keypoints_px, stride)  # (N, J, 2)
    height, width = size
    limit = torch.tensor([width, height], dtype=cells.dtype, device=cells.device) - 0.5
    inside = ((cells > -0.5) & (cells < limit)).all(-1)
    counted = weight * inside

    usable = torch.where(counted[..., None] > 0, cells, 0.0)
    maps = belief_maps.encode(usable, size, sigma)
    total = maps.sum((-1, -2), keepdim=True)
    return maps / total, counted


def belief_cross_entropy(
    log_belief: Tensor,
    target: Tensor,
    counted: Tensor,
) -> Tensor:
    """Cross-entropy of belief maps (N, J, h, w), averaged over the keypoints with weights `counted`
    (N, J)."""
    product = target * log_belief
    each = -product.sum((-1, -2))  # (N, J)
    return _weighted_mean(each, counted)


def map_regression(
    maps: Tensor,
    target: Tensor,
    counted: Tensor,
) -> Tensor:
    """Squared distance of belief maps (N, J, h, w) in the unit of their peaks, averaged over the
    maps with weights `counted` (N, J)."""
    missed = maps - target
    each = missed.square().sum((-1, -2))  # (N, J)
    return _weighted_mean(each, counted)


def _weighted_mean(each: Tensor, weight: Tensor) -> Tensor:
    """Mean of values with weights of the same shape; a total weight below 1 counts as 1."""
    total = weight.sum().clamp_min(1)
    return (each * weight).sum() / total


def stage_losses(
    output: NetworkOutput,
    target: Tensor,
    counted: Tensor,
    nobody: Tensor,
) -> Tensor:
    """(S, 2): for each stage the loss of its own maps b_t and that of the fused maps f_t.

    Cross-entropies for softmax maps, squared distances for peaks. target (N, J, h, w), counted (N,
    J); nobody (N,): pictures known to show no person.
    """
    maps = output.stages[0].raw.shape[1]
    has_background = maps > target.shape[1]
    losses = _peak_losses if has_background else _softmax_losses
    return losses(output, target, counted, nobody)


def _softmax_losses(
    output: NetworkOutput,
    target: Tensor,
    counted: Tensor,
    nobody: Tensor,
) -> Tensor:
    rows = []
    for stage in output.stages:
        log_belief = stage.raw.flatten(2).log_softmax(-1)
        own = belief_cross_entropy(log_belief.view_as(target), target, counted)

        fused = own
        if stage.projected is not None:
            log_fused = stage.fused.clamp_min(1e-9).log()
            fused = belief_cross_entropy(log_fused, target, counted)

        rows.append(torch.stack([own, fused]))

    return torch.stack(rows)


def _peak_losses(
    output: NetworkOutput,
    target: Tensor,
    counted: Tensor,
    nobody: Tensor,
) -> Tensor:
    """The background map counts only where every keypoint is labelled or nobody is in the picture:
    an unlabelled person is not background."""
    there = ~nobody[:, None, None, None]
    peak = target * there * PEAK  # (N, J, h, w)
    known = torch.where(nobody[:, None], 1.0, counted)
    whole = known.amin(1, keepdim=True)
    background = 1 - peak.amax(1, keepdim=True).clamp(max=1)
    target = torch.cat([peak, background], 1)  # (N, J+1, h, w)
    weight = torch.cat([known, whole], 1)

    rows = []
    for stage in output.stages:
        own = map_regression(stage.raw, target, weight)

        fused = own
        if stage.projected is not None:
            fused = map_regression(stage.fused * PEAK, peak, known)

        rows.append(torch.stack([own, fused]))

    return torch.stack(rows)


def presence_loss(logits: Tensor, presence: Tensor) -> Tensor:
    """Binary cross-entropy of logits (N, J) of keypoints being in view; presence (N, J): 1, 0, or
    NaN where nothing is known."""
    known = presence.isfinite()
    target = torch.where(known, presence, 0.0)
    each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (each * known).sum() / known.sum().clamp_min(1)


def trunk_labels(own: Tensor) -> tuple[Tensor, Tensor]:
    """Keypoints (N, J, 2) in cells, from the trunk's own maps (N, 17, h, w), and their scores (N,
    J), 0 below LEAST_TRUNK_SCORE.

    They are used as labels where a picture has none. Head top and neck score 0: the trunk lacks
    them.
    """
    maps = own[:, list(_BODY)]
    score, cell = maps.flatten(2).max(-1)  # (N, 12)
    width = own.shape[-1]
    column = cell % width
    row = torch.div(cell, width, rounding_mode="floor")
    points = torch.stack([column, row], -1).to(own.dtype)
    score = torch.where(score >= LEAST_TRUNK_SCORE, score, 0.0)

    all_points = functional.pad(points, (0, 0, _FACE, 0))
    all_scores = functional.pad(score, (_FACE, 0))
    return all_points, all_scores
