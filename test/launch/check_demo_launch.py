# SPDX-License-Identifier: Apache-2.0
"""The demo under launch_testing: `launch_test test/launch/check_demo_launch.py`;
test_launch_testing.py runs it, too."""

import time
import unittest
from pathlib import Path

import rclpy
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_testing import post_shutdown_test
from launch_testing.actions import ReadyToTest
from launch_testing.asserts import assertExitCodes
from lifting_ros.msg import Skeleton3DArray

WAIT_S = 1800.0
"""A limit against hanging, not a measure."""
DEMO = Path(__file__).parents[2] / "launch" / "demo.launch.py"


def generate_test_description() -> LaunchDescription:
    """The clip that ships, again and again, until the tests are through."""
    demo = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(DEMO)),
        launch_arguments=[("fps", "8.0"), ("max_frames", "60"), ("loop", "true")],
    )
    return LaunchDescription([demo, ReadyToTest()])


class TestSkeletons(unittest.TestCase):
    """While it runs."""

    def test_somebody_is_seen(self):
        rclpy.init()
        node, seen = rclpy.create_node("listener"), []
        node.create_subscription(Skeleton3DArray, "/lifting/skeletons_3d", seen.append, 10)
        end = time.monotonic() + WAIT_S
        while not any(message.skeletons for message in seen) and time.monotonic() < end:
            rclpy.spin_once(node, timeout_sec=0.5)
        node.destroy_node()
        rclpy.shutdown()
        self.assertTrue(any(message.skeletons for message in seen))
        self.assertEqual({message.header.frame_id for message in seen}, {"camera_optical_frame"})


@post_shutdown_test()
class TestEnd(unittest.TestCase):
    """After it was told to end."""

    def test_every_process_ended_in_order(self, proc_info):
        assertExitCodes(proc_info)
