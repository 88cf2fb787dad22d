# SPDX-License-Identifier: Apache-2.0
"""The image ~/debug_maps: belief maps of one stage, before and after fusion, over the crop of the
person with the highest score.

The network that shows them runs in torch, beside the one that the estimator runs. It exists only
while somebody looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from lifting_ros.estimator import EstimatorConfig, load_stage_inspector
from lifting_ros.ros.conversions import array_to_image
from lifting_ros.skeleton import KEYPOINT_NAMES
from lifting_ros.types import Person
from lifting_ros.viz.belief_pictures import draw_stage

if TYPE_CHECKING:
    from lifting_ros.keypoints.stage_maps import StageInspector


@dataclass(frozen=True)
class DebugConfig:
    """What ~/debug_maps shows."""

    stage: int = field(
        default=0,
        metadata={
            "description": "stage of the network that ~/debug_maps shows; 0: the last one",
            "range": (0, 6),
            "live": True,
        },
    )
    keypoint: str = field(
        default="all",
        metadata={
            "description": "keypoint that it shows; all: a montage of all 14",
            "choices": ("all", *KEYPOINT_NAMES),
            "live": True,
        },
    )


class DebugMaps:
    """Makes the images, and loads what that needs with the first one."""

    def __init__(self):
        self._inspector: StageInspector | None = None

    def release(self) -> None:
        """Let go of the network."""
        self._inspector = None

    def build(
        self,
        image: np.ndarray,
        persons: Sequence[Person],
        header: Header,
        config: DebugConfig,
        estimator: EstimatorConfig,
    ) -> Image | None:
        """rgb8 message of the maps over `image` (H, W, 3) RGB; None where nobody is in view."""
        seen = [person.skeleton_2d for person in persons if not person.coasting]
        if not seen:
            return None

        if self._inspector is None:
            self._inspector = load_stage_inspector(estimator)

        best = max(seen, key=lambda skeleton: skeleton.score)
        maps = self._inspector.look(image, best.box_px)
        keypoint = "" if config.keypoint == "all" else config.keypoint
        return array_to_image(draw_stage(maps, config.stage, keypoint), "rgb8", header)
