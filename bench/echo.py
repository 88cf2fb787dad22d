# SPDX-License-Identifier: Apache-2.0
"""Answers each image with nobody, for bench/node.py: what ROS takes for the same way there and back
without any work between."""

from __future__ import annotations

import sys

from lifting_ros.msg import Skeleton3DArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from lifting_ros.ros.runtime import run, spin


class Echo(Node):
    def __init__(self):
        super().__init__("echo")
        publisher = self.create_publisher(Skeleton3DArray, "/lifting/skeletons_3d", 10)
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)

        for kind, topic in ((Image, "image"), (CompressedImage, "image/compressed")):
            self.create_subscription(
                kind,
                topic,
                lambda image: publisher.publish(Skeleton3DArray(header=image.header)),
                qos,
            )


if __name__ == "__main__":
    sys.exit(run("echo", Echo, spin, sys.argv))
