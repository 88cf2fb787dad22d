# SPDX-License-Identifier: Apache-2.0
"""TF: a listener for lookups, and the frames of bodies that the node publishes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.clock import JumpHandle, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from lifting_ros.geometry.body_frame import body_frame, transform_points
from lifting_ros.geometry.transform_tree import TransformError, TransformTree
from lifting_ros.ros.bridge import quaternion_xyzw
from lifting_ros.skeleton import JOINT_NAMES
from lifting_ros.types import Person


class TransformListener:
    """Listens to /tf and /tf_static while subscribed. `lookup` blocks: call it from another thread
    than the executor's."""

    def __init__(self, node: Node):
        self._node = node
        self._tree = TransformTree()
        self._changed = threading.Condition()
        self._subscriptions: list[Subscription] = []
        self._jumps: JumpHandle | None = None

    def subscribe_if(self, wanted: bool) -> None:
        """Subscribe if wanted; else unsubscribe and forget all transforms, because those from
        before a gap must not be interpolated with those from after it."""
        if wanted and not self._subscriptions:
            latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
            overrides = {"qos_overriding_options": QoSOverridingOptions.with_default_policies()}
            for topic, qos in (("/tf", 100), ("/tf_static", latched)):
                take = partial(self._add, static=topic == "/tf_static")
                self._subscriptions.append(
                    self._node.create_subscription(TFMessage, topic, take, qos, **overrides)
                )
            back = JumpThreshold(
                min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False
            )
            self._jumps = self._node.get_clock().create_jump_callback(
                back, post_callback=self._on_jump
            )

        if not wanted and self._subscriptions:
            if self._jumps is not None:
                self._jumps.unregister()
                self._jumps = None
            for subscription in self._subscriptions:
                self._node.destroy_subscription(subscription)

            self._subscriptions = []
            with self._changed:
                self._tree = TransformTree()

    def _on_jump(self, jump: TimeJump) -> None:
        """Forget moving transforms when simulated time jumps back: they belong to another run."""
        with self._changed:
            self._tree.forget_moving()

    def _add(self, message: TFMessage, static: bool) -> None:
        with self._changed:
            for one in message.transforms:
                self._tree.add_message(one, static)

            self._changed.notify_all()

    def lookup(self, target: str, source: str, stamp: int, timeout_s: float) -> np.ndarray:
        """Transform (4, 4) from `source` to `target` at a stamp (ns).

        Waits up to `timeout_s` for it, then raises TransformError in one line.
        """
        end = time.monotonic() + timeout_s

        with self._changed:
            while True:
                try:
                    return self._tree.lookup(target, source, stamp)
                except TransformError:
                    left = end - time.monotonic()
                    if left <= 0 or not self._changed.wait(left):
                        raise


class BodyFrames:
    """Frames `<prefix>body_<n>` at the pelvis, x forward, z up, and `<prefix><joint>_<n>` in it,
    with the same orientation.

    TF never forgets a frame, so n is not the id of a person, which grows without limit, but one of
    a few numbers. A person keeps a number while tracked, and for `keep_s` out of sight unless no
    other number is left; later another person gets it. With `hri` a body has an id as in REP 155,
    <prefix>p<n>, and the names of its frames end with that id.
    """

    def __init__(self, bodies: int, hri: bool = False, keep_s: float = 0.0):
        self._bodies = bodies
        self._hri = hri
        self._keep_ns = round(keep_s * 1e9)
        self._number: dict[int, int] = {}
        self._seen_ns: dict[int, int] = {}
        """Stamp of the last frame with each person that has a number; the last person seen is the
        last item."""

    def build(self, persons: Sequence[Person], header: Header, prefix: str) -> TFMessage:
        """Transforms of the tracked persons that have a number and are placed in metres."""
        message = TFMessage()
        for person in persons:
            frame = body_frame(person.skeleton_3d)
            number = self._number.get(person.id)
            if number is None or frame is None or not person.skeleton_3d.metric:
                continue

            names = self._names(number, prefix)
            message.transforms += _of_body(person, frame, header, names)

        return message

    def assign(self, persons: Iterable[Person], stamp_ns: int) -> None:
        """Give the persons of a frame their numbers."""
        ids = [person.id for person in persons if person.id]
        away = [
            one
            for one, seen in self._seen_ns.items()
            if one not in ids and 0 <= stamp_ns - seen <= self._keep_ns
        ]
        numbers = {one: number for one, number in self._number.items() if one in ids or one in away}
        free = [n for n in range(1, self._bodies + 1) if n not in numbers.values()]

        for one in ids:
            if one not in numbers and not free and away:
                longest_away = away.pop(0)
                free = [numbers.pop(longest_away)]
            if one not in numbers and free:
                numbers[one] = free.pop(0)

        self._seen_ns = {one: self._seen_ns[one] for one in away} | {
            one: stamp_ns for one in ids if one in numbers
        }
        self._number = numbers

    def hri_ids(self, prefix: str) -> dict[int, str]:
        """Ids as in REP 155, by track id."""
        return {one: f"{prefix}p{number}" for one, number in self._number.items()}

    def namers(self, prefix: str) -> dict[int, Callable[[str], str]]:
        """Functions from a part to the name of its frame, by track id."""
        return {one: self._names(number, prefix) for one, number in self._number.items()}

    def _names(self, number: int, prefix: str) -> Callable[[str], str]:
        return lambda part: f"{part}_{prefix}p{number}" if self._hri else f"{prefix}{part}_{number}"


def _of_body(
    person: Person, frame: np.ndarray, header: Header, name: Callable[[str], str]
) -> list[TransformStamped]:
    body = name("body")
    transforms = [_stamped(header, body, frame[:3, 3], quaternion_xyzw(frame[:3, :3]))]

    inside = Header(stamp=header.stamp, frame_id=body)
    joints_in_body = transform_points(person.skeleton_3d.joints_m, np.linalg.inv(frame))
    for joint, place in zip(JOINT_NAMES, joints_in_body):
        if np.isfinite(place).all():
            transforms.append(_stamped(inside, name(joint), place, (0.0, 0.0, 0.0, 1.0)))

    return transforms


def _stamped(
    header: Header, child: str, place: np.ndarray, quaternion: Sequence[float]
) -> TransformStamped:
    out = TransformStamped(header=header, child_frame_id=child)
    t = out.transform.translation
    q = out.transform.rotation
    t.x, t.y, t.z = map(float, place)
    q.x, q.y, q.z, q.w = map(float, quaternion)

    return out
