# SPDX-License-Identifier: Apache-2.0
"""The shape of a multistage network, as weights files state it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class NetworkConfig:
    """Shape of the network; stored in the weights file, so that a file says what it holds."""

    variant: str = field(
        default="full",
        metadata={
            "description": "full or lite, on a pretrained trunk, or the paper's own",
            "choices": ("full", "lite", "paper"),
        },
    )
    input_px: int = field(
        default=256, metadata={"description": "side of the square crop", "unit": "px"}
    )
    stages: int = field(default=3, metadata={"description": "number of stages"})
    widths: tuple[int, ...] = field(
        default=(24, 48),
        metadata={
            "description": (
                "channels of a stage at stride 4 and 8, or of the paper's layers at stride 1, 2, "
                "4, 8"
            )
        },
    )
    features: int = field(default=24, metadata={"description": "channels of the features F"})
    stride: int = field(
        default=4, metadata={"description": "input pixels per belief-map cell", "unit": "px"}
    )
    fusion: bool = field(
        default=True,
        metadata={
            "description": "whether the stages are fused with the prior; without, every w is 1"
        },
    )
    fusion_noise: float = field(
        default=0.02,
        metadata={
            "description": (
                "standard deviation of a certain keypoint in the fusion, in units of the person's "
                "size"
            )
        },
    )
    noise_scale: float = field(
        default=0.79,
        metadata={
            "description": "covariance of a keypoint divided by its belief's, without the blur",
            "range": (0.0, 100.0),
        },
    )
    noise_blur: float = field(
        default=1.07,
        metadata={
            "description": "standard deviation of the Gaussians that labels are encoded as",
            "unit": "cells",
            "range": (0.0, 9.0),
        },
    )
    noise_floor: float = field(
        default=0.25,
        metadata={
            "description": "standard deviation of the most certain keypoints",
            "unit": "cells",
            "range": (0.01, 10.0),
        },
    )


LITE = NetworkConfig(variant="lite", input_px=192)
"""The shape for small CPUs."""

PAPER = NetworkConfig(
    variant="paper", input_px=368, stages=6, widths=(64, 128, 256, 512), features=128, stride=8
)
"""The paper's own shape: 29.85 M parameters, 88.4 GMAC per crop."""
