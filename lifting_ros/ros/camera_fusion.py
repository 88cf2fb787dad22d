# SPDX-License-Identifier: Apache-2.0
"""The node `lifting_fusion` as a class; `fusion_node` is its entry point.

The executor's thread does everything: it pairs the messages of a camera, fuses what is due and
publishes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from rclpy.lifecycle import LifecycleNode
from rclpy.time import Time
from rclpy.timer import Timer
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from lifting_ros.geometry.camera import CameraError
from lifting_ros.geometry.transform_tree import TransformError
from lifting_ros.io.bag_poses import frame_of
from lifting_ros.io.camera_info import camera_of_info
from lifting_ros.io.pose_table import PoseFrame
from lifting_ros.msg import Skeleton2DArray, Skeleton3DArray
from lifting_ros.multiview.live import FusedFrame, LiveFusion
from lifting_ros.multiview.sighting import CameraFrame, View
from lifting_ros.ros.conversions import first_line, persons_to_array_3d
from lifting_ros.ros.diagnostics import Diagnostics, process_values
from lifting_ros.ros.fusion_diagnostics import FusionTally
from lifting_ros.ros.fusion_parameters import FusionNodeConfig, check_fusion
from lifting_ros.ros.inputs import Channel, stamp_ns
from lifting_ros.ros.managed_node import ManagedNode
from lifting_ros.ros.markers import MarkerBuilder
from lifting_ros.ros.runtime import STEADY, Throttle
from lifting_ros.ros.transforms import TransformListener

_POLL_PERIOD_S = 0.1
"""Period at which publishers are looked for."""

_SILENCE_S = 1.0
"""After this time without an answer the markers are deleted: the cameras have fallen silent. After
it, but not before `warn_period_s`, one that sends nothing is named."""

_WAITING = 10
"""Messages of a camera that wait for the other one of the same stamp."""

_TRANSFORM_S = 0.5
"""Longest time for which a frame waits for its transforms: TF often comes later than skeletons."""

_WITHOUT_TRANSFORM = 20
"""Frames of a camera that wait for their transforms."""


class FusedCamera:
    """The topics of one camera. `take` gets each Skeleton3DArray with the Skeleton2DArray of the
    same stamp and the last CameraInfo."""

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        config: FusionNodeConfig,
        take: Callable[[FusedCamera, Skeleton3DArray, Skeleton2DArray], None],
    ):
        self.name = name
        self.info: CameraInfo | None = None
        self.heard_s = time.monotonic()
        """Monotonic time of the last pair, or of the beginning."""
        self.waiting: deque[tuple[float, PoseFrame]] = deque()
        """Frames without transforms, the oldest first, and the monotonic time when each came."""
        self._take = take
        self._flat: dict[int, Skeleton2DArray] = {}
        self._lifted: dict[int, Skeleton3DArray] = {}

        namespace = f"{name}/{config.skeletons}"
        self._channels = [
            Channel(node, kind, topic, on_message, config.qos)
            for kind, topic, on_message in (
                (Skeleton2DArray, f"{namespace}/skeletons_2d", self._on_2d),
                (Skeleton3DArray, f"{namespace}/skeletons_3d", self._on_3d),
                (CameraInfo, f"{name}/camera_info", self._on_info),
            )
        ]

        self.topics = [channel.topic for channel in self._channels]

    def subscribe_if(self, wanted: bool) -> None:
        """Subscribe where there are publishers; or stop, and forget what was received."""
        for channel in self._channels:
            channel.subscribe_if(wanted)
        if not wanted:
            self.info = None
            self._flat.clear()
            self._lifted.clear()
            self.waiting.clear()

    def _on_info(self, message: CameraInfo) -> None:
        self.info = message

    def _on_2d(self, message: Skeleton2DArray) -> None:
        self._flat[stamp_ns(message)] = message
        self._match(stamp_ns(message))

    def _on_3d(self, message: Skeleton3DArray) -> None:
        self._lifted[stamp_ns(message)] = message
        self._match(stamp_ns(message))

    def _match(self, stamp: int) -> None:
        if stamp in self._flat and stamp in self._lifted:
            self.heard_s = time.monotonic()
            self._take(self, self._lifted.pop(stamp), self._flat.pop(stamp))

        for waiting in (self._flat, self._lifted):
            while len(waiting) > _WAITING:
                del waiting[next(iter(waiting))]


class FusionNode(ManagedNode):
    """Skeletons of several cameras in, one skeleton a person out.

    The constructor raises ConfigError in one line for an invalid parameter.
    """

    def __init__(self, **node_options):
        super().__init__("lifting_fusion", FusionNodeConfig, check_fusion, **node_options)
        self._skeletons = self.create_lifecycle_publisher(Skeleton3DArray, "~/skeletons_3d", 10)
        self._markers = self.create_lifecycle_publisher(MarkerArray, "~/markers", 10)
        self._warn = Throttle(self._log, lambda: self.config.warn_period_s)
        self._builder = MarkerBuilder(self.config.markers)
        self._tally = FusionTally()
        self._diagnostics = Diagnostics(self, self._statuses)
        self._published_s = 0.0
        """Monotonic time of the last answer."""

        # Made when activated
        self._cameras: list[FusedCamera] = []
        self._fusion: LiveFusion | None = None
        self._transforms: TransformListener | None = None
        self._timer: Timer | None = None

    @property
    def config(self) -> FusionNodeConfig:
        """The parameters as they are now."""
        return self.parameters.value

    def describe(self) -> str:
        """What the node subscribes to, and in which frame it fuses."""
        topics = ", ".join(camera.topics[1] for camera in self._cameras)
        return f"skeletons from {topics}, fused in {self.config.frame}"

    def begin(self) -> None:
        """Subscribe."""
        config = self.config
        self._builder.configure(config.markers)
        self._fusion = LiveFusion(config.fusion, config.rate_hz, config.delay_s, config.smooth)
        self._cameras = [FusedCamera(self, name, config, self._on_frame) for name in config.cameras]
        self._transforms = TransformListener(self)
        self._transforms.subscribe_if(True)
        self._timer = self.create_timer(_POLL_PERIOD_S, self._poll, clock=STEADY)
        self._poll()

    def close(self) -> None:
        """End the subscriptions, if any, also those of an activation that failed halfway."""
        if self._timer is not None:
            self.destroy_timer(self._timer)
            self._timer = None
        for camera in self._cameras:
            camera.subscribe_if(False)
        if self._transforms is not None:
            self._transforms.subscribe_if(False)
            self._transforms = None

        self._cameras = []
        self._fusion = None
        if self.context.ok():
            self._clear_markers()

    def _poll(self) -> None:
        """Follow the publishers and look for late transforms; name cameras that are silent, and
        remove what is displayed of them."""
        now = time.monotonic()
        patience_s = max(_SILENCE_S, self.config.warn_period_s)
        for camera in self._cameras:
            camera.subscribe_if(True)
            with self._reporting(camera):
                self._add_frames(camera)
            if now - camera.heard_s > patience_s:
                topics = " and ".join(camera.topics[:2])
                self._warn(f"{camera.name}: skeletons: nothing comes on {topics}")

        if now - self._published_s > _SILENCE_S:
            self._clear_markers()

    def _clear_markers(self) -> None:
        message = self._builder.clear()
        if message.markers:
            self._markers.publish(message)

    def _on_frame(
        self, camera: FusedCamera, lifted: Skeleton3DArray, flat: Skeleton2DArray
    ) -> None:
        """Add the frame of a camera, or let it wait for its transforms."""
        self._tally.received(camera.name)
        with self._reporting(camera):
            frame = frame_of(stamp_ns(lifted), lifted, flat)
            camera.waiting.append((time.monotonic(), frame))
            self._add_frames(camera)

    @contextmanager
    def _reporting(self, camera: FusedCamera) -> Iterator[None]:
        """Report any failure with the frames of a camera, and give them up; the next frame is not
        affected."""
        try:
            yield
        except Exception as error:
            camera.waiting.clear()
            if self.context.ok():
                kind = type(error).__name__
                text = f"frame failed: {kind}: {first_line(error)}"
                self._drop(camera.name, f"failed ({kind})", text)

    def _add_frames(self, camera: FusedCamera) -> None:
        """Add the frames of a camera whose transforms are there, each in its turn.

        Those before such a frame are given up, since frames are fused in order; so are those that
        are too old or too many.
        """
        now = time.monotonic()
        for came_s, frame in tuple(camera.waiting):
            try:
                placed = self._placed(camera, frame)
            except TransformError as error:
                is_old = now - came_s > _TRANSFORM_S
                if is_old or len(camera.waiting) > _WITHOUT_TRANSFORM:
                    camera.waiting.popleft()
                    text = f"transform: {error}; its skeletons are not used"
                    self._drop(camera.name, "no transform", text)
                continue

            while camera.waiting.popleft()[1] is not frame:
                pass
            if placed is not None:
                self._add(placed)

    def _add(self, frame: CameraFrame) -> None:
        """Add a frame in the common frame, and publish what is due then."""
        start = time.perf_counter()
        fused = self._fusion.add(frame)
        seconds = time.perf_counter() - start
        if fused is not None:
            self._publish(fused)
            age_ns = self.get_clock().now().nanoseconds - fused.stamp_ns
            self._tally.fused(fused, age_ns / 1e9, seconds)

        lag_s = self._fusion.lag_s(frame)
        if lag_s:
            text = f"stamps: {lag_s:.2f} s behind another camera's; its skeletons are not used"
            self._drop(frame.camera, "late", text)

    def _placed(self, camera: FusedCamera, frame: PoseFrame) -> CameraFrame | None:
        """A frame of a camera in the common frame; None, and a warning, without a calibration.
        TransformError where the place is not known."""
        if camera.info is None:
            text = "camera_info: none received; its skeletons are not used"
            self._drop(camera.name, "no camera_info", text)
            return None

        try:
            model = camera_of_info(camera.info, rectified=self.config.rectified)
        except CameraError as error:
            text = f"camera_info: {error}; its skeletons are not used"
            self._drop(camera.name, "camera_info not usable", text)
            return None

        pose = self._lookup(frame.image_frame_id, frame.stamp_ns)
        to_common = self._lookup(frame.frame_id, frame.stamp_ns)
        view = View(model, pose)
        return CameraFrame.of(camera.name, view, frame.stamp_ns, frame.persons, to_common)

    def _lookup(self, frame: str, stamp: int):
        return self._transforms.lookup(self.config.frame, frame, stamp, timeout_s=0.0)

    def _publish(self, fused: FusedFrame) -> None:
        self._published_s = time.monotonic()
        stamp = Time(nanoseconds=fused.stamp_ns).to_msg()
        header = Header(stamp=stamp, frame_id=self.config.frame)
        self._skeletons.publish(persons_to_array_3d(fused.persons, header))
        if self._markers.get_subscription_count():
            self._builder.configure(self.config.markers)
            self._markers.publish(self._builder.build(fused.persons, header))

    def _drop(self, camera: str, cause: str, text: str) -> None:
        """Count a frame of a camera that is not used, and warn."""
        self._tally.dropped(camera, cause)
        self._warn(f"{camera}: {text}")

    def _statuses(self) -> list[DiagnosticStatus]:
        cameras = [camera.name for camera in self._cameras]
        least = self.config.fusion.min_keypoint_confidence
        status = self._tally.status(self.get_fully_qualified_name()[1:], cameras, least)
        for key, value in process_values().items():
            status.values.append(KeyValue(key=key, value=value))
        return [status]

    def _log(self, text: str) -> None:
        if self.context.ok():
            self.get_logger().warning(text)
