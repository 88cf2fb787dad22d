# SPDX-License-Identifier: Apache-2.0
"""Every parameter of the node `lifting`. `python -m lifting_ros.ros.parameters` prints config/lifting.yaml."""
from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lifting_ros.core.config import ConfigError
from lifting_ros.core.pipeline import UP, EstimatorConfig
from lifting_ros.ros.declare import to_yaml
from lifting_ros.ros.markers import MarkerConfig

_HEAD = """SPDX-License-Identifier: Apache-2.0
Every parameter of the node `lifting`, with its default: copy it, keep the lines that change.
  ros2 launch lifting_ros lifting.launch.py params_file:=FILE
  ros2 run lifting_ros lifting_node --ros-args --params-file FILE
Made by: python -m lifting_ros.ros.parameters"""


@dataclass(frozen=True)
class QosConfig:
    """Quality of service of the subscriptions to images and camera_info."""

    reliability: str = field(
        default="best_effort",
        metadata={"description": "best_effort reaches every publisher", "choices": ("best_effort", "reliable")},
    )
    depth: int = field(default=1, metadata={"description": "images that the middleware keeps", "range": (1, 1000)})


@dataclass(frozen=True)
class NodeConfig:
    """The node's own parameters, and the estimator's beside them."""

    image_transport: str = field(
        default="raw",
        metadata={
            "description": "raw: Image messages on `image`; compressed: CompressedImage messages on `image/compressed`",
            "choices": ("raw", "compressed"),
        },
    )
    rectified: bool = field(
        default=False,
        metadata={"description": "the images are rectified: P of camera_info holds instead of K and D"},
    )
    up: tuple[float, ...] = field(
        default=UP, metadata={"description": "up in the camera's optical frame (x right, y down, z forward)"}
    )
    queue: int = field(
        default=1,
        metadata={"description": "images that wait while one is worked on; 1: always the newest", "range": (1, 10000)},
    )
    warn_period_s: float = field(
        default=5.0,
        metadata={"description": "a warning is repeated no more often than this", "unit": "s", "range": (0.0, 3600.0)},
    )
    qos: QosConfig = field(default=QosConfig(), metadata={"description": "subscriptions"})
    markers: MarkerConfig = field(default=MarkerConfig(), metadata={"description": "markers for RViz"})
    estimator: EstimatorConfig = field(
        default=EstimatorConfig(), metadata={"description": "estimation", "inline": True}
    )

    def __post_init__(self):
        if len(self.up) != 3 or not np.isfinite(self.up).all() or not np.any(self.up):
            raise ConfigError(f"up: expected three numbers that are not all zero, got {list(self.up)}")


def default_yaml() -> str:
    """The text of config/lifting.yaml."""
    return to_yaml(NodeConfig, _HEAD)


if __name__ == "__main__":
    print(default_yaml(), end="")
