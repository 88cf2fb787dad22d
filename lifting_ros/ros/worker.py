# SPDX-License-Identifier: Apache-2.0
"""The worker of one camera: a queue of messages and the thread that answers them.

The executor's thread puts messages into the queue; the worker estimates, tracks and publishes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock, Thread
from typing import Any, NamedTuple

import numpy as np
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from lifting_ros.estimator import Clock
from lifting_ros.geometry.body_frame import in_frame
from lifting_ros.geometry.camera import Camera
from lifting_ros.geometry.transform_tree import TransformError, plain_frame
from lifting_ros.io.brightness_range import BrightnessRange
from lifting_ros.ros.calibration import usable_camera
from lifting_ros.ros.conversions import ConversionError, depth_to_metres, header_ns, message_to_rgb
from lifting_ros.ros.diagnostics import Tally
from lifting_ros.ros.inputs import Job, stamp_ns
from lifting_ros.ros.outputs import Outputs
from lifting_ros.ros.parameters import NodeConfig
from lifting_ros.ros.runtime import NewestQueue
from lifting_ros.ros.shared_estimator import SharedEstimator
from lifting_ros.ros.skeleton_messages import message_to_skeletons
from lifting_ros.ros.transforms import TransformListener
from lifting_ros.tracking.tracking import TrackedFrame, Tracker
from lifting_ros.types import Person, Skeleton2D
from lifting_ros.video import VideoEstimator, detect_always


@dataclass(frozen=True)
class WorkerContext:
    """What the worker asks of the node around it. All are called from the worker's thread."""

    config: Callable[[], NodeConfig]
    """The parameters as they are now."""
    camera_info: Callable[[int], CameraInfo | None]
    """The camera_info of a stamp (ns), else the newest; None before any has arrived."""
    transforms: TransformListener | None
    """None when no parameter names a TF frame."""
    now_ns: Callable[[], int]
    """The node's clock."""
    can_publish: Callable[[], bool]
    """False once the node's context is shut down."""
    warn: Callable[[str], None]
    """Logs a warning, throttled."""


class _Pending(NamedTuple):
    """What is published beside the persons of a frame that the tracker still holds."""

    header: Header
    image: np.ndarray | None = None
    rejected: tuple[Skeleton2D, ...] | None = None
    """`Estimate.rejected`; None where the detector did not run, so that somebody new may be
    missing."""


class Worker:
    """Answers queued messages in a thread of its own; paused until `resume` is called."""

    def __init__(
        self,
        shared: SharedEstimator,
        tracker: Tracker,
        outputs: Outputs,
        tally: Tally,
        context: WorkerContext,
    ):
        self._shared = shared
        self._estimator = shared.estimator
        """Used in a turn of the shared estimator alone."""
        self._tracker = tracker
        self._video = VideoEstimator(shared.estimator, tracker)
        self._outputs = outputs
        self._tally = tally
        self._context = context

        self._brightness = BrightnessRange(context.warn)
        self._pending: deque[_Pending] = deque()
        """One entry for each frame that the tracker holds, in its order."""
        self._queue = NewestQueue(context.config().queue)

        self._running = False
        self._is_showing = False
        """Whether something was published since the outputs were cleared."""
        self._heard_s = 0.0
        """Monotonic time at which the last usable message was answered."""

        self._busy = Lock()
        """Held while a message is being answered."""
        self._thread = Thread(target=self._run, name="worker", daemon=True)
        self._thread.start()

    def enqueue(self, job: Job) -> None:
        """Add a message; never blocks. A full queue drops its oldest message."""
        self._tally.received()
        if self._queue.put(job):
            self._tally.dropped("a newer one came")

    def resume(self) -> None:
        """Answer messages from now on."""
        self._running = True

    def pause(self) -> None:
        """Stop answering: drop what is queued, wait for the current message, clear the outputs.

        Nothing is published after this returns. Where nothing can be published any more, because
        the process was told to end, the current message is given up instead.
        """
        if not self._running:
            return

        self._running = False
        self._queue.clear()
        if not self._context.can_publish():
            return

        with self._busy:
            self._clear_outputs()

    def clear_if_silent(self, silence_s: float) -> None:
        """Clear the outputs, once, if no message has come for so long; 0: never. Does not block."""
        if not (silence_s and self._is_showing and self._running):
            return
        if not self._busy.acquire(blocking=False):
            return

        try:
            if time.monotonic() - self._heard_s > silence_s:
                self._clear_outputs()
        finally:
            self._busy.release()

    def close(self) -> None:
        """Pause and end the thread; after the end of the context, do not wait for it."""
        self.pause()
        self._queue.close()
        if self._context.can_publish():
            self._thread.join()
            self._video.close()

    def _clear_outputs(self) -> None:
        self._is_showing = False
        try:
            self._outputs.clear()
        except Exception:  # rclpy's exception types are private
            if self._context.can_publish():
                raise

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            with self._busy:
                # The worker may have been paused between `get` and here.
                if self._running:
                    self.answer(job)

    def answer(self, job: Job) -> None:
        """Estimate and publish. Any failure is counted and reported; the next message is not
        affected."""
        try:
            self._answer(job)
        except ConversionError as error:
            kind = self._context.config().input
            self._drop("not usable", f"{kind} not used: {error}")
        except Exception as error:
            if self._context.can_publish():
                kind = type(error).__name__
                lines = str(error).splitlines() or [""]

                self._drop(f"failed ({kind})", f"frame failed: {kind}: {lines[0]}")

    def _answer(self, job: Job) -> None:
        config = self._context.config()
        if self._is_late(job, config):
            return

        # Waits for a transform, which is not for the others to wait for
        up = self._up(job.message.header, config)
        with self._shared.turn() as waited:
            if waited and not config.tf.gravity_frame:
                job = self._newest(job, config)
            self._is_showing = True
            if not self._shared.can_lift:
                self._answer_in_2d(job, config)
                return

            clock = Clock()
            persons, pending = self._estimate(job, up, config, clock)

        self._track_and_publish(persons, pending, config, clock)
        self._heard_s = time.monotonic()

    def _answer_in_2d(self, job: Job, config: NodeConfig) -> None:
        """Publish what the image shows in 2D, while what 3D requires is being compiled."""
        image = message_to_rgb(job.message, self._brightness)
        estimate = self._estimator.estimate_2d(image)
        self._tally.estimated(estimate.detected)
        self._drop("in 2D alone", "3D: numerical loops are still being compiled")
        self._outputs.publish_2d(estimate.persons, job.message.header, config, image)
        self._heard_s = time.monotonic()

    def _newest(self, job: Job, config: NodeConfig) -> Job:
        """The message to answer after the wait for a turn: the oldest in the queue where that has
        become full, else `job`."""
        newer = self._queue.take_if_full()
        if newer is None or self._is_late(newer, config):
            return job

        self._tally.dropped("a newer one came")
        return newer

    def _is_late(self, job: Job, config: NodeConfig) -> bool:
        """Whether the message is late, which is counted and reported."""
        stamp = stamp_ns(job.message)
        if not self._tracker.drop_if_late(stamp):
            return False

        self._drop(
            "late or repeated",
            f"{config.input} not used: late or repeated: its stamp, {stamp / 1e9:.3f} s,"
            " is not later than that of the one before",
        )

        return True

    def _track_and_publish(
        self,
        persons: Sequence[Person],
        pending: _Pending,
        config: NodeConfig,
        clock: Clock,
    ) -> None:
        header = pending.header
        stamp = header_ns(header)
        clock.restart()

        # Transform to the target frame
        frame_3d = ""
        target = plain_frame(config.tf.target_frame)
        if target and target != plain_frame(header.frame_id):
            frame_3d = target
            try:
                transform = self._context.transforms.lookup(
                    frame_3d, header.frame_id, stamp, config.tf.timeout_s
                )
            except TransformError as error:
                self._drop("no transform", f"tf.target_frame: {error}")
                self._outputs.publish_2d(persons, header, config, pending.image)
                return

            persons = [in_frame(person, transform) for person in persons]
            clock.mark("transform")

        # Track
        due = self._track(stamp, persons, pending)
        clock.mark("track")

        # Publish the frames that the tracker releases
        for frame, (header, image, rejected) in due:
            others = None if rejected is None else rejected + frame.unseen
            self._outputs.publish(frame.persons, header, config, image, frame_3d, others)

        clock.mark("publish")

        now = self._context.now_ns()
        for frame, _ in due:
            age_s = (now - frame.stamp_ns) / 1e9
            self._tally.answered(age_s, clock.seconds, len(frame.persons))

    def _track(
        self, stamp: int, persons: Sequence[Person], pending: _Pending
    ) -> list[tuple[TrackedFrame, _Pending]]:
        """The frames that are due, each with its own header and image.

        They are matched by order: two images may have the same stamp.
        """
        try:
            due = self._tracker.update(stamp, persons, pending.image)
        except Exception:
            # The tracker's state is unknown now.
            self._tracker.reset()
            self._pending.clear()
            raise

        self._pending.append(pending)
        return [(frame, self._pending.popleft()) for frame in due]

    def _estimate(
        self, job: Job, up: np.ndarray, config: NodeConfig, clock: Clock
    ) -> tuple[Sequence[Person], _Pending]:
        """The persons of a message, in its own frame, and what is published beside them."""
        message = job.message
        estimator = config.estimator
        if self._outputs.heads_are_hidden():
            estimator = detect_always(estimator)
        self._estimator.retune(estimator)
        self._outputs.publish_info_if_changed(config, self._estimator)

        if config.input == "keypoints":
            skeletons = message_to_skeletons(message)
            clock.mark("convert")
            camera = self._camera(message, None, config)
            persons = self._estimator.lift(skeletons, camera, up)
            clock.mark("lift")
            return persons, _Pending(message.header)

        image = message_to_rgb(message, self._brightness)
        depth = self._depth(job.depth, config)
        clock.mark("convert")
        camera = self._camera(message, image.shape[1::-1], config)
        estimate = self._video.estimate(stamp_ns(message), image, camera, up, depth)
        self._tally.estimated(estimate.detected)
        clock.take(estimate.seconds)
        rejected = estimate.rejected if estimate.detected else None
        return estimate.persons, _Pending(message.header, image, rejected)

    def _depth(self, message: Image | None, config: NodeConfig) -> np.ndarray | None:
        """Depth (H, W) in metres; None when there is none or it is not usable, which is reported
        where depth is enabled."""
        if message is None:
            if config.depth.enabled:
                self._context.warn("depth: none came with the image")

            return None

        try:
            return depth_to_metres(message)
        except ConversionError as error:
            self._drop("depth not usable", f"depth not used: {error}")
            return None

    def _camera(
        self, message: Any, size: tuple[int, int] | None, config: NodeConfig
    ) -> Camera | None:
        """The camera of an image of `size` (W, H); None for size: of the image that camera_info
        describes."""

        def latest_info() -> CameraInfo | None:
            return self._context.camera_info(stamp_ns(message))

        return usable_camera(latest_info, size, config.rectified, self._context.warn)

    def _up(self, header: Header, config: NodeConfig) -> np.ndarray:
        """The upward direction (3,) in the message's frame."""
        if config.tf.gravity_frame:
            try:
                transform = self._context.transforms.lookup(
                    header.frame_id, config.tf.gravity_frame, header_ns(header), config.tf.timeout_s
                )
            except TransformError as error:
                self._context.warn(f"tf.gravity_frame: {error}; the parameter `up` is used")
            else:
                return transform[:3, 2]

        return np.array(config.up)

    def _drop(self, cause: str, text: str) -> None:
        """Count a message that is not answered, or not in full, and warn."""
        self._tally.dropped(cause)
        self._context.warn(text)
