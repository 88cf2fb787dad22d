# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node `lifting`: images or keypoints in, skeletons out, under the image's stamp and
frame.

Configuring loads the weights. Activating starts a worker for each camera; the node subscribes while
there are publishers and listeners. The executor's thread only fills the queues. A worker takes the
newest message from its queue, so that what is published is never old.
"""

from __future__ import annotations

from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.timer import Timer

from lifting_ros.config import ConfigError
from lifting_ros.device import use_threads
from lifting_ros.estimator import (
    EstimatorConfig,
    KeypointLifter,
    PoseEstimator,
    check_lifter_weights,
)
from lifting_ros.memory import return_freed_memory
from lifting_ros.ros.camera_feed import CameraFeed
from lifting_ros.ros.conversions import first_line
from lifting_ros.ros.declaration import Parameters
from lifting_ros.ros.diagnostics import Diagnostics, Part
from lifting_ros.ros.parameters import NodeConfig
from lifting_ros.ros.runtime import STEADY
from lifting_ros.ros.shared_estimator import SharedEstimator
from lifting_ros.ros.transforms import TransformListener

_POLL_PERIOD_S = 0.1
"""Period at which publishers and listeners are counted."""

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE


class LiftingNode(LifecycleNode):
    """Images (or keypoints) of one camera or several in, skeletons out.

    What the cameras share is here: parameters, lifecycle, estimator, TF and diagnostics.

    The constructor raises ConfigError in one line for an invalid parameter.
    """

    def __init__(
        self,
        make_estimator: Callable[[EstimatorConfig], PoseEstimator] = PoseEstimator,
        make_lifter: Callable[[EstimatorConfig], KeypointLifter] = KeypointLifter,
        **node_options,
    ):
        super().__init__(
            "lifting", automatically_declare_parameters_from_overrides=True, **node_options
        )
        self.parameters = Parameters(
            self, NodeConfig, refuse=lambda config: check_lifter_weights(config.estimator)
        )
        self._failure = ""
        self._starting = False
        self._make = {"image": make_estimator, "keypoints": make_lifter}

        # Made when configured
        self._estimator: KeypointLifter | None = None
        # Made when activated
        self._transforms: TransformListener | None = None
        self._timer: Timer | None = None

        self.feeds = [self._make_feed(camera) for camera in self.parameters.value.cameras]
        self._diagnostics = Diagnostics(self, [self._part(feed) for feed in self.feeds])

    def _make_feed(self, camera: str) -> CameraFeed:
        return CameraFeed(self, camera, lambda: self.parameters.value, self._poll_graph)

    def start(self) -> None:
        """Configure and activate; raises ConfigError in one line if that fails."""
        self._starting = True
        try:
            if self.trigger_configure() != SUCCESS or self.trigger_activate() != SUCCESS:
                raise ConfigError(self._failure or "the node did not start")
        finally:
            self._starting = False

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load weights and prior."""
        self._failure = ""
        config = self.parameters.value
        try:
            if config.input == "image":
                use_threads(config.estimator.threads)

            self._estimator = self._make[config.input](config.estimator)
            if config.depth.enabled:
                # Compiles now what the first depth image would otherwise wait for.
                self._estimator.lifter.warm_up(depth=True)
            for feed in self.feeds:
                feed.outputs.configure(config)
        except (ValueError, OSError, RuntimeError) as error:
            # RuntimeError: the device is out of memory or broken. The estimator may exist already
            # and hold the device's memory.
            self._estimator = None
            self._report_failure(error)
            return FAILURE

        self.parameters.in_use = True
        return_freed_memory()
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the workers and subscribe."""
        result = super().on_activate(state)
        try:
            self._begin()
        except Exception as error:
            # Such as a topic that SROS forbids. rclpy calls on_error and reports nothing itself.
            self._report_failure(error)
            raise

        kind = "images" if self.parameters.value.input == "image" else "keypoints"
        topics = ", ".join(feed.inputs.main_topic for feed in self.feeds)
        self.get_logger().info(f"{kind} from {topics}, network on {self._estimator.device}")
        return result

    def _begin(self) -> None:
        config = self.parameters.value
        needs_tf = config.tf.target_frame or config.tf.gravity_frame
        self._transforms = TransformListener(self) if needs_tf else None
        shared = SharedEstimator(self._estimator)
        for feed in self.feeds:
            feed.activate(self._estimator, shared, self._transforms)

        self._timer = self.create_timer(_POLL_PERIOD_S, self._poll_graph, clock=STEADY)
        self._poll_graph()

    def _report_failure(self, error: Exception) -> None:
        """Keep the reason why a transition failed, and log it unless `start` will raise it."""
        self._failure = first_line(error)
        if not self._starting:
            self.get_logger().error(self._failure)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and remove what is displayed; nothing is published after that."""
        self.close()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release weights and prior."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and release everything, from any state."""
        self.close()
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition failed: return to unconfigured, with nothing running."""
        self.close()
        return self.on_cleanup(state)

    def _release(self) -> None:
        self._estimator = None
        self.parameters.in_use = False
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
