# SPDX-License-Identifier: Apache-2.0
"""Parameters of the fusion of several cameras."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class FusionConfig:
    """Parameters of the fusion of several cameras."""

    calibration_noise_px: float = field(
        default=2.0,
        metadata={
            "description": (
                "standard deviation by which a camera's calibration shifts all keypoints of a "
                "person"
            ),
            "unit": "px",
            "range": (0.01, 100.0),
        },
    )
    inflation: float = field(
        default=0.95,
        metadata={
            "description": (
                "factor on the covariances of fused joints; fitted on the errors of keypoints on "
                "rendered people, 1 for Gaussian errors"
            ),
            "range": (0.1, 100.0),
        },
    )
    min_keypoint_confidence: float = field(
        default=0.15,
        metadata={
            "description": "keypoints below this confidence are not used",
            "range": (0.0, 1.0),
        },
    )
    gate: float = field(
        default=4.0,
        metadata={
            "description": (
                "distance, in standard deviations, beyond which the persons of two cameras are "
                "not the same"
            ),
            "range": (1.0, 100.0),
        },
    )
    limb_scale_std: float = field(
        default=0.05,
        metadata={
            "description": "relative standard deviation that the limb lengths of a person share",
            "range": (0.001, 1.0),
        },
    )
    max_extrapolation_s: float = field(
        default=0.1,
        metadata={
            "description": (
                "longest time over which a camera's last frame is moved with the velocities; an "
                "older one is not used"
            ),
            "unit": "s",
            "range": (0.0, 1.0),
        },
    )
    retention_s: float = field(
        default=2.0,
        metadata={
            "description": "longest time for which a person whom no camera sees keeps its id",
            "unit": "s",
            "range": (0.0, 60.0),
        },
    )
