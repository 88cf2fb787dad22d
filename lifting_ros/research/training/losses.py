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
_BODY = (6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15)
"""Of the trunk's 17 keypoints those that are our keypoints from the third on; the first two, head
top and neck, it lacks."""


def target_maps(
    keypoints_px: Tensor, weight: Tensor, stride: int, size: tuple[int, int], sigma: float
) -> tuple[Tensor, Tensor]:
    """Target beliefs (N, J, h, w), each summing to one, and how much each keypoint counts, (N, J):
    its label's weight (N, J) inside the grid, nothing outside."""
    cells = belief_maps.pixels_to_cells(keypoints_px, stride)  # (N, J, 2)
    limit = torch.tensor([size[1], size[0]], dtype=cells.dtype, device=cells.device) - 0.5
    counted = weight * ((cells > -0.5) & (cells < limit)).all(-1)
    maps = belief_maps.encode(torch.where(counted[..., None] > 0, cells, 0.0), size, sigma)
    return maps / maps.sum((-1, -2), keepdim=True), counted


def belief_cross_entropy(log_belief: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Cross-entropy of belief maps, (N, J, h, w) each, averaged over the keypoints by what they
    count (N, J)."""
    each = -(target * log_belief).sum((-1, -2))  # (N, J)
    return (each * counted).sum() / counted.sum().clamp_min(1)


def map_regression(maps: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Squared distance of belief maps in the unit of their peaks, (N, J, h, w) each, averaged over
    the maps by what they count (N, J)."""
    each = (maps - target).square().sum((-1, -2))  # (N, J)
    return (each * counted).sum() / counted.sum().clamp_min(1)


def stage_losses(output: NetworkOutput, target: Tensor, counted: Tensor, nobody: Tensor) -> Tensor:
    """(S, 2): for every stage the loss of its own maps b_t and of the fused maps f_t,
    cross-entropies where the maps are a softmax, squared distances where they are peaks. target (N,
    J, h, w), counted (N, J); nobody (N,): pictures known to show no person."""
    peaks = output.stages[0].raw.shape[1] > target.shape[1]
    return (_peak_losses if peaks else _softmax_losses)(output, target, counted, nobody)


def _softmax_losses(
    output: NetworkOutput, target: Tensor, counted: Tensor, nobody: Tensor
) -> Tensor:
    rows = []
    for stage in output.stages:
        own = belief_cross_entropy(
            stage.raw.flatten(2).log_softmax(-1).view_as(target), target, counted
        )
        if stage.projected is None:
            rows.append(torch.stack([own, own]))
        else:
            rows.append(
                torch.stack(
                    [own, belief_cross_entropy(stage.fused.clamp_min(1e-9).log(), target, counted)]
                )
            )
    return torch.stack(rows)


def _peak_losses(output: NetworkOutput, target: Tensor, counted: Tensor, nobody: Tensor) -> Tensor:
    """The background counts where every keypoint is labelled, or nobody is there: a missing label
    is no background."""
    there = ~nobody[:, None, None, None]
    peak = target * there * PEAK  # (N, J, h, w)
    known = torch.where(nobody[:, None], 1.0, counted)
    whole = known.amin(1, keepdim=True)
    target = torch.cat([peak, 1 - peak.amax(1, keepdim=True).clamp(max=1)], 1)  # (N, J+1, h, w)
    rows = []
    for stage in output.stages:
        own = map_regression(stage.raw, target, torch.cat([known, whole], 1))
        fused = own if stage.projected is None else map_regression(stage.fused * PEAK, peak, known)
        rows.append(torch.stack([own, fused]))
    return torch.stack(rows)


def presence_loss(logits: Tensor, presence: Tensor) -> Tensor:
    """Binary cross-entropy of logits (N, J) of keypoints being in view; presence (N, J): 1, 0, or
    NaN where nothing is known."""
    known = presence.isfinite()
    each = functional.binary_cross_entropy_with_logits(
        logits, torch.where(known, presence, 0.0), reduction="none"
    )
    return (each * known).sum() / known.sum().clamp_min(1)


def trunk_labels(own: Tensor, least: float = 0.3) -> tuple[Tensor, Tensor]:
    """Keypoints (N, J, 2) in cells as the trunk's own maps (N, 17, h, w) have them, and their
    scores (N, J), 0 below `least`.

    A free teacher on any picture. It knows nothing of the crown and of the neck.
    """
    maps = own[:, list(_BODY)]
    score, cell = maps.flatten(2).max(-1)  # (N, 12)
    width = own.shape[-1]
    points = torch.stack([cell % width, torch.div(cell, width, rounding_mode="floor")], -1).to(
        own.dtype
    )
    score = torch.where(score >= least, score, 0.0)
    return functional.pad(points, (0, 0, _FACE, 0)), functional.pad(score, (_FACE, 0))
