# SPDX-License-Identifier: Apache-2.0
"""The four terms of relative-depth supervision ("It's all Relative", BMVC 2018), one value per
person of a batch.

Poses are (N, J, 3) in the network's own millimetres, view frame: x right, y down, z away.

In the paper the ranking term divides a difference in depth by the mean difference of the batch. A
person's loss then depends on the rest of the batch, and it is undefined where all depths are equal.
Here it is divided by the mean over the person's own pairs of joints, plus a small share of the
person's size (LEAST_DEPTH), so that it depends on this person alone and on no unit. As in the
paper, scaling a person's depth does not change the term. With a fixed unit of depth, wrong answers
of annotators flatten the poses.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_DEPTH = 0.001
"""Added to the mean difference in depth, as a share of the size (root of the sum of squared limb
lengths): about 1/200 of the mean difference of real people. With 1/20, long trainings made every
pose flat: the ranking term rewards small depths where the network is unsure."""

MOST = 85.0
"""Largest exponent of the ranking term."""

TINY = 1e-8
"""Added under square roots, so that their gradient at zero is finite."""

LEAST_DISTANCE = 100.0
"""Smallest distance from the camera in the perspective projection, mm."""


def distances(squares: Tensor) -> Tensor:
    """Roots with a gradient at zero."""
    return (squares + TINY).sqrt()


def limb_lengths(joints: Tensor, limbs: list[tuple[int, int]]) -> Tensor:
    """(N, L) of poses (N, J, 3)."""
    starts, ends = (list(numbers) for numbers in zip(*limbs))
    along = joints[:, ends] - joints[:, starts]
    return distances(along.square().sum(-1))


def ranking(
    joints: Tensor,
    pairs: Tensor,
    label: Tensor,
    limbs: list[tuple[int, int]],
    slope: float = 2.5,
) -> Tensor:
    """L_rel (N,), the mean over K comparisons: pairs (N, K, 2), label (N, K) 1 where the first is
    farther, -1 where the second is, else 0.

    log(1 + exp(-slope r d)) with d the difference of depths over the normaliser, d^2 where r is 0.
    The paper draws one of a picture's comparisons each time it is seen, in either order: the same
    on average, since exchanging both changes nothing.
    """
    depth = joints[..., 2].gather(1, pairs.flatten(1)).view(pairs.shape)  # (N, K, 2)
    unit = depth_unit(joints, limbs)
    apart = (depth[..., 0] - depth[..., 1]) / unit[:, None]  # (N, K)

    exponent = -slope * label * apart
    ordered = torch.log1p(torch.exp(exponent.clamp(max=MOST)))
    equal = apart.square()
    return torch.where(label == 0, equal, ordered).mean(1)


def depth_unit(joints: Tensor, limbs: list[tuple[int, int]]) -> Tensor:
    """Mean difference in depth (N,) of all pairs of joints, and LEAST_DEPTH of the size."""
    count = joints.shape[1]
    depth = joints[..., 2]
    apart = depth[:, :, None] - depth[:, None]  # N, J, J
    mean = apart.abs().sum((1, 2)) / (count * (count - 1))

    lengths = limb_lengths(joints, limbs)
    size = lengths.square().sum(1).sqrt()
    return mean + LEAST_DEPTH * size


def reprojection(
    joints: Tensor,
    scale: Tensor,
    target_px: Tensor,
    focal_px: Tensor | None = None,
) -> Tensor:
    """L_rep (N,): mean distance of the projected joints from target_px (N, J, 2), about the root,
    pixels.

    With focal_px (N,) the camera is a perspective one at the distance 1 / s, f (x, y) / (z + 1 /
    s); without, a scaled orthographic one, s (x, y).
    """
    size = scale[:, None, None]
    flat = joints[..., :2]
    if focal_px is None:
        seen = size * flat
    else:
        away = (joints[..., 2:] + 1.0 / size).clamp(min=LEAST_DISTANCE)
        seen = focal_px[:, None, None] * flat / away

    missed = seen - target_px
    return distances(missed.square().sum(-1)).mean(1)


def root_offset(joints: Tensor, root: int) -> Tensor:
    """L_root (N,): how far from the origin the root is."""
    offset = joints[:, root]
    return distances(offset.square().sum(-1))


def skeleton(
    joints: Tensor,
    ratios: Tensor,
    limbs: list[tuple[int, int]],
    unit: int,
) -> Tensor:
    """L_skel (N,): mean difference between the limb lengths, divided by that of limb `unit` (the
    right shin), and ratios (L,) or (N, L)."""
    lengths = limb_lengths(joints, limbs)
    relative = lengths / lengths[:, unit : unit + 1]
    missed = relative - ratios
    return distances(missed.square()).mean(1)
