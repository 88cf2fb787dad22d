# SPDX-License-Identifier: Apache-2.0
"""The node against the bare estimator on the same frames: age of what it publishes, drops, and what ROS adds.

This process is the camera and the listener, the node is another; they talk over real topics. A row is a size of image, a transport and a
reliability, and two speeds: `paced`, a source that the node keeps up with (half its rate), where the age is that of an answer without a
queue; and `fast`, 30 images a second or twice the node's rate, whichever is more, where the age must stay bounded. Age: from the image's
stamp, set when it is published, to the arrival of the skeletons here. Base: decoding and `PoseEstimator.estimate` in this process, with
one thread as the node has, before and after the node's turn. --json FILE writes the figures.
"""
from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import rclpy
from lifting_ros.msg import Skeleton3DArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from tqdm import tqdm

from lifting_ros.cli.files import write_json
from lifting_ros.cli.processes import Children
from lifting_ros.core.pipeline import EstimatorConfig, PoseEstimator
from lifting_ros.ros.calibration import camera_info_to_camera
from lifting_ros.ros.camera_yaml import guessed_info
from lifting_ros.ros.conversions import array_to_image, message_to_rgb
from lifting_ros.ros.inputs import stamp_ns

CLIP = Path(__file__).parents[1] / "lifting_ros" / "demo" / "walk_and_sit.mp4"
SIZES = {"640x480": (640, 480), "1920x1080": (1920, 1080)}
CAMERA_HZ = 30.0
FIRST_ANSWER_S, LAST_ANSWER_S = 180.0, 2.0


def clip_frames(size: tuple[int, int], count: int, compressed: bool) -> list[Image | CompressedImage]:
    """Messages of `count` frames of the clip that ships, in `size` (W, H), grey beside the picture."""
    capture, frames = cv2.VideoCapture(str(CLIP)), []
    while len(frames) < count:
        there, frame = capture.read()
        if not there:
            capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            continue
        scale = min(size[0] / frame.shape[1], size[1] / frame.shape[0])
        small = cv2.resize(frame, None, fx=scale, fy=scale)
        picture = np.full((size[1], size[0], 3), 128, np.uint8)
        picture[: small.shape[0], : small.shape[1]] = small[: size[1], : size[0]]
        if compressed:
            frames.append(CompressedImage(format="jpeg", data=cv2.imencode(".jpg", picture)[1].tobytes()))
        else:
            frames.append(array_to_image(picture, "bgr8", Header()))
    return frames


class Camera:
    """Publishes messages at a rate, and hears when each is answered."""

    def __init__(self, kind: type, size: tuple[int, int], reliable: bool):
        rclpy.init()
        self.node = Node("bench")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT)
        self._images = self.node.create_publisher(kind, "image/compressed" if kind is CompressedImage else "image", qos)
        self._infos = self.node.create_publisher(CameraInfo, "camera_info", qos)
        self._info, self._arrived = guessed_info(*size), {}
        self.node.create_subscription(Skeleton3DArray, "/lifting/skeletons_3d", self._on_answer, 50)

    def _on_answer(self, message: Skeleton3DArray) -> None:
        self._arrived[stamp_ns(message)] = self.node.get_clock().now().nanoseconds

    def wait(self, children: Children) -> None:
        """Until the node is subscribed."""
        end = time.monotonic() + FIRST_ANSWER_S
        while not (self._images.get_subscription_count() and self._infos.get_subscription_count()):
            children.check()
            if time.monotonic() > end:
                raise RuntimeError("the node did not subscribe")
            self._executor.spin_once(timeout_sec=0.1)

    def play(self, messages: list, hz: float) -> tuple[np.ndarray, int, float]:
        """Ages in seconds of those answered, how many were sent, and seconds between the first and the last answer."""
        self._arrived.clear()
        sent, start = [], time.monotonic()
        for n, message in enumerate(messages):
            self._spin_until(start + n / hz)
            now = self.node.get_clock().now()
            message.header.stamp, message.header.frame_id = now.to_msg(), "camera"
            self._info.header = message.header
            self._infos.publish(self._info)
            self._images.publish(message)
            sent.append(now.nanoseconds)
        self._spin_until(time.monotonic() + LAST_ANSWER_S)
        answered = [stamp for stamp in sent if stamp in self._arrived]
        ages = np.array([self._arrived[stamp] - stamp for stamp in answered]) / 1e9
        spread = (max(self._arrived.values()) - min(self._arrived.values())) / 1e9 if self._arrived else 0.0
        return ages, len(sent), spread

    def _spin_until(self, due: float) -> None:
        while (left := due - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown()


def bare_seconds(estimator: PoseEstimator, messages: list) -> np.ndarray:
    """Decoding and estimation of each message in this process."""
    seconds = []
    for message in messages:
        start = time.perf_counter()
        image = message_to_rgb(message)
        estimator.estimate(image, camera_info_to_camera(guessed_info(*image.shape[1::-1]), *image.shape[1::-1]))
        seconds.append(time.perf_counter() - start)
    return np.array(seconds)


def measure(estimator: PoseEstimator, size: tuple[int, int], compressed: bool, reliable: bool, count: int, logs: Path) -> dict:
    """One row."""
    messages = clip_frames(size, count, compressed)
    bare_seconds(estimator, messages[:5])
    before = bare_seconds(estimator, messages)
    camera = Camera(CompressedImage if compressed else Image, size, reliable)
    try:
        with Children(logs, {}) as children:
            transport = "compressed" if compressed else "raw"
            children.start("node", "lifting_ros.ros.node", "--ros-args", "-p", f"image_transport:={transport}", "-p", "threads:=1")
            camera.wait(children)
            camera.play(messages[:20], 5.0)
            bare = float(np.median(before))
            paced, sent, _ = camera.play(messages, 0.5 / bare)
            flood, flooded, spread = camera.play(messages, max(CAMERA_HZ, 2.0 / bare))
    finally:
        camera.close()
    base = np.concatenate([before, bare_seconds(estimator, messages)])
    network = float(np.median(base))
    row = {"estimator p50": network, "age p50": np.median(paced), "age p99": np.percentile(paced, 99), "dropped": 1 - len(paced) / sent}
    row |= {"over bare": row["age p50"] / network - 1, "fast age p50": np.median(flood), "fast age p99": np.percentile(flood, 99)}
    row |= {"fast p99 / estimator": row["fast age p99"] / network}
    row |= {"fast rate": (len(flood) - 1) / spread, "bare rate": 1 / float(np.mean(base))}
    return {name: float(value) for name, value in row.items()}


def combinations(quick: bool) -> Iterator[tuple[str, bool, bool]]:
    """Size, compressed, reliable."""
    yield from list(product(SIZES, (False, True), (False, True)))[: 1 if quick else None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=185, metavar="N", help="images of a row and speed (default 185: the clip)")
    parser.add_argument("--quick", action="store_true", help="the first row alone")
    parser.add_argument("--json", default="", metavar="FILE", help="write the figures here as well")
    args = parser.parse_args()
    estimator, rows = PoseEstimator(EstimatorConfig(threads=1)), {}
    with tempfile.TemporaryDirectory() as logs:
        for size, compressed, reliable in tqdm(list(combinations(args.quick)), unit="row"):
            name = f"{size} {'compressed' if compressed else 'raw'} {'reliable' if reliable else 'best effort'}"
            rows[name] = measure(estimator, SIZES[size], compressed, reliable, args.frames, Path(logs))
    print(f"\n{'ms, but for shares and rates':34}" + "".join(f"{column:>22}" for column in next(iter(rows.values()))))
    for name, row in rows.items():
        shares = ("dropped", "over bare", "fast p99 / estimator", "fast rate", "bare rate")
        print(f"{name:34}" + "".join(f"{value:22.3f}" if column in shares else f"{1e3 * value:22.1f}" for column, value in row.items()))
    if args.json:
        write_json(args.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
