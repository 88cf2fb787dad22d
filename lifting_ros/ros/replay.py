# SPDX-License-Identifier: Apache-2.0
"""Publishes a video, a folder of images or a camera device as `image` and `camera_info`."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field

import cv2
import numpy as np
import rclpy
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from lifting_ros.config import ConfigError
from lifting_ros.errors import DataError
from lifting_ros.io.images import Losses, open_source
from lifting_ros.msg import Skeleton3DArray
from lifting_ros.ros.camera_yaml import (
    FOCAL_PER_LONG_SIDE,
    camera_yaml_to_info,
    guessed_info,
    resized_info,
)
from lifting_ros.ros.conversions import array_to_image, header_ns
from lifting_ros.ros.declaration import declare
from lifting_ros.ros.runtime import SIGNAL_LATENCY_S, parse, run, should_run

_GRACE_S = 0.3
_SETTLE_S = 0.5
"""Wait after discovering a subscriber: it may not have discovered the publisher yet, and would miss
the first frame."""
_ACKNOWLEDGED_WITHIN_S = 5.0
_ANSWERED_WITHIN_S = 10.0
"""Longest wait for the answer to the last image: a frame that fails, or one that the tracker holds
back (`tracking.lag_s`), has none."""


@dataclass(frozen=True)
class ReplayConfig:
    """Every parameter of the node `replay`."""

    source: str = field(
        default="",
        metadata={"description": "video file, folder of images, device (0, /dev/video0) or URL"},
    )
    camera_yaml: str = field(
        default="", metadata={"description": "calibration, as camera_calibration writes it"}
    )
    guess_camera: bool = field(
        default=False,
        metadata={
            "description": (
                f"without camera_yaml: publish a focal length of {FOCAL_PER_LONG_SIDE} long sides"
            )
        },
    )
    fps: float = field(
        default=0.0,
        metadata={"description": "rate; 0: the source's own", "unit": "Hz", "range": (0.0, 1000.0)},
    )
    max_frames: int = field(
        default=0, metadata={"description": "end after these; 0: all", "range": (0, 2**31 - 1)}
    )
    max_width: int = field(
        default=0,
        metadata={
            "description": "larger images are reduced; 0: no limit",
            "unit": "px",
            "range": (0, 16384),
        },
    )
    max_height: int = field(
        default=0,
        metadata={
            "description": "larger images are reduced; 0: no limit",
            "unit": "px",
            "range": (0, 16384),
        },
    )
    frame_id: str = field(
        default="camera_optical_frame", metadata={"description": "frame_id of the headers"}
    )
    reliable: bool = field(
        default=True, metadata={"description": "publish reliably; false: best effort"}
    )
    wait_for_subscribers: int = field(
        default=1,
        metadata={"description": "subscribers of each topic to wait for first", "range": (0, 100)},
    )
    answers: str = field(
        default="",
        metadata={
            "description": (
                "topic (lifting_ros/Skeleton3DArray) on which the last image has to be answered "
                f"before the end, within {_ANSWERED_WITHIN_S:.0f} s; empty: it is not waited for"
            )
        },
    )


class Replay(Node):
    """Publishes the frames of a source in order.

    The stamp of a frame is the start time plus the frame's own time in the source, or i / fps with
    the parameter `fps`, no matter when it is published.
    """

    def __init__(self, **node_options):
        super().__init__(
            "replay", automatically_declare_parameters_from_overrides=True, **node_options
        )
        self.config = declare(self, ReplayConfig)

        try:
            self._source = open_source(self.config.source)
        except DataError as error:
            raise DataError(f"source: {error}") from None

        self._calibration = (
            camera_yaml_to_info(self.config.camera_yaml) if self.config.camera_yaml else None
        )
        policy = (
            ReliabilityPolicy.RELIABLE if self.config.reliable else ReliabilityPolicy.BEST_EFFORT
        )
        self._images = self.create_publisher(
            Image, "image", QoSProfile(depth=10, reliability=policy)
        )
        self._infos = self.create_publisher(
            CameraInfo, "camera_info", QoSProfile(depth=10, reliability=policy)
        )

        self._answered_ns = 0
        if self.config.answers:
            self.create_subscription(Skeleton3DArray, self.config.answers, self._on_last_answer, 10)

        self.published = 0
        self._published_ns = 0
        """Stamp of the last image."""
        self.losses = Losses()
        """What of the source did not come; complete once `play` has returned."""

    def _on_last_answer(self, message: Skeleton3DArray) -> None:
        self._answered_ns = header_ns(message.header)

    def play(self) -> None:
        """Publish the whole source at its rate; returns when the last message was delivered and,
        with the parameter `answers`, answered."""
        self._wait_for_subscribers()
        start = time.monotonic()
        start_ns = self.get_clock().now().nanoseconds

        for i, frame in enumerate(self._source.stamped(self.losses)):
            if self.config.max_frames and i >= self.config.max_frames:
                break

            since_ns = frame.stamp_ns
            if self.config.fps:
                since_ns = round(i / self.config.fps * 1e9)

            stamp_ns = start_ns + since_ns
            if self._source.live:
                stamp_ns = self.get_clock().now().nanoseconds
            else:
                self._spin_until(start + since_ns / 1e9)

            self._publish(frame.bgr, stamp_ns, frame.name)

        self._wait_for_arrival()
        if self.config.answers:
            self._wait_for_answer()

        self.get_logger().info(f"{self.published} frames published")
        if self.losses.text:
            self.get_logger().warning(f"{self._source.name}: {self.losses.text}")

    def _publish(self, frame: np.ndarray, stamp_ns: int, name: str) -> None:
        """Publish a frame (H, W, 3) BGR; ConfigError, with its name, where the calibration does not
        fit."""
        frame = limited(frame, self.config.max_width, self.config.max_height)
        header = Header(frame_id=self.config.frame_id)
        header.stamp.sec, header.stamp.nanosec = divmod(stamp_ns, 10**9)
        info = self._camera_info(frame, name)
        if info is not None:
            info.header = header
            self._infos.publish(info)  # first, so that it is there when the image arrives

        self._images.publish(array_to_image(frame, "bgr8", header))
        self.published += 1
        self._published_ns = stamp_ns

    def _camera_info(self, frame: np.ndarray, name: str) -> CameraInfo | None:
        height, width = frame.shape[:2]
        if self._calibration is not None:
            try:
                return resized_info(self._calibration, width, height)
            except ConfigError as error:
                raise ConfigError(f"{self.config.camera_yaml}: {error} ({name})") from None

        if not self.config.guess_camera:
            return None

        info = guessed_info(width, height)
        if not self.published:
            self.get_logger().warning(
                f"camera_info is a guess: focal length {info.k[0]:.0f} px for {width}x{height}"
            )

        return info

    def _wait_for_subscribers(self) -> None:
        wanted = self.config.wait_for_subscribers
        has_camera = self._calibration is not None or self.config.guess_camera
        publishers = [self._images, self._infos] if has_camera else [self._images]
        if not wanted:
            return

        self.get_logger().info(f"waiting for {wanted} subscribers of {self._images.topic_name}")
        while any(publisher.get_subscription_count() < wanted for publisher in publishers):
            self._spin_until(time.monotonic() + 0.05)

        self._spin_until(time.monotonic() + _SETTLE_S)

    def _wait_for_arrival(self) -> None:
        if self.config.reliable:
            for publisher in (self._infos, self._images):
                publisher.wait_for_all_acked(Duration(seconds=_ACKNOWLEDGED_WITHIN_S))
        self._spin_until(time.monotonic() + _GRACE_S)

    def _wait_for_answer(self) -> None:
        """Spin until the last image is answered, or for _ANSWERED_WITHIN_S."""
        end = time.monotonic() + _ANSWERED_WITHIN_S
        while self._answered_ns < self._published_ns:
            if time.monotonic() > end:
                self.get_logger().warning(
                    f"{self.config.answers}: no answer to the last image within"
                    f" {_ANSWERED_WITHIN_S:.0f} s"
                )
                return

            self._spin_until(time.monotonic() + 0.05)

    def _spin_until(self, due: float) -> None:
        """Spin until the monotonic time `due`; ExternalShutdownException after a signal."""
        while True:
            if not should_run(self):
                raise ExternalShutdownException

            wait_s = max(0.0, due - time.monotonic())
            rclpy.spin_once(self, timeout_sec=min(wait_s, SIGNAL_LATENCY_S))
            if time.monotonic() >= due:
                return


def limited(frame: np.ndarray, max_width: int, max_height: int) -> np.ndarray:
    """`frame` (H, W, 3) reduced to fit the limits, aspect kept; a limit of 0 means none."""
    height, width = frame.shape[:2]
    scale = min(1.0, (max_width or width) / width, (max_height or height) / height)
    if scale == 1.0:
        return frame

    size = max(1, round(width * scale)), max(1, round(height * scale))

    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def main(args: list[str] | None = None) -> int:
    """Play the source once; exit status 0 at its end or after a signal, 2 for input that cannot be
    used."""
    argv = sys.argv if args is None else args
    description = f"{__doc__} Parameters: --ros-args -p source:=VIDEO -p fps:=15.0 ..."
    parse(argparse.ArgumentParser("lifting_replay", description=description), argv)

    return run("lifting_replay", Replay, Replay.play, argv)


if __name__ == "__main__":
    sys.exit(main())
