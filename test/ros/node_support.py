# SPDX-License-Identifier: Apache-2.0
"""The node in the test's own process, with an estimator that costs nothing, and a peer that talks
to it over real topics."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from threading import Event
from types import SimpleNamespace

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from domains import next_domain
from lifting_ros.msg import Skeleton3DArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from ros_support import FRAME, camera_info, image, person
from sensor_msgs.msg import CameraInfo, Image

from lifting_ros.estimator import Estimate, EstimatorConfig
from lifting_ros.ros.inputs import stamp_ns
from lifting_ros.ros.lifting_node import LiftingNode

WAIT_S = 1800.0
"""A limit against hanging, not a measure."""
RGB = np.random.default_rng(3).integers(0, 255, (24, 32, 3), np.uint8)


class FakeEstimator:
    """Says what it was asked; finds one person in every image, or what `answer` says."""

    device, weights_sha256, prior_sha256 = "cpu", "ab" * 32, "cd" * 32
    runtime = "torch"

    def __init__(self, config: EstimatorConfig):
        self.config, self.calls = config, []
        self.lifter = SimpleNamespace(warm_up=lambda depth: None)
        self.answer: Callable = lambda call: [person(np.random.default_rng(len(self.calls)))]

    def retune(self, config: EstimatorConfig) -> None:
        self.config = config

    def estimate(self, image, camera=None, up=None, depth=None, detections=None) -> Estimate:
        self.calls.append({"image": image, "camera": camera, "up": np.array(up), "depth": depth})
        return Estimate(
            tuple(self.answer(self.calls[-1])),
            {"detect": 0.001, "network": 0.002, "lift": 0.0},
            detected=detections is None,
        )

    def lift(self, skeletons, camera=None, up=None):
        self.calls.append({"skeletons": skeletons, "camera": camera, "up": np.array(up)})
        return list(self.answer(self.calls[-1]))[: len(skeletons)]


class NodeAndPeer:
    """A node that is closed at the end, and its peer, in one executor."""

    def __init__(self, make_node: Callable[..., Node], parameters: dict[str, object]):
        self.context = Context()
        rclpy.init(context=self.context, domain_id=next_domain())
        given = [Parameter(name, value=value) for name, value in parameters.items()]
        self.node = make_node(context=self.context, parameter_overrides=given)
        self.peer = Node("peer", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.executor.add_node(self.peer)
        self.received: dict[str, list] = defaultdict(list)

    def until(self, done: Callable[[], object], what: str = "it") -> None:
        """Spin until `done`."""
        end = time.monotonic() + WAIT_S
        while not done():
            assert time.monotonic() < end, f"{what} did not happen"
            self.executor.spin_once(timeout_sec=0.02)

    def close(self) -> None:
        self.node.close()
        self.executor.shutdown()
        self.node.destroy_node()
        self.peer.destroy_node()
        rclpy.try_shutdown(context=self.context)


class Stage(NodeAndPeer):
    """The node `lifting` and a camera."""

    def __init__(self, **overrides):
        overrides.setdefault("silence_s", 0.0)  # a slow machine is silent, too
        overrides.setdefault("detector__every", 1)  # one call of the estimator an image
        parameters = {name.replace("__", "."): value for name, value in overrides.items()}
        self.estimator: FakeEstimator | None = None
        super().__init__(partial(LiftingNode, self._make, self._make), parameters)
        self.feed = self.node.feeds[0]
        self._publishers, self._stamps = {}, itertools.count(5)

    def _make(self, config: EstimatorConfig) -> FakeEstimator:
        self.estimator = FakeEstimator(config)
        return self.estimator

    def hold_answers(self) -> Event:
        """Let the estimator answer only when the event that is returned is set."""
        gate = Event()
        answer = self.estimator.answer

        def wait(call):
            gate.wait(WAIT_S)
            return answer(call)

        self.estimator.answer = wait
        return gate

    def listen(
        self, kind: type = Skeleton3DArray, topic: str = "/lifting/skeletons_3d", qos=50
    ) -> list:
        """The list that what comes on `topic` goes into."""
        self.peer.create_subscription(kind, topic, self.received[topic].append, qos)
        return self.received[topic]

    def spin(self, seconds: float) -> None:
        """Spin for a while, to see that nothing happens."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)

    def publisher(self, kind: type, topic: str, qos=10):
        if topic not in self._publishers:
            self._publishers[topic] = self.peer.create_publisher(kind, topic, qos)
        return self._publishers[topic]

    def subscribed(self, topic: str = "image") -> bool:
        return self._publishers[topic].get_subscription_count() > 0

    def send(self, message=None, seconds: float | None = None, topic: str = "image") -> int:
        """Publish (an image, by default) under a stamp, the next whole second where none is given;
        returns it, ns."""
        message = image(RGB, "rgb8") if message is None else message
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(
            next(self._stamps) * 10**9 if seconds is None else round(seconds * 1e9), 10**9
        )
        message.header.frame_id = message.header.frame_id or FRAME
        self.publisher(type(message), topic).publish(message)
        return stamp_ns(message)

    def connect(self) -> None:
        """Listen, and wait until the node is subscribed to the peer's images."""
        self.listen()
        self.publisher(Image, "image")
        self.until(self.subscribed, "the subscription")

    def ask(self, message=None, seconds: float | None = None) -> Skeleton3DArray:
        """The answer to one image."""
        answers = self.received["/lifting/skeletons_3d"]
        before = len(answers)
        stamp = self.send(message, seconds)
        self.until(lambda: any(stamp_ns(a) == stamp for a in answers[before:]), "an answer")
        return next(a for a in answers[before:] if stamp_ns(a) == stamp)

    def tell(self, info: CameraInfo | None = None, seconds: float | None = None) -> None:
        """Publish a camera_info, once the node is subscribed to it."""
        self.publisher(CameraInfo, "camera_info")
        self.until(lambda: self.subscribed("camera_info"), "the subscription to camera_info")
        known = len(self.feed.inputs._infos)
        self.send(camera_info(32, 24, 30.0) if info is None else info, seconds, "camera_info")
        self.until(lambda: len(self.feed.inputs._infos) > known, "camera_info")

    def diagnostics(self) -> dict[str, str]:
        """What the next message on /diagnostics says, with level and message beside its values."""
        got = self.listen(DiagnosticArray, "/diagnostics")
        self.until(lambda: got, "diagnostics")
        got.clear()
        self.until(lambda: got, "diagnostics")
        status = got[-1].status[0]
        return {v.key: v.value for v in status.values} | {
            "level": ord(status.level),
            "message": status.message,
        }
