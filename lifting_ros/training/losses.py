# SPDX-License-Identifier: Apache-2.0
"""Losses of the multistage network: intermediate supervision on the belief maps of every stage, before and after fusion."""
from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lifting_ros.core import belief_maps
from lifting_ros.core.network import NetworkOutput


def target_maps(keypoints_px: Tensor, labelled: Tensor, stride: int, size: tuple[int, int], sigma: float) -> tuple[Tensor, Tensor]:
    """Target beliefs (N, J, h, w), each summing to one, and which keypoints count (N, J): labelled and inside the grid."""
    cells = belief_maps.pixels_to_cells(keypoints_px, stride)  # (N, J, 2)
    limit = torch.tensor([size[1], size[0]], dtype=cells.dtype, device=cells.device) - 0.5
    counted = labelled & ((cells > -0.5) & (cells < limit)).all(-1)
    maps = belief_maps.encode(torch.where(counted[..., None], cells, 0.0), size, sigma)
    return maps / maps.sum((-1, -2), keepdim=True), counted


def belief_cross_entropy(log_belief: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Cross-entropy of belief maps, (N, J, h, w) each, averaged over the keypoints that count."""
    each = -(target * log_belief).sum((-1, -2))  # (N, J)
    return (each * counted).sum() / counted.sum().clamp_min(1)


def stage_losses(output: NetworkOutput, target: Tensor, counted: Tensor) -> Tensor:
    """(S, 2): for every stage the loss of its own maps b_t and of the fused maps f_t."""
    rows = []
    for stage in output.stages:
        own = belief_cross_entropy(stage.logits.flatten(2).log_softmax(-1).view_as(target), target, counted)
        if stage.projected is None:
            rows.append(torch.stack([own, own]))
        else:
            rows.append(torch.stack([own, belief_cross_entropy(stage.fused.clamp_min(1e-9).log(), target, counted)]))
    return torch.stack(rows)


def presence_loss(output: NetworkOutput, keypoints_px: Tensor, labelled: Tensor, nobody: Tensor, size_px: int) -> Tensor:
    """Binary cross-entropy of a keypoint being inside the crop.

    Labelled keypoints say where they are; an unlabelled one says nothing, except in pictures known to show nobody (`nobody`, (N,)).
    """
    inside = labelled & ((keypoints_px > -0.5) & (keypoints_px < size_px - 0.5)).all(-1)
    known = (labelled | nobody[:, None]).float()
    each = functional.binary_cross_entropy_with_logits(output.presence, inside.float(), reduction="none")
    return (each * known).sum() / known.sum().clamp_min(1)
