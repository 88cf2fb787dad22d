# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node `lifting`: images or keypoints in, skeletons out, under the image's stamp and
frame.

Configuring loads the weights. Activating starts a worker for each camera; the node subscribes while
there are publishers and listeners. The executor's thread only fills the queues. A worker takes the
newest message from its queue, so that what is published is never old. At a first start the node is
active before the loops of 3D are compiled, and publishes what it sees in 2D.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.timer import Timer

from lifting_ros.device import use_threads
from lifting_ros.estimator import (
    EstimatorConfig,
    KeypointLifter,
    PoseEstimator,
    check_lifter_weights,
)
from lifting_ros.memory import return_freed_memory
from lifting_ros.ros.camera_feed import CameraFeed
from lifting_ros.ros.diagnostics import Diagnostics, Part, statuses_of
from lifting_ros.ros.managed_node import FAILURE, ManagedNode
from lifting_ros.ros.parameters import NodeConfig
from lifting_ros.ros.preparation import Preparation
from lifting_ros.ros.runtime import STEADY
from lifting_ros.ros.shared_estimator import SharedEstimator
from lifting_ros.ros.transforms import TransformListener

_COLD_ESTIMATOR = partial(PoseEstimator, warm=False)
_COLD_LIFTER = partial(KeypointLifter, warm=False)
_POLL_PERIOD_S = 0.1
"""Period at which publishers and listeners are counted."""


class LiftingNode(ManagedNode):
    """Images (or keypoints) of one camera or several in, skeletons out.

    What the cameras share is here: parameters, lifecycle, estimator, TF and diagnostics.

    The constructor raises ConfigError in one line for an invalid parameter.
    """

    def __init__(
        self,
        make_estimator: Callable[[EstimatorConfig], PoseEstimator] = _COLD_ESTIMATOR,
        make_lifter: Callable[[EstimatorConfig], KeypointLifter] = _COLD_LIFTER,
        **node_options,
    ):
        super().__init__(
            "lifting",
            NodeConfig,
            refuse=lambda config: check_lifter_weights(config.estimator),
            **node_options,
        )
        self._make = {"image": make_estimator, "keypoints": make_lifter}

        # Made when configured
        self._estimator: KeypointLifter | None = None
        self._preparation: Preparation | None = None
        # Made when activated
        self._transforms: TransformListener | None = None
        self._timer: Timer | None = None

        self.feeds = [self._make_feed(camera) for camera in self.parameters.value.cameras]
        parts = [self._part(feed) for feed in self.feeds]
        self._diagnostics = Diagnostics(self, lambda: statuses_of(parts))

    def _make_feed(self, camera: str) -> CameraFeed:
        return CameraFeed(self, camera, lambda: self.parameters.value, self._poll_graph)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load weights and prior."""
        config = self.parameters.value
        try:
            if config.input == "image":
                use_threads(config.estimator.threads)

            self._estimator = self._make[config.input](config.estimator)
            self._preparation = Preparation(
                self._estimator, config.depth.enabled, self._say_while_alive
            )
            has_2d = config.input == "image"
            self._preparation.wait(while_compiling=not (config.early_2d and has_2d))
            for feed in self.feeds:
                feed.outputs.configure(config)
        except (ValueError, OSError, RuntimeError) as error:
            # RuntimeError: the device is out of memory or broken. The estimator may exist already
            # and hold the device's memory.
            self._estimator = None
            self._preparation = None
            self.report_failure(error)
            return FAILURE

        return_freed_memory()
        return super().on_configure(state)

    def describe(self) -> str:
        """What the node subscribes to, and where its network runs."""
        kind = "images" if self.parameters.value.input == "image" else "keypoints"
        topics = ", ".join(feed.inputs.main_topic for feed in self.feeds)
        said = f"{kind} from {topics}, network on {self._estimator.device}"
        if not self._preparation.is_done:
            said += "; in 2D alone until numerical loops are compiled"
        return said

    def begin(self) -> None:
        """Start the workers and subscribe."""
        config = self.parameters.value
        needs_tf = config.tf.target_frame or config.tf.gravity_frame
        self._transforms = TransformListener(self) if needs_tf else None
        shared = SharedEstimator(self._estimator, self._preparation)
        for feed in self.feeds:
            feed.activate(self._estimator, shared, self._transforms)

        self._timer = self.create_timer(_POLL_PERIOD_S, self._poll_graph, clock=STEADY)
        self._poll_graph()

    def release(self) -> None:
        """Release weights and prior."""
        super().release()
        self._estimator = None
        self._preparation = None
        for feed in self.feeds:
            feed.outputs.cleanup()

    def close(self) -> None:
        """End the workers and the subscriptions, if any."""
        if self._timer is not None:
            self.destroy_timer(self._timer)
            self._timer = None

        for feed in self.feeds:
            feed.close()

        if self._transforms is not None:
            self._transforms.subscribe_if(False)
            self._transforms = None

    def _say_while_alive(self, text: str) -> None:
        # After shutdown rcl would complain on stderr that the line did not reach /rosout.
        if self.context.ok():
            self.get_logger().info(text)

    def _poll_graph(self) -> None:
        """Let each camera, and the listener to TF, follow who is there."""
        if self._timer is None:
            return
        if self._transforms is not None:
            self._transforms.subscribe_if(any(feed.is_wanted() for feed in self.feeds))
        for feed in self.feeds:
            feed.poll()

    def _part(self, feed: CameraFeed) -> Part:
        return Part(feed.names.full, feed.tally, lambda: self._describe(feed), feed.expected_topic)

    def _describe(self, feed: CameraFeed) -> tuple[str, dict[str, str]]:
        """State of a camera; device, runtime, lifter and hashes of the files in use."""
        estimator = self._estimator
        if estimator is None:
            return "unconfigured", {}

        return feed.state(), {
            "device": str(estimator.device),
            "runtime": estimator.runtime,
            "lifter": estimator.config.lifter,
            "weights SHA-256": estimator.weights_sha256,
            "prior SHA-256": estimator.prior_sha256,
        }
