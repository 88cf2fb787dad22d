# SPDX-License-Identifier: Apache-2.0
"""The node's publishers. What only people look at is made only while someone listens."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from lifting_ros.core.pipeline import SkeletonLifter
from lifting_ros.core.poses import Person
from lifting_ros.msg import HypothesisArray, Skeleton2DArray, Skeleton3DArray, SkeletonInfo
from lifting_ros.ros.conversions import persons_to_arrays, skeleton_info
from lifting_ros.ros.debug_image import debug_image
from lifting_ros.ros.markers import MarkerBuilder
from lifting_ros.ros.parameters import NodeConfig
from lifting_ros.ros.skeleton_messages import hypotheses_to_array
from lifting_ros.ros.transforms import BodyFrames

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
TOPICS = {
    "~/skeletons_2d": Skeleton2DArray,
    "~/skeletons_3d": Skeleton3DArray,
    "~/hypotheses": HypothesisArray,
    "~/markers": MarkerArray,
    "~/debug_image": Image,
}
"""For whose sake images are worked on."""


class Outputs:
    """Everything that the node publishes about persons; nothing goes out while the node is not active."""

    def __init__(self, node: LifecycleNode, config: NodeConfig):
        self._node = node
        self._publishers = {topic: self._publisher(kind, topic, 10) for topic, kind in TOPICS.items()}
        self._info = self._publisher(SkeletonInfo, "~/info", LATCHED)
        self._tf = self._publisher(TFMessage, "/tf", 100)
        self._markers, self._frames = MarkerBuilder(config.markers), BodyFrames(config.tf.bodies)

    def _publisher(self, kind: type, topic: str, qos: QoSProfile | int) -> LifecyclePublisher:
        return self._node.create_lifecycle_publisher(kind, topic, qos, qos_overriding_options=QoSOverridingOptions.with_default_policies())

    def listened(self) -> bool:
        """Whether anybody wants what comes of images."""
        return any(publisher.get_subscription_count() for publisher in self._publishers.values())

    def introduce(self, config: NodeConfig, estimator: SkeletonLifter) -> None:
        """Publish ~/info for everybody who comes, and forget what was shown before."""
        self._markers, self._frames = MarkerBuilder(config.markers), BodyFrames(config.tf.bodies)
        model = "" if config.input == "keypoints" else Path(config.estimator.weights).stem or "lite"
        self._info.publish(skeleton_info(model, estimator.weights_sha256, estimator.prior_sha256))

    def publish(
        self, persons: Sequence[Person], header: Header, config: NodeConfig, image: np.ndarray | None = None, frame_3d: str = ""
    ) -> None:
        """What was found in an image (H, W, 3) RGB under its own header, the 3D part in `frame_3d` (empty: the image's frame); empty
        arrays for nobody."""
        header_3d = Header(stamp=header.stamp, frame_id=frame_3d or header.frame_id)
        skeletons_2d, skeletons_3d = persons_to_arrays(persons, header, header_3d)
        self._publishers["~/skeletons_2d"].publish(skeletons_2d)
        self._publishers["~/skeletons_3d"].publish(skeletons_3d)
        if self._wanted("~/hypotheses"):
            self._publishers["~/hypotheses"].publish(hypotheses_to_array(persons, header_3d))
        if self._wanted("~/markers"):
            self._markers.configure(config.markers)
            self._publishers["~/markers"].publish(self._markers.build(persons, header_3d))
        if image is not None and self._wanted("~/debug_image"):
            self._publishers["~/debug_image"].publish(debug_image(image, persons, header))
        if config.tf.publish:
            self._tf.publish(self._frames.build(persons, header_3d, config.tf.prefix))

    def publish_2d(self, persons: Sequence[Person], header: Header) -> None:
        """Keypoints alone, where the 3D part has no frame to be given in."""
        self._publishers["~/skeletons_2d"].publish(persons_to_arrays(persons, header)[0])

    def _wanted(self, topic: str) -> bool:
        return self._publishers[topic].get_subscription_count() > 0
