# SPDX-License-Identifier: Apache-2.0
"""The multistage network, built from its configuration and from weights files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lifting_ros.config import from_mapping
from lifting_ros.device import lay_out_channels_last
from lifting_ros.io.checkpoint import (
    CheckpointError,
    half_precision,
    load_tensors,
    reason,
    save_tensors,
)
from lifting_ros.keypoints.fusion_candidates import FUSION_SIGMA
from lifting_ros.keypoints.network import Fusion, MultistageNetwork, NetworkConfig, NoFusion
from lifting_ros.keypoints.person_score import PROBE
from lifting_ros.lifting import depth_cue, joint_offsets, pose_correction

_OTHERS = (PROBE, depth_cue.PREFIX, joint_offsets.PREFIX, pose_correction.PREFIX)
"""Beginnings of the names of tensors that belong to no network."""

if TYPE_CHECKING:
    from lifting_ros.prior.ppca import MixturePPCA


def save_network(
    path: str | Path, state: dict[str, Tensor], config: NetworkConfig, card: dict
) -> None:
    """Write network weights as fp16, with their configuration and a short card (recipe, seed,
    revision)."""
    header = {
        "network": dataclasses.asdict(config),
        "card": card,
    }
    save_tensors(path, half_precision(state), header)


def load_network(
    path: str | Path, prior: MixturePPCA | None = None, device: str | torch.device = "cpu"
) -> MultistageNetwork:
    """The network that a weights file describes, in float32 and evaluation mode.

    prior: gives the network its fusion layers; None: no fusion. CheckpointError where the file
    cannot be read or holds another network.
    """
    tensors, header = load_tensors(path)
    network = _restored(path, tensors, header, prior)
    return lay_out_channels_last(network.to(device=device)).float().eval()


def load_without_fusion(path: str | Path) -> MultistageNetwork:
    """The same network without its fusion layers, for those who fuse elsewhere."""
    tensors, header = load_tensors(path)
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("fusion.")}
    return _restored(path, kept, header, None).float().eval()


def _restored(
    path: str | Path, tensors: dict[str, Tensor], header: dict, prior: MixturePPCA | None
) -> MultistageNetwork:
    """A network with these tensors, but for the probe of the person score and the small networks
    beside it, which are not parts of it; errors as `load_network`."""
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith(_OTHERS)}
    try:
        config = from_mapping(NetworkConfig, header["network"])
        network = build_network(config, prior)
        network.load_state_dict(own)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: holds no network that this version knows ({reason(error)})"
        ) from None

    return network


def build_network(config: NetworkConfig, prior: MixturePPCA | None = None) -> MultistageNetwork:
    """A network of random weights, fused with `prior` if there is one."""
    fusion: Fusion | None = None
    if prior is not None:
        fusion = fusion_of(config, prior)
    return MultistageNetwork(config, fusion)


def fusion_of(config: NetworkConfig, prior: MixturePPCA) -> Fusion:
    """The fusion layers of such a network: a PriorFusion, or NoFusion where the configuration asks
    for none.

    A projected belief has the same width on the person for every grid.
    """
    if not config.fusion:
        return NoFusion()

    # A network without fusion does not need it.
    from lifting_ros.keypoints.fusion import PriorFusion

    sigma = FUSION_SIGMA * config.input_px / config.stride
    return PriorFusion(prior, config.stages, config.fusion_noise, sigma)
