# SPDX-License-Identifier: Apache-2.0
"""Every parameter of the node `lifting_fusion`. `python -m lifting_ros.ros.fusion_parameters`
prints them as a table."""

from __future__ import annotations

from dataclasses import dataclass, field

from lifting_ros.config import ConfigError
from lifting_ros.multiview.fusion_config import FusionConfig
from lifting_ros.ros.camera_names import check_cameras
from lifting_ros.ros.declaration import to_table
from lifting_ros.ros.markers import MarkerConfig
from lifting_ros.ros.parameters import QosConfig


@dataclass(frozen=True)
class FusionNodeConfig:
    """Every parameter of the node `lifting_fusion`."""

    autostart: bool = field(
        default=True,
        metadata={
            "description": (
                "configure and activate at the start; false: wait for lifecycle transitions "
                "(ros2 lifecycle)"
            )
        },
    )
    cameras: tuple[str, ...] = field(
        default=("",),
        metadata={
            "description": (
                "names of the cameras, two or more, such as [front, rear]; the names of their "
                "topics begin with them"
            ),
            "fixed": True,
        },
    )
    skeletons: str = field(
        default="lifting",
        metadata={
            "description": (
                "name of the node whose skeletons_2d and skeletons_3d are in each camera's "
                "namespace"
            ),
            "fixed": True,
        },
    )
    frame: str = field(
        default="",
        metadata={
            "description": "common frame, which TF connects with the frames of all cameras",
            "fixed": True,
        },
    )
    rectified: bool = field(
        default=False,
        metadata={
            "description": "the images are rectified: P of camera_info applies instead of K and D",
            "live": True,
        },
    )
    rate_hz: float = field(
        default=30.0,
        metadata={
            "description": "largest rate of the output",
            "unit": "Hz",
            "range": (0.1, 1000.0),
        },
    )
    delay_s: float = field(
        default=0.05,
        metadata={
            "description": (
                "age of the output behind the newest frame; cameras that are newer are "
                "interpolated, older ones moved with the velocities"
            ),
            "unit": "s",
            "range": (0.0, 0.5),
        },
    )
    smooth: bool = field(
        default=True,
        metadata={
            "description": (
                "smooth people whom several cameras see over time; false: as fused from each time "
                "alone"
            )
        },
    )
    warn_period_s: float = field(
        default=5.0,
        metadata={
            "description": "shortest time before a warning is repeated",
            "unit": "s",
            "range": (0.0, 3600.0),
            "live": True,
        },
    )
    qos: QosConfig = field(default=QosConfig(depth=10), metadata={"description": "subscriptions"})
    fusion: FusionConfig = field(default=FusionConfig(), metadata={"description": "fusion"})
    markers: MarkerConfig = field(
        default=MarkerConfig(), metadata={"description": "markers for RViz"}
    )


def check_fusion(config: FusionNodeConfig) -> None:
    """Raise ConfigError where there is nothing to fuse, or no frame for it."""
    check_cameras(config.cameras)
    if len(config.cameras) < 2:
        raise ConfigError(
            f"cameras: expected the names of two cameras or more, got {list(config.cameras)}"
        )
    if not config.frame:
        raise ConfigError("frame: expected the name of the common frame, got ''")


if __name__ == "__main__":
    print(to_table(FusionNodeConfig), end="")
