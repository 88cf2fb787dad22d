# SPDX-License-Identifier: Apache-2.0
"""One camera of the node `lifting`: everything that two cameras do not share."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode
from std_srvs.srv import SetBool

from lifting_ros.estimator import KeypointLifter
from lifting_ros.ros.camera_names import CameraNames
from lifting_ros.ros.diagnostics import Tally
from lifting_ros.ros.inputs import Inputs, Job
from lifting_ros.ros.outputs import Outputs
from lifting_ros.ros.parameters import NodeConfig, of_camera
from lifting_ros.ros.runtime import Throttle
from lifting_ros.ros.shared_estimator import SharedEstimator
from lifting_ros.ros.transforms import TransformListener
from lifting_ros.ros.worker import Worker, WorkerContext
from lifting_ros.tracking.tracking import Tracker


class CameraFeed:
    """Topics, service, tracker, worker and counts of one camera.

    The publishers and the service exist from the beginning; what reads and answers images, between
    `activate` and `close`.
    """

    def __init__(
        self,
        node: LifecycleNode,
        camera: str,
        parameters: Callable[[], NodeConfig],
        on_enable: Callable[[], None],
    ):
        """camera: its name, empty for one without; parameters: those of the node as they are now;
        on_enable: called after the service `enable` was."""
        self.names = CameraNames(camera, node.get_name(), node.get_namespace())
        self.tally = Tally()
        self.enabled = True
        self._node = node
        self._parameters = parameters
        self._on_enable = on_enable

        self._warn = Throttle(self._log, lambda: self.config.warn_period_s)
        self.outputs = Outputs(node, self.names, self.config)
        self._service = node.create_service(SetBool, self.names.own("~/enable"), self._enable)

        # Made when activated
        self.inputs: Inputs | None = None
        self.worker: Worker | None = None

    @property
    def config(self) -> NodeConfig:
        """The parameters as they are now, for this camera."""
        return of_camera(self._parameters(), self.names.camera)

    def activate(
        self,
        estimator: KeypointLifter,
        shared: SharedEstimator,
        transforms: TransformListener | None,
    ) -> None:
        """Start the worker, paused, and publish ~/info."""
        config = self.config
        self.inputs = Inputs(self._node, self.names, config, self._enqueue, self._warn)

        context = WorkerContext(
            config=lambda: self.config,
            camera_info=self.inputs.camera_info,
            transforms=transforms,
            now_ns=lambda: self._node.get_clock().now().nanoseconds,
            can_publish=self._node.context.ok,
            warn=self._warn,
        )

        tracker = Tracker(config.tracking, warm=False)  # `Preparation` does that
        self.worker = Worker(shared, tracker, self.outputs, self.tally, context)
        self.outputs.publish_info(config, estimator)

    def close(self) -> None:
        """End the worker and the subscriptions, if any."""
        if self.worker is None:
            return

        self.subscribe_if(False)
        self.worker.close()
        self.worker = None
        self.inputs = None

    def poll(self) -> None:
        """Subscribe or unsubscribe as publishers and listeners come and go, advertise /tf while it
        is asked for, and take back what is shown of a camera that has fallen silent."""
        config = self.config
        self.outputs.advertise_tf_if(config.tf.publish)
        self.subscribe_if(self.is_wanted())
        self.worker.clear_if_silent(config.silence_s)

    def subscribe_if(self, wanted: bool) -> None:
        """Subscribe where there are publishers, and let the worker run; or stop both.

        Nothing is published once this has returned with `wanted` False.
        """
        self.inputs.subscribe_if(wanted)
        if wanted:
            self.worker.resume()
        else:
            self.worker.pause()

    def is_wanted(self) -> bool:
        """Whether images should be processed now."""
        config = self.config
        return self.enabled and (
            not config.lazy or config.tf.publish or self.outputs.have_listeners()
        )

    def state(self) -> str:
        """What the camera does in one word, for the diagnostics of a configured node."""
        if self.worker is None:
            return "inactive"
        if not self.enabled:
            return "disabled"

        return "active" if self.is_wanted() else "idle"

    def expected_topic(self) -> str:
        """The topic on which frames should arrive; empty when none are expected."""
        if self.worker is None or not self.is_wanted():
            return ""
        return self.inputs.main_topic

    def _enqueue(self, job: Job) -> None:
        self.worker.enqueue(job)

    def _enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self.enabled = request.data
        self._on_enable()
        word = "enabled" if request.data else "disabled"
        hint = "" if self.worker is not None else "; the node is not active"
        response.success = True
        response.message = f"{word}{hint}"
        return response

    def _log(self, text: str) -> None:
        # After shutdown rcl would complain on stderr that the line did not reach /rosout.
        if self._node.context.ok():
            self._node.get_logger().warning(f"{self.names.log_prefix}{text}")
