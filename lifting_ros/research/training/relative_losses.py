# SPDX-License-Identifier: Apache-2.0
"""The four terms of relative-depth supervision ("It's all Relative", BMVC 2018): each says a number
for every person of a batch.

Poses are (N, J, 3) in millimetres of their own, view frame: x right, y down, z away. In the paper
the ranking term divides a difference of depths by the mean of such differences over the batch, so
that a person's loss depends on who else is in it and is not defined where all depths are equal.
Here it is divided by the mean over the person's own pairs of joints, and a little of the person's
size (LEAST_DEPTH): one person's loss is one person's, whatever the unit of the pose. As in the
paper it stays as it is when a person is made flatter or deeper; with a fixed unit of depth
annotators who err flatten people.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_DEPTH = 0.001
"""What is added to the mean difference, over the size (root of the sum of squared limb lengths): a
200th of what it is of people. With a twentieth long trainings made everybody flat, which is what
the ranking asks of a network that is not sure of itself."""
MOST = 85.0
"""The ranking's largest exponent."""
TINY = 1e-8
LEAST_DISTANCE = 100.0
"""Millimetres before the camera at which the perspective ends."""


def distances(squares: Tensor) -> Tensor:
    """Roots with a gradient at zero."""
    return (squares + TINY).sqrt()


def limb_lengths(joints: Tensor, limbs: list[tuple[int, int]]) -> Tensor:
    """(N, L) of poses (N, J, 3)."""
    starts, ends = (list(side) for side in zip(*limbs))
    return distances((joints[:, ends] - joints[:, starts]).square().sum(-1))


def ranking(
    joints: Tensor, pairs: Tensor, label: Tensor, limbs: list[tuple[int, int]], slope: float = 2.5
) -> Tensor:
    """L_rel (N,), the mean over K comparisons: pairs (N, K, 2), label (N, K) 1 where the first is
    farther, -1 where the second is, else 0.

    log(1 + exp(-slope r d)) with d the difference of depths over the normaliser, d^2 where r is 0.
    The paper draws one of a picture's comparisons each time it is seen, in either order: the same
    on average, since exchanging both changes nothing.
    """
    depth = joints[..., 2].gather(1, pairs.flatten(1)).view(pairs.shape)  # N, K, 2
    apart = (depth[..., 0] - depth[..., 1]) / depth_unit(joints, limbs)[:, None]  # N, K
    ordered = torch.log1p(torch.exp((-slope * label * apart).clamp(max=MOST)))

    return torch.where(label == 0, apart.square(), ordered).mean(1)


def depth_unit(joints: Tensor, limbs: list[tuple[int, int]]) -> Tensor:
    """Mean difference in depth (N,) of all pairs of joints, and LEAST_DEPTH of the size."""
    count = joints.shape[1]
    depth = joints[..., 2]
    mean = (depth[:, :, None] - depth[:, None]).abs().sum((1, 2)) / (count * (count - 1))
    return mean + LEAST_DEPTH * limb_lengths(joints, limbs).square().sum(1).sqrt()


def reprojection(
    joints: Tensor, scale: Tensor, target_px: Tensor, focal_px: Tensor | None = None
) -> Tensor:
    """L_rep (N,): mean distance of the projected joints from target_px (N, J, 2), about the root,
    pixels.

    A scaled orthographic camera, s (x, y); with focal_px (N,) known a perspective one at the
    distance 1 / s, f (x, y) / (z + 1 / s).
    """
    if focal_px is None:
        seen = scale[:, None, None] * joints[..., :2]
    else:
        away = (joints[..., 2:] + 1.0 / scale[:, None, None]).clamp(min=LEAST_DISTANCE)
        seen = focal_px[:, None, None] * joints[..., :2] / away

    return distances((seen - target_px).square().sum(-1)).mean(1)


def root_offset(joints: Tensor, root: int) -> Tensor:
    """L_root (N,): how far from the origin the root is."""
    return distances(joints[:, root].square().sum(-1))


def skeleton(joints: Tensor, ratios: Tensor, limbs: list[tuple[int, int]], unit: int) -> Tensor:
    """L_skel (N,): mean difference of the limbs' lengths over that of limb `unit`, the right shin,
    from ratios (L,) or (N, L)."""
    lengths = limb_lengths(joints, limbs)
    return distances((lengths / lengths[:, unit : unit + 1] - ratios).square()).mean(1)
