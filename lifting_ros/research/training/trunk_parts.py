# SPDX-License-Identifier: Apache-2.0
"""Which part of a pretrained trunk is trained, and at which share of the rate."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from lifting_ros.keypoints.network_trunk import Features
from lifting_ros.keypoints.trunk import Trunk

TRAINED = ("frozen", "pyramid", "deep", "all")
"""Parts that can be trained, see `freeze`."""

_DEEP_FROM = 10
"""First block of the trunk that "deep" trains: the coarse half of the backbone, after the last
output that the pyramid reads."""


def freeze(trunk: Trunk, trained: str) -> None:
    """Keep gradients only for the part of the trunk that is `trained`: none of it ("frozen"), the
    pyramid and the head of its maps ("pyramid"), its last blocks too ("deep"), or the whole
    backbone ("all").

    The heads that tell where the person's keypoints are expected stay, and no gradient passes them:
    the centre is a maximum, and the distance from an expected keypoint has no derivative at zero,
    which coarsely rounded offsets do meet.
    """
    trunk.requires_grad_(False)
    trunk.regression.register_forward_hook(_detached)
    parts: list[nn.Module] = []
    if trained != "frozen":
        parts += [trunk.pyramid, trunk.heat]
    if trained == "deep":
        parts += [*trunk.backbone.blocks[_DEEP_FROM:], trunk.backbone.last]
    if trained == "all":
        parts.append(trunk.backbone)

    for part in parts:
        part.requires_grad_(True)


def _detached(head: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Forward hook: the output without its gradient."""
    return output.detach()


def freeze_features(features: Features, trained: str) -> None:
    """The same for a trunk and the layer that mixes its maps, which is trained with any of them."""
    freeze(features.trunk, trained)
    features.mix.requires_grad_(trained != "frozen")


def rate_groups(network: nn.Module, trunk: str, trunk_rate: float) -> list[dict[str, Any]]:
    """Groups of the parameters that have gradients, each with the `scale` of its rate.

    trunk: prefix of the names in the trunk; trunk_rate: their scale.
    """
    of_trunk = []
    others = []
    for name, value in network.named_parameters():
        if value.requires_grad:
            own = of_trunk if name.startswith(trunk) else others
            own.append(value)

    groups = []
    for values, scale in ((others, 1.0), (of_trunk, trunk_rate)):
        if values:
            groups.append({"params": values, "scale": scale})
    return groups
