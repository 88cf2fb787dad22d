# SPDX-License-Identifier: Apache-2.0
"""The node `lifting`: converts in, estimates, converts out, publishes, all under the image's stamp and frame.

A lifecycle node. Configuring loads the weights; activating subscribes, but only while somebody publishes and somebody listens. The
executor's thread only fills the queue; one worker takes the newest image from it, so that what is published is never old.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock, Thread
from typing import Any

import numpy as np
import rclpy
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import SetBool

from lifting_ros.core.body_frame import in_frame
from lifting_ros.core.camera import Camera
from lifting_ros.core.config import ConfigError
from lifting_ros.core.pipeline import Clock, EstimatorConfig, PoseEstimator, SkeletonLifter
from lifting_ros.core.poses import Person
from lifting_ros.core.tracking import TrackedFrame, Tracker
from lifting_ros.core.transform_tree import TransformError
from lifting_ros.ros.calibration import usable_camera
from lifting_ros.ros.conversions import ConversionError, depth_to_metres, header_ns, message_to_rgb
from lifting_ros.ros.declare import Parameters
from lifting_ros.ros.diagnostics import Diagnostics
from lifting_ros.ros.inputs import Inputs, Job, stamp_ns
from lifting_ros.ros.outputs import Outputs
from lifting_ros.ros.parameters import NodeConfig
from lifting_ros.ros.runtime import STEADY, NewestQueue, Throttle
from lifting_ros.ros.skeleton_messages import message_to_skeletons
from lifting_ros.ros.transforms import TransformListener

_LOOK_PERIOD_S = 0.1
"""How often publishers and listeners are looked for."""

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class LiftingNode(LifecycleNode):
    """Images (or keypoints) in, skeletons out. The constructor raises ConfigError in one line for a parameter that is unfit."""

    def __init__(
        self, make_estimator: Callable[[EstimatorConfig], PoseEstimator] = PoseEstimator,
        make_lifter: Callable[[EstimatorConfig], SkeletonLifter] = SkeletonLifter, **node_options,
    ):  # fmt: skip
        super().__init__("lifting", automatically_declare_parameters_from_overrides=True, **node_options)
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
                self._estimator.lifter.warm_up(depth=True)  # before the first depth image, not at it
            self._outputs.configure(config)
        except (ValueError, OSError, RuntimeError) as error:  # RuntimeError: a device that is full or broken
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
        except Exception as error:  # such as a topic that SROS forbids; rclpy calls on_error, and says nothing
            self._failed(error)
            raise
        what = "images" if self.parameters.value.input == "image" else "keypoints"
        self.get_logger().info(f"{what} from {self._work.inputs.main_topic}, network on {self._estimator.device}")
        return result

    def _begin(self) -> None:
        self._work = Work(self, self._estimator, self._outputs)
        self._timer = self.create_timer(_LOOK_PERIOD_S, self._look, clock=STEADY)
        self._outputs.introduce(self.parameters.value, self._estimator)
        self._look()

    def _failed(self, error: Exception) -> None:
        """Keep why a transition failed, for those who started it, and tell it where that is not this node itself."""
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
        response.success, response.message = True, f"{'enabled' if request.data else 'disabled'}{state}"
        return response

    def _describe(self) -> tuple[str, dict[str, str]]:
        """State in a word, and what runs, for the diagnostics."""
        estimator = self._estimator
        if estimator is None:
            return "unconfigured", {}
        state = ("active" if self._wanted() else "idle" if self._enabled else "disabled") if self._work is not None else "inactive"
        files = {"weights SHA-256": estimator.weights_sha256, "prior SHA-256": estimator.prior_sha256}
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


class Work:
    """What runs while the node is active: inputs, queue and the worker that empties it."""

    def __init__(self, node: LiftingNode, estimator: SkeletonLifter, outputs: Outputs):
        config = node.parameters.value
        self._node, self._estimator, self._outputs = node, estimator, outputs
        self._tracker = Tracker(config.tracking)
        self._waiting: deque[tuple[Header, np.ndarray | None]] = deque()
        """Header and image of each frame that the tracker keeps, in its order."""
        self._listener = TransformListener(node) if config.tf.target_frame or config.tf.gravity_frame else None
        self._queue, self._wanted, self._busy = NewestQueue(config.queue), False, Lock()
        self.inputs = Inputs(node, config, self._take)
        self._thread = Thread(target=self._run, name="worker", daemon=True)
        self._thread.start()

    def follow(self, wanted: bool) -> None:
        """Subscribe where there are publishers, if `wanted`; else to nothing, and nothing is published once this has returned."""
        self.inputs.follow(wanted)
        if self._listener is not None:
            self._listener.follow(wanted)
        if wanted == self._wanted:
            return
        self._wanted = wanted
        if not wanted:
            self._queue.clear()
            with self._busy:  # waits for the frame that is being worked on
                self._clear()

    def _clear(self) -> None:
        try:
            self._outputs.clear()
        except Exception:  # rclpy's own kinds are private
            if self._node.context.ok():  # else the node is being ended, and cannot publish
                raise

    def close(self) -> None:
        """End everything; waits for the frame that is being worked on."""
        self.follow(False)
        self._queue.close()
        self._thread.join()

    def _take(self, job: Job) -> None:
        self._node.tally.received()
        if self._queue.put(job):
            self._node.dropped("a newer one came")

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            with self._busy:
                if self._wanted:  # else it was given up while it was on its way here
                    self.do(job)

    def do(self, job: Job) -> None:
        """Answer a message; whatever is wrong with it is told and counted, and does not end the stream."""
        try:
            self._process(job)
        except ConversionError as error:
            self._node.dropped("not usable", f"{self._node.parameters.value.input} not used: {error}")
        except Exception as error:
            if rclpy.ok(context=self._node.context):  # else the node is being ended, and cannot publish
                kind, text = type(error).__name__, (str(error).splitlines() or [""])[0]
                self._node.dropped(f"failed ({kind})", f"frame failed: {kind}: {text}")

    def _process(self, job: Job) -> None:
        config, header, clock = self._node.parameters.value, job.message.header, Clock()
        persons, image = self._persons(job, config, clock)
        frame_3d, stamp = "", stamp_ns(job.message)
        if config.tf.target_frame and config.tf.target_frame != header.frame_id:
            try:
                transform = self._listener.lookup(config.tf.target_frame, header.frame_id, stamp, config.tf.timeout_s)
            except TransformError as error:
                self._node.dropped("no transform", f"tf.target_frame: {error}")
                self._outputs.publish_2d(persons, header, config, image)
                return
            persons, frame_3d = [in_frame(person, transform) for person in persons], config.tf.target_frame
            clock.mark("transform")
        due = self._tracked(stamp, persons, header, image)
        clock.mark("track")
        for frame, known, picture in due:
            self._outputs.publish(frame.persons, known, config, picture, frame_3d)
        clock.mark("publish")
        now = self._node.get_clock().now().nanoseconds
        for frame, *_ in due:
            self._node.tally.answered((now - frame.stamp_ns) / 1e9, clock.seconds, len(frame.persons))

    def _tracked(
        self, stamp: int, persons: Sequence[Person], header: Header, image: np.ndarray | None
    ) -> list[tuple[TrackedFrame, Header, np.ndarray | None]]:
        """The frames that are due, each with its own header and image. By order, not by stamp: two images may have the same."""
        try:
            due = self._tracker.update(stamp, persons)
        except Exception:  # what it keeps by now is not known
            self._tracker.reset()
            self._waiting.clear()
            raise
        self._waiting.append((header, image))
        return [(frame, *self._waiting.popleft()) for frame in due]

    def _persons(self, job: Job, config: NodeConfig, clock: Clock) -> tuple[Sequence[Person], np.ndarray | None]:
        """Persons of the message, in its own frame, and the image that they were found in."""
        message, up = job.message, self._up(job.message.header, config)
        self._estimator.retune(config.estimator)
        self._outputs.tell(config, self._estimator)
        if config.input == "keypoints":
            skeletons = message_to_skeletons(message)
            clock.mark("convert")
            persons = self._estimator.lift(skeletons, self._camera(message, None, config), up)
            clock.mark("lift")
            return persons, None
        image = message_to_rgb(message)
        depth = self._depth(job.depth, config)
        clock.mark("convert")
        estimate = self._estimator.estimate(image, self._camera(message, image.shape[1::-1], config), up, depth)
        clock.take(estimate.seconds)
        return estimate.persons, image

    def _depth(self, message: Image | None, config: NodeConfig) -> np.ndarray | None:
        """(H, W) metres; None, and a warning, where it is wanted and there is none that can be used: the image goes on without."""
        if message is None:
            if config.depth.enabled:
                self._node.warn("depth: none came with the image")
            return None
        try:
            return depth_to_metres(message)
        except ConversionError as error:
            self._node.dropped("depth not usable", f"depth not used: {error}")
            return None

    def _camera(self, message: Any, size: tuple[int, int] | None, config: NodeConfig) -> Camera | None:
        """The camera of an image of `size` (W, H), or of the one in camera_info."""
        return usable_camera(lambda: self.inputs.camera_info(stamp_ns(message)), size, config.rectified, self._node.warn)

    def _up(self, header: Header, config: NodeConfig) -> np.ndarray:
        """(3,) up in the message's frame."""
        if config.tf.gravity_frame:
            try:
                return self._listener.lookup(header.frame_id, config.tf.gravity_frame, header_ns(header), config.tf.timeout_s)[:3, 2]
            except TransformError as error:
                self._node.warn(f"tf.gravity_frame: {error}; the parameter `up` is used")
        return np.array(config.up)
