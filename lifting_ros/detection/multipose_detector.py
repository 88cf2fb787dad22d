# SPDX-License-Identifier: Apache-2.0
"""The person detector that ships: MoveNet MultiPose on the whole image, its aspect kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from lifting_ros.detection.centre_detector import CentreDetector, CentreMaps
from lifting_ros.detection.detector import DetectorConfig
from lifting_ros.detection.multipose import MultiPose
from lifting_ros.device import has_fast_bf16, lay_out_channels_last
from lifting_ros.io.checkpoint import (
    CheckpointError,
    half_precision,
    load_tensors,
    reason,
    save_tensors,
)

NETWORK = "movenet-multipose"
"""Name of the network in the header of its weights file."""


class Detector(CentreDetector):
    """Finds persons in images, with torch.

    The network is moved to the device and to the precision that the device is fast at.
    """

    def __init__(
        self, network: nn.Module, config: DetectorConfig, device: torch.device | str = "cpu"
    ):
        """network: as MultiPose, from an image (1, 3, H, W) in [0, 1] RGB to PersonMaps."""
        super().__init__(config)
        self.device = torch.device(device)
        self.dtype = torch.bfloat16 if has_fast_bf16(self.device) else torch.float32
        self.network = network.eval().to(device=self.device, dtype=self.dtype)
        lay_out_channels_last(self.network)

    def maps_of(self, image: np.ndarray) -> CentreMaps:
        """See `CentreDetector`."""
        planes = torch.from_numpy(image).permute(2, 0, 1)[None]  # (1, 3, h, w)
        values = planes.to(self.device, self.dtype).div_(255)
        values = values.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            maps = self.network(values)

        return CentreMaps(*(one[0].float().cpu().numpy() for one in maps))


def save_detector(path: str | Path, network: MultiPose, card: dict) -> None:
    """Write detector weights as fp16 with a short card (origin, licence)."""
    header = {
        "detector": {"network": NETWORK},
        "card": card,
    }
    save_tensors(path, half_precision(network.state_dict()), header)


def load_detector(
    path: str | Path, config: DetectorConfig, device: torch.device | str = "cpu"
) -> Detector:
    """Read detector weights; errors as `load_multipose`."""
    return Detector(load_multipose(path), config, device)


def load_multipose(path: str | Path) -> MultiPose:
    """The network of detector weights, in float32 and evaluation mode; CheckpointError where the
    file is missing, corrupt or of another network."""
    tensors, header = load_tensors(path)
    try:
        name = header["detector"]["network"]
        if name != NETWORK:
            raise ValueError(f"expected {NETWORK}, got {name!r}")

        network = MultiPose()
        network.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: holds no person detector ({reason(error)})") from None

    return network.float().eval()
