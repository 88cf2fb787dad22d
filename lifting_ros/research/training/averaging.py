# SPDX-License-Identifier: Apache-2.0
"""Averaged weights (EMA): what every training validates and keeps."""

from __future__ import annotations

from torch import Tensor, nn


def start_average(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the network's state, by name."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def update_average(average: dict[str, Tensor], network: nn.Module, decay: float, step: int) -> None:
    """Move the average towards the network's weights, in place.

    decay: share of the average that is kept; less in the first steps, when the average still holds
    the weights of the start. step: steps taken, counted from 1. Integers, such as the counters of
    batch norms, are copied.
    """
    kept = min(decay, (1 + step) / (10 + step))
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - kept)
        else:
            average[name].copy_(value)
