# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node `lifting`: images or keypoints in, skeletons out, under the image's stamp and
frame.

Configuring loads the weights. Activating starts the worker; the node subscribes while there are
publishers and listeners. The executor's thread only fills the queue. The worker takes the newest
message from it, so that what is published is never old.
"""

from __future__ import annotations

from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import SetBool

from lifting_ros.config import ConfigError
from lifting_ros.device import use_threads
from lifting_ros.estimator import (
    EstimatorConfig,
    KeypointLifter,
    PoseEstimator,
    check_lifter_weights,
)
from lifting_ros.ros.declaration import Parameters
from lifting_ros.ros.diagnostics import Diagnostics, Tally
from lifting_ros.ros.inputs import Inputs, Job
from lifting_ros.ros.outputs import Outputs
from lifting_ros.ros.parameters import NodeConfig
from lifting_ros.ros.runtime import STEADY, Throttle
from lifting_ros.ros.transforms import TransformListener
from lifting_ros.ros.worker import Worker, WorkerContext
from lifting_ros.tracking.tracking import Tracker

_POLL_PERIOD_S = 0.1
"""Period at which publishers and listeners are counted."""

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE


class LiftingNode(LifecycleNode):
    """Images (or keypoints) in, skeletons out.

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
        self._enabled = True
        self._make = {"image": make_estimator, "keypoints": make_lifter}

        # Made when configured
        self._estimator: KeypointLifter | None = None
        # Made when activated
        self._inputs: Inputs | None = None
        self._transforms: TransformListener | None = None
        self._worker: Worker | None = None

        self._warn = Throttle(self._log, lambda: self.parameters.value.warn_period_s)
        self._outputs = Outputs(self, self.parameters.value)
        self._diagnostics = Diagnostics(self, self._describe, self._expected_topic)
        self._enable_service = self.create_service(SetBool, "~/enable", self._on_enable)

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

            self._outputs.configure(config)
        except (ValueError, OSError, RuntimeError) as error:
            # RuntimeError: the device is out of memory or broken. The estimator may exist already
            # and hold the device's memory.
            self._estimator = None
            self._report_failure(error)
            return FAILURE

        self.parameters.in_use = True
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the worker and subscribe."""
        result = super().on_activate(state)
        try:
            self._begin()
        except Exception as error:
            # Such as a topic that SROS forbids. rclpy calls on_error and reports nothing itself.
            self._report_failure(error)
            raise

        kind = "images" if self.parameters.value.input == "image" else "keypoints"
        self.get_logger().info(
            f"{kind} from {self._inputs.main_topic}, network on {self._estimator.device}"
        )
        return result

    def _begin(self) -> None:
        config = self.parameters.value
        self._inputs = Inputs(self, config, self._enqueue, self._warn)
        needs_tf = config.tf.target_frame or config.tf.gravity_frame
        self._transforms = TransformListener(self) if needs_tf else None
        context = WorkerContext(
            config=lambda: self.parameters.value,
            camera_info=self._inputs.camera_info,
            transforms=self._transforms,
            now_ns=lambda: self.get_clock().now().nanoseconds,
            can_publish=self.context.ok,
            warn=self._warn,
        )
        tracker = Tracker(config.tracking)
        self._worker = Worker(self._estimator, tracker, self._outputs, self.tally, context)

        self._timer = self.create_timer(_POLL_PERIOD_S, self._poll_graph, clock=STEADY)
        self._outputs.publish_info(config, self._estimator)
        self._poll_graph()

    def _enqueue(self, job: Job) -> None:
        self._worker.enqueue(job)

    def _report_failure(self, error: Exception) -> None:
        """Keep the reason why a transition failed, and log it unless `start` will raise it."""
        lines = str(error).strip().splitlines() or [type(error).__name__]
        self._failure = lines[0]
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
        self._outputs.cleanup()

    def close(self) -> None:
        """End the worker and the subscriptions, if any."""
        if self._worker is None:
            return

        self.destroy_timer(self._timer)
        self._subscribe_if(False)
        self._worker.close()
        self._worker = None
        self._inputs = None
        self._transforms = None

    def _poll_graph(self) -> None:
        """Subscribe or unsubscribe as publishers and listeners come and go, advertise /tf while it
        is asked for, and take back what is shown of a camera that has fallen silent."""
        if self._worker is not None:
            config = self.parameters.value
            self._outputs.advertise_tf_if(config.tf.publish)
            self._subscribe_if(self._is_wanted())
            self._worker.clear_if_silent(config.silence_s)

    def _subscribe_if(self, wanted: bool) -> None:
        """Subscribe where there are publishers, and let the worker run; or stop both.

        Nothing is published once this has returned with `wanted` False.
        """
        self._inputs.subscribe_if(wanted)
        if self._transforms is not None:
            self._transforms.subscribe_if(wanted)

        if wanted:
            self._worker.resume()
        else:
            self._worker.pause()

    def _is_wanted(self) -> bool:
        """Whether images should be processed now."""
        config = self.parameters.value
        return self._enabled and (
            not config.lazy or config.tf.publish or self._outputs.have_listeners()
        )

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        self._poll_graph()
        word = "enabled" if request.data else "disabled"
        hint = "" if self._worker is not None else "; the node is not active"
        response.success = True
        response.message = f"{word}{hint}"
        return response

    def _state(self) -> str:
        """The node's state in one word, for the diagnostics."""
        if self._estimator is None:
            return "unconfigured"
        if self._worker is None:
            return "inactive"
        if not self._enabled:
            return "disabled"

        return "active" if self._is_wanted() else "idle"

    def _describe(self) -> tuple[str, dict[str, str]]:
        """State, device, runtime, lifter and hashes of the files in use, for the diagnostics."""
        estimator = self._estimator
        if estimator is None:
            return self._state(), {}

        return self._state(), {
            "device": str(estimator.device),
            "runtime": estimator.runtime,
            "lifter": estimator.config.lifter,
            "weights SHA-256": estimator.weights_sha256,
            "prior SHA-256": estimator.prior_sha256,
        }

    def _expected_topic(self) -> str:
        """The topic on which frames should arrive; empty when none are expected."""
        if self._worker is None or not self._is_wanted():
            return ""

        return self._inputs.main_topic

    def _log(self, text: str) -> None:
        # After shutdown rcl would complain on stderr that the line did not reach /rosout.
        if self.context.ok():
            self.get_logger().warning(text)

    @property
    def tally(self) -> Tally:
        """What the diagnostics count."""
        return self._diagnostics.tally
