# SPDX-License-Identifier: Apache-2.0
"""The node `lifting`: converts in, estimates, converts out, publishes, all under the image's stamp and frame."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Thread

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from lifting_ros.core.camera import Camera
from lifting_ros.core.pipeline import EstimatorConfig, PoseEstimator
from lifting_ros.core.poses import Person
from lifting_ros.msg import Skeleton2DArray, Skeleton3DArray, SkeletonInfo
from lifting_ros.ros.calibration import camera_info_to_camera
from lifting_ros.ros.conversions import (
    ConversionError,
    compressed_to_rgb,
    image_to_rgb,
    persons_to_arrays,
    skeleton_info,
)
from lifting_ros.ros.debug_image import debug_image
from lifting_ros.ros.declare import declare
from lifting_ros.ros.markers import MarkerBuilder
from lifting_ros.ros.parameters import NodeConfig
from lifting_ros.ros.runtime import NewestQueue, Throttle

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class LiftingNode(Node):
    """Images in, skeletons out. The executor only fills the queue; one worker does the rest.

    The constructor loads the weights: ValueError in one line where a parameter or a file cannot be used.
    """

    def __init__(self, make_estimator: Callable[[EstimatorConfig], PoseEstimator] = PoseEstimator, **node_options):
        super().__init__("lifting", automatically_declare_parameters_from_overrides=True, **node_options)
        self.config = declare(self, NodeConfig)
        self._estimator = make_estimator(self.config.estimator)
        self._up = np.array(self.config.up)
        self._warn = Throttle(self.get_logger().warning, self.config.warn_period_s)
        self._camera_info: CameraInfo | None = None
        self._outputs = Outputs(self, self.config, self._estimator)
        self._queue = NewestQueue(self.config.queue)
        self._worker = Thread(target=self._work, name="worker", daemon=True)
        self._worker.start()
        self._subscribe()

    def _subscribe(self) -> None:
        qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=self.config.qos.depth,
            reliability=ReliabilityPolicy[self.config.qos.reliability.upper()],
        )
        # The transport's suffix belongs behind the remapped name, as image_transport has it.
        kind, suffix = (CompressedImage, "/compressed") if self.config.image_transport == "compressed" else (Image, "")
        topic = self.resolve_topic_name("image") + suffix
        self._image_subscription = self.create_subscription(kind, topic, self._queue.put, qos)
        self._info_subscription = self.create_subscription(CameraInfo, "camera_info", self._on_camera_info, qos)
        self.get_logger().info(f"images from {topic}, network on {self._estimator.device}")

    def _on_camera_info(self, info: CameraInfo) -> None:
        self._camera_info = info

    def _work(self) -> None:
        while (message := self._queue.get()) is not None:
            try:
                self._process(message)
            except ConversionError as error:
                self._warn(f"image not used: {error}")
            except Exception as error:
                if not rclpy.ok(context=self.context):
                    return
                # One bad frame must not end the stream.
                self._warn(f"frame failed: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}")

    def _process(self, message: Image | CompressedImage) -> None:
        image = image_to_rgb(message) if isinstance(message, Image) else compressed_to_rgb(message)
        camera = self._camera_of(image)
        estimate = self._estimator.estimate(image, camera, self._up)
        self._outputs.publish(image, estimate.persons, message.header)

    def _camera_of(self, image: np.ndarray) -> Camera | None:
        """The camera of this image; None, and a warning, where camera_info is missing or cannot be used."""
        if self._camera_info is None:
            self._warn("camera_info: none received, so the skeletons are not metric")
            return None
        try:
            return camera_info_to_camera(self._camera_info, image.shape[1], image.shape[0], self.config.rectified)
        except ConversionError as error:
            self._warn(f"{error}; the skeletons are not metric")
            return None

    def close(self) -> None:
        """End the worker; nothing is published after that."""
        self._queue.close()
        self._worker.join()


class Outputs:
    """The node's publishers. What only people look at is made only while someone listens."""

    def __init__(self, node: Node, config: NodeConfig, estimator: PoseEstimator):
        self._skeletons_2d = node.create_publisher(Skeleton2DArray, "~/skeletons_2d", 10)
        self._skeletons_3d = node.create_publisher(Skeleton3DArray, "~/skeletons_3d", 10)
        self._markers = node.create_publisher(MarkerArray, "~/markers", 10)
        self._debug_image = node.create_publisher(Image, "~/debug_image", 10)
        self._info = node.create_publisher(SkeletonInfo, "~/info", LATCHED)
        self._builder = MarkerBuilder(config.markers)
        model = Path(config.estimator.weights).stem or "lite"
        self._info.publish(skeleton_info(model, estimator.weights_sha256, estimator.prior_sha256))

    def publish(self, image: np.ndarray, persons: tuple[Person, ...], header: Header) -> None:
        """Publish what was found in `image` (H, W, 3) RGB under its own header; empty arrays for nobody."""
        skeletons_2d, skeletons_3d = persons_to_arrays(persons, header)
        self._skeletons_2d.publish(skeletons_2d)
        self._skeletons_3d.publish(skeletons_3d)
        if self._markers.get_subscription_count():
            self._markers.publish(self._builder.build(persons, header))
        if self._debug_image.get_subscription_count():
            self._debug_image.publish(debug_image(image, persons, header))
