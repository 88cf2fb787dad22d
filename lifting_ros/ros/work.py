# SPDX-License-Identifier: Apache-2.0
"""What runs while the node `lifting` is active: the queue that the executor fills, and the worker
that empties it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import rclpy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from lifting_ros.estimator import Clock, SkeletonLifter
from lifting_ros.geometry.body_frame import in_frame
from lifting_ros.geometry.camera import Camera
from lifting_ros.geometry.transform_tree import TransformError
from lifting_ros.ros.calibration import usable_camera
from lifting_ros.ros.conversions import ConversionError, depth_to_metres, header_ns, message_to_rgb
from lifting_ros.ros.inputs import Inputs, Job, stamp_ns
from lifting_ros.ros.outputs import Outputs
from lifting_ros.ros.parameters import NodeConfig
from lifting_ros.ros.runtime import NewestQueue
from lifting_ros.ros.skeleton_messages import message_to_skeletons
from lifting_ros.ros.transforms import TransformListener
from lifting_ros.tracking.tracking import TrackedFrame, Tracker
from lifting_ros.types import Person

if TYPE_CHECKING:
    from lifting_ros.ros.lifting_node import LiftingNode


class Work:
    """Inputs, queue and the worker that empties it; made when the node is activated, closed when it
    no longer is."""

    def __init__(self, node: LiftingNode, estimator: SkeletonLifter, outputs: Outputs):
        config = node.parameters.value
        self._node, self._estimator, self._outputs = node, estimator, outputs
        self._tracker = Tracker(config.tracking)
        self._waiting: deque[tuple[Header, np.ndarray | None]] = deque()
        """Header and image of each frame that the tracker keeps, in its order."""
        self._listener = (
            TransformListener(node) if config.tf.target_frame or config.tf.gravity_frame else None
        )
        self._queue, self._wanted, self._busy = NewestQueue(config.queue), False, Lock()
        self.inputs = Inputs(node, config, self._take)
        self._thread = Thread(target=self._run, name="worker", daemon=True)
        self._thread.start()

    def follow(self, wanted: bool) -> None:
        """Subscribe where there are publishers, if `wanted`; else to nothing, and nothing is
        published once this has returned."""
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
        """Answer a message; whatever is wrong with it is told and counted, and does not end the
        stream."""
        try:
            self._process(job)
        except ConversionError as error:
            self._node.dropped(
                "not usable", f"{self._node.parameters.value.input} not used: {error}"
            )
        except Exception as error:
            if rclpy.ok(
                context=self._node.context
            ):  # else the node is being ended, and cannot publish
                kind, text = type(error).__name__, (str(error).splitlines() or [""])[0]
                self._node.dropped(f"failed ({kind})", f"frame failed: {kind}: {text}")

    def _process(self, job: Job) -> None:
        config, header, clock = self._node.parameters.value, job.message.header, Clock()
        persons, image = self._persons(job, config, clock)
        frame_3d, stamp = "", stamp_ns(job.message)
        if config.tf.target_frame and config.tf.target_frame != header.frame_id:
            try:
                transform = self._listener.lookup(
                    config.tf.target_frame, header.frame_id, stamp, config.tf.timeout_s
                )
            except TransformError as error:
                self._node.dropped("no transform", f"tf.target_frame: {error}")
                self._outputs.publish_2d(persons, header, config, image)
                return
            persons, frame_3d = (
                [in_frame(person, transform) for person in persons],
                config.tf.target_frame,
            )
            clock.mark("transform")
        due = self._tracked(stamp, persons, header, image)
        clock.mark("track")
        for frame, known, picture in due:
            self._outputs.publish(frame.persons, known, config, picture, frame_3d)
        clock.mark("publish")
        now = self._node.get_clock().now().nanoseconds
        for frame, *_ in due:
            self._node.tally.answered(
                (now - frame.stamp_ns) / 1e9, clock.seconds, len(frame.persons)
            )

    def _tracked(
        self, stamp: int, persons: Sequence[Person], header: Header, image: np.ndarray | None
    ) -> list[tuple[TrackedFrame, Header, np.ndarray | None]]:
        """The frames that are due, each with its own header and image. By order, not by stamp: two
        images may have the same."""
        try:
            due = self._tracker.update(stamp, persons)
        except Exception:  # what it keeps by now is not known
            self._tracker.reset()
            self._waiting.clear()
            raise
        self._waiting.append((header, image))
        return [(frame, *self._waiting.popleft()) for frame in due]

    def _persons(
        self, job: Job, config: NodeConfig, clock: Clock
    ) -> tuple[Sequence[Person], np.ndarray | None]:
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
        estimate = self._estimator.estimate(
            image, self._camera(message, image.shape[1::-1], config), up, depth
        )
        clock.take(estimate.seconds)
        return estimate.persons, image

    def _depth(self, message: Image | None, config: NodeConfig) -> np.ndarray | None:
        """(H, W) metres; None, and a warning, where it is wanted and there is none that can be
        used: the image goes on without."""
        if message is None:
            if config.depth.enabled:
                self._node.warn("depth: none came with the image")
            return None
        try:
            return depth_to_metres(message)
        except ConversionError as error:
            self._node.dropped("depth not usable", f"depth not used: {error}")
            return None

    def _camera(
        self, message: Any, size: tuple[int, int] | None, config: NodeConfig
    ) -> Camera | None:
        """The camera of an image of `size` (W, H), or of the one in camera_info."""
        return usable_camera(
            lambda: self.inputs.camera_info(stamp_ns(message)),
            size,
            config.rectified,
            self._node.warn,
        )

    def _up(self, header: Header, config: NodeConfig) -> np.ndarray:
        """(3,) up in the message's frame."""
        if config.tf.gravity_frame:
            try:
                return self._listener.lookup(
                    header.frame_id, config.tf.gravity_frame, header_ns(header), config.tf.timeout_s
                )[:3, 2]
            except TransformError as error:
                self._node.warn(f"tf.gravity_frame: {error}; the parameter `up` is used")
        return np.array(config.up)
