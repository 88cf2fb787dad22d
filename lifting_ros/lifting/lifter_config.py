# SPDX-License-Identifier: Apache-2.0
"""Parameters of the lifter."""

from __future__ import annotations

from dataclasses import dataclass, field

HEIGHT_OVER_SIZE = 1.55
"""Standing body height divided by the person's size (root of the sum of squared limb lengths)."""


@dataclass(frozen=True)
class LifterConfig:
    """Parameters of the lifting."""

    rotations: int = field(
        default=24,
        metadata={
            "description": "sampled rotations about the vertical",
            "range": (8, 96),
        },
    )
    modes: int = field(
        default=3,
        metadata={
            "description": "modes kept as hypotheses",
            "range": (1, 16),
        },
    )
    iterations: int = field(
        default=2,
        metadata={
            "description": "refinement passes under true perspective",
            "range": (1, 20),
        },
    )
    keypoint_noise: float = field(
        default=0.015,
        metadata={
            "description": "std of a keypoint without a covariance, divided by the person's extent",
            "range": (1e-4, 0.5),
        },
    )
    noise_floor_px: float = field(
        default=0.5,
        metadata={
            "description": "standard deviation added to that of every keypoint",
            "unit": "px",
            "range": (0.01, 100.0),
        },
    )
    tilt_std_deg: float = field(
        default=3.0,
        metadata={
            "description": "standard deviation of the vertical",
            "unit": "deg",
            "range": (0.0, 45.0),
        },
    )
    prior_scale: float = field(
        default=1.0,
        metadata={
            "description": "factor on the prior's standard deviations",
            "range": (0.1, 10.0),
        },
    )
    limb_scale: float = field(
        default=4.0,
        metadata={
            "description": "factor on the standard deviations of limb lengths",
            "range": (0.1, 100.0),
        },
    )
    pose_correction: bool = field(
        default=True,
        metadata={
            "description": (
                "let a small network that has learnt the errors of the lifter ppca correct its "
                "answers; used with the prior for which it was learnt, such as the one that ships"
            ),
        },
    )
    joint_inflation: float = field(
        default=1.75,
        metadata={
            "description": (
                "factor on the covariances of joints about the root, for keypoints found in "
                "images; fitted on rendered people"
            ),
            "range": (0.1, 100.0),
        },
    )
    root_inflation: float = field(
        default=1.9,
        metadata={
            "description": (
                "factor on the covariance of the root, for keypoints found in images; fitted on "
                "rendered people"
            ),
            "range": (0.1, 100.0),
        },
    )
    stature_m: float = field(
        default=0.0,
        metadata={
            "description": "known body height of the person; 0: the prior's",
            "unit": "m",
            "range": (0.0, 2.6),
        },
    )
    stature_std_m: float = field(
        default=0.0,
        metadata={
            "description": "standard deviation of the body height; 0: the prior's",
            "unit": "m",
            "range": (0.0, 1.0),
        },
    )

    def size_m(
        self,
        mean: float,
        std: float,
    ) -> tuple[float, float]:
        """Mean and standard deviation (std) of the person's size, metres.

        Taken from the configured stature. Without one, `mean` (and `std`, in proportion) is used.
        """
        size = self.stature_m / HEIGHT_OVER_SIZE or mean
        size_std = self.stature_std_m / HEIGHT_OVER_SIZE or std * size / mean

        return size, size_std
