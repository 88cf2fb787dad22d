# SPDX-License-Identifier: Apache-2.0
"""The node `lifting`: converts in, estimates, converts out, publishes, all under the image's stamp
and frame.

A lifecycle node. Configuring loads the weights; activating subscribes, but only while somebody
publishes and somebody listens. The executor's thread only fills the queue; one worker takes the
newest image from it, so that what is published is never old.
"""

from __future__ import annotations

from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import SetBool

from lifting_ros.config import ConfigError
from lifting_ros.estimator import EstimatorConfig, PoseEstimator, SkeletonLifter
from lifting_ros.ros.declare import Parameters
from lifting_ros.ros.diagnostics import Diagnostics
from lifting_ros.ros.outputs import Outputs
from lifting_ros.ros.parameters import NodeConfig
from lifting_ros.ros.runtime import STEADY, Throttle
from lifting_ros.ros.work import Work

_LOOK_PERIOD_S = 0.1
"""How often publishers and listeners are looked for."""

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class LiftingNode(LifecycleNode):
    """Images (or keypoints) in, skeletons out. The constructor raises ConfigError in one line for a
    parameter that is unfit."""

    def __init__(
        self,
        make_estimator: Callable[[EstimatorConfig], PoseEstimator] = PoseEstimator,
        make_lifter: Callable[[EstimatorConfig], SkeletonLifter] = SkeletonLifter,
        **node_options,
    ):
        super().__init__(
            "lifting", automatically_declare_parameters_from_overrides=True, **node_options
        )
        self.parameters = Parameters(self, NodeConfig)
        self._failure, self._starting = "", False
        self._make = {"image": make_estimator, "keypoints": make_lifter}
        self._estimator, self._work = None, None
        self._enabled = True
        self._warn = Throttle(self._log, lambda: self.parameters.value.warn_period_s)
        self._outputs = Outputs(self, self.parameters.value)
        self._diagnostics = Diagnostics(self, self._describe, self._expecting)
        self._enable_service = self.create_service(SetBool, "~/enable", self._on_enable)

    def start(self) -> None:
        """Configure and activate; ConfigError in one line where that fails."""
        self._starting = True
        try:
            if self.trigger_configure() != SUCCESS or self.trigger_activate() != SUCCESS:
                raise ConfigError(self._failure or "the node did not start")
        finally:
            self._starting = False

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load weights and prior."""
        self._failure, config = "", self.parameters.value
        try:
            self._estimator = self._make[config.input](config.estimator)
            if config.depth.enabled:
                self._estimator.lifter.warm_up(
                    depth=True
                )  # before the first depth image, not at it
            self._outputs.configure(config)
        except (
            ValueError,
            OSError,
            RuntimeError,
        ) as error:  # RuntimeError: a device that is full or broken
            self._estimator = None  # it may be there already, and hold the device's memory
            self._failed(error)
            return FAILURE
        self.parameters.in_use = True
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to work."""
        result = super().on_activate(state)
        try:
            self._begin()
        except (
            Exception
        ) as error:  # such as a topic that SROS forbids; rclpy calls on_error, and says nothing
            self._failed(error)
            raise
        what = "images" if self.parameters.value.input == "image" else "keypoints"
        self.get_logger().info(
            f"{what} from {self._work.inputs.main_topic}, network on {self._estimator.device}"
        )
        return result

    def _begin(self) -> None:
        self._work = Work(self, self._estimator, self._outputs)
        self._timer = self.create_timer(_LOOK_PERIOD_S, self._look, clock=STEADY)
        self._outputs.introduce(self.parameters.value, self._estimator)
        self._look()

    def _failed(self, error: Exception) -> None:
        """Keep why a transition failed, for those who started it, and tell it where that is not
        this node itself."""
        self._failure = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if not self._starting:  # else it is raised, and told once
            self.get_logger().error(self._failure)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe, and take back what is shown of people; nothing is published after that."""
        self.close()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let weights and prior go."""
        self._let_go()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """From whatever state."""
        self.close()
        self._let_go()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition broke off: back to unconfigured, with nothing running."""
        self.close()
        return self.on_cleanup(state)

    def _let_go(self) -> None:
        self._estimator, self.parameters.in_use = None, False
        self._outputs.cleanup()

    def close(self) -> None:
        """End the worker and the subscriptions, where there are any."""
        if self._work is not None:
            self.destroy_timer(self._timer)
            self._work.close()
            self._work = None

    def _look(self) -> None:
        if self._work is not None:
            self._work.follow(self._wanted())

    def _wanted(self) -> bool:
        config = self.parameters.value
        return self._enabled and (not config.lazy or config.tf.publish or self._outputs.listened())

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        self._look()
        state = "" if self._work is not None else "; the node is not active"
        response.success, response.message = (
            True,
            f"{'enabled' if request.data else 'disabled'}{state}",
        )
        return response

    def _describe(self) -> tuple[str, dict[str, str]]:
        """State in a word, and what runs, for the diagnostics."""
        estimator = self._estimator
        if estimator is None:
            return "unconfigured", {}
        state = (
            ("active" if self._wanted() else "idle" if self._enabled else "disabled")
            if self._work is not None
            else "inactive"
        )
        files = {
            "weights SHA-256": estimator.weights_sha256,
            "prior SHA-256": estimator.prior_sha256,
        }
        return state, {"device": str(estimator.device), "lifter": estimator.config.lifter, **files}

    def _expecting(self) -> str:
        """The topic on which frames should be coming; empty where none should."""
        return self._work.inputs.main_topic if self._work is not None and self._wanted() else ""

    def dropped(self, cause: str, text: str = "") -> None:
        """Count a frame that is not answered, or not in full, and say so once in a while."""
        self._diagnostics.tally.dropped(cause)
        if text:
            self._warn(text)

    def _log(self, text: str) -> None:
        if self.context.ok():  # else rcl says on stderr that the line did not get to /rosout
            self.get_logger().warning(text)

    @property
    def tally(self):
        """What the diagnostics count."""
        return self._diagnostics.tally

    def warn(self, text: str) -> None:
        """Say `text` once in a while."""
        self._warn(text)
