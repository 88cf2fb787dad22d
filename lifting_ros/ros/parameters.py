# SPDX-License-Identifier: Apache-2.0
"""Every parameter of the node `lifting`. `python -m lifting_ros.ros.parameters` prints
config/lifting.yaml; with --table, for the docs."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace

import numpy as np

from lifting_ros.config import ConfigError
from lifting_ros.estimator import UP, EstimatorConfig
from lifting_ros.ros.camera_names import check_cameras
from lifting_ros.ros.debug_maps import DebugConfig
from lifting_ros.ros.declaration import to_table, to_yaml
from lifting_ros.ros.markers import MarkerConfig
from lifting_ros.tracking.tracking import TrackerConfig

_HEAD = """SPDX-License-Identifier: Apache-2.0
Every parameter of the node `lifting`, with its default: copy it, keep the lines that change.
  ros2 launch lifting_ros lifting.launch.py params_file:=FILE
  ros2 run lifting_ros lifting_node --ros-args --params-file FILE
A star: may change while the node runs; the others take effect when it is configured.
Made by: python -m lifting_ros.ros.parameters"""


@dataclass(frozen=True)
class QosConfig:
    """Quality of service of the subscriptions; `qos_overrides./TOPIC.subscription.*` sets that of
    one topic."""

    reliability: str = field(
        default="best_available",
        metadata={
            "description": (
                "best_available matches the publishers; best_effort is compatible with every "
                "publisher"
            ),
            "choices": ("best_available", "best_effort", "reliable"),
        },
    )
    depth: int = field(
        default=1, metadata={"description": "images that the middleware keeps", "range": (1, 1000)}
    )


@dataclass(frozen=True)
class DepthConfig:
    """A depth image beside the colour image, aligned with it."""

    enabled: bool = field(
        default=False,
        metadata={
            "description": (
                "subscribe to `depth` (32FC1 in m or 16UC1 in mm, aligned with the image)"
            )
        },
    )
    tolerance_s: float = field(
        default=0.02,
        metadata={
            "description": "largest difference of its stamp from the image's",
            "unit": "s",
            "range": (0.0, 1.0),
        },
    )


@dataclass(frozen=True)
class TfConfig:
    """What is taken from TF, and what is given to it."""

    target_frame: str = field(
        default="",
        metadata={"description": "frame that the 3D outputs are given in; empty: the image's own"},
    )
    gravity_frame: str = field(
        default="",
        metadata={
            "description": (
                "frame whose z axis points up, looked up at the image's stamp; empty: the "
                "parameter `up`"
            )
        },
    )
    timeout_s: float = field(
        default=0.1,
        metadata={
            "description": "how long to wait for a transform",
            "unit": "s",
            "range": (0.0, 10.0),
            "live": True,
        },
    )
    publish: bool = field(
        default=False, metadata={"description": "frames of bodies and joints on /tf", "live": True}
    )
    prefix: str = field(
        default="", metadata={"description": "prefix of the names of those frames", "live": True}
    )
    bodies: int = field(
        default=8,
        metadata={
            "description": (
                "largest number of bodies on /tf; frames never vanish from TF, so names are reused"
            ),
            "fixed": True,
            "range": (1, 1000),
        },
    )


@dataclass(frozen=True)
class NodeConfig:
    """The node's own parameters, and the estimator's beside them."""

    autostart: bool = field(
        default=True,
        metadata={
            "description": (
                "configure and activate at the start; false: wait for lifecycle transitions "
                "(ros2 lifecycle)"
            )
        },
    )
    input: str = field(
        default="image",
        metadata={
            "description": (
                "image; or keypoints: those on `keypoints` (Skeleton2DArray) and "
                "`foreign_keypoints` are lifted"
            ),
            "choices": ("image", "keypoints"),
        },
    )
    cameras: tuple[str, ...] = field(
        default=("",),
        metadata={
            "description": (
                "names of several cameras, such as [front, rear]; the names of their topics and "
                "frames begin with them; ['']: one camera without a name; read at the start only"
            ),
            "fixed": True,
        },
    )
    lazy: bool = field(
        default=True,
        metadata={
            "description": "take images only while an output has subscribers",
            "live": True,
        },
    )
    image_transport: str = field(
        default="raw",
        metadata={
            "description": (
                "raw: Image messages on `image`; compressed: CompressedImage messages on "
                "`image/compressed`"
            ),
            "choices": ("raw", "compressed"),
        },
    )
    rectified: bool = field(
        default=False,
        metadata={
            "description": "the images are rectified: P of camera_info applies instead of K and D",
            "live": True,
        },
    )
    up: tuple[float, ...] = field(
        default=UP,
        metadata={
            "description": "up in the camera's optical frame (x right, y down, z forward)",
            "live": True,
        },
    )
    queue: int = field(
        default=1,
        metadata={
            "description": "images that wait while one is processed; 1: only the newest",
            "range": (1, 10000),
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
    early_2d: bool = field(
        default=True,
        metadata={
            "description": (
                "at a first start, be active and publish the 2D outputs while the loops of 3D are "
                "still being compiled; false: be active once everything is ready"
            ),
        },
    )
    silence_s: float = field(
        default=1.0,
        metadata={
            "description": (
                "markers and /humans are cleared after this time without an image; 0: they stay"
            ),
            "unit": "s",
            "range": (0.0, 3600.0),
            "live": True,
        },
    )
    hri: bool = field(
        default=False,
        metadata={
            "description": (
                "also publish people as in REP 155, on /humans/bodies; needs hri_msgs installed"
            )
        },
    )
    depth: DepthConfig = field(default=DepthConfig(), metadata={"description": "depth image"})
    tf: TfConfig = field(default=TfConfig(), metadata={"description": "TF"})
    qos: QosConfig = field(default=QosConfig(), metadata={"description": "subscriptions"})
    tracking: TrackerConfig = field(default=TrackerConfig(), metadata={"description": "tracking"})
    markers: MarkerConfig = field(
        default=MarkerConfig(), metadata={"description": "markers for RViz"}
    )
    debug: DebugConfig = field(default=DebugConfig(), metadata={"description": "~/debug_maps"})
    estimator: EstimatorConfig = field(
        default=EstimatorConfig(), metadata={"description": "estimation", "inline": True}
    )

    def __post_init__(self):
        check_cameras(self.cameras)
        known = np.isfinite(self.up).all() and np.any(self.up)
        if len(self.up) != 3 or not (known or np.isnan(self.up).all()):
            raise ConfigError(
                "up: expected three numbers that are not all zero, or three NaN where it is not "
                f"known, got {list(self.up)}"
            )


def of_camera(config: NodeConfig, camera: str) -> NodeConfig:
    """The parameters of one camera: the names of its frames on /tf begin with its own."""
    if not camera:
        return config

    return replace(config, tf=replace(config.tf, prefix=f"{config.tf.prefix}{camera}_"))


def default_yaml() -> str:
    """The text of config/lifting.yaml."""
    return to_yaml(NodeConfig, _HEAD)


if __name__ == "__main__":
    print(to_table(NodeConfig) if sys.argv[1:] == ["--table"] else default_yaml(), end="")
