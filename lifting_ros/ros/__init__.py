# SPDX-License-Identifier: Apache-2.0
"""The ROS side: nodes that convert in, estimate, convert out and publish. The only place that
imports rclpy."""
