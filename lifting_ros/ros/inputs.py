# SPDX-License-Identifier: Apache-2.0
"""The node's subscriptions. They exist only while there are publishers and listeners, and use the
publishers' quality of service."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from lifting_ros.msg import ForeignKeypoints2DArray, Skeleton2DArray
from lifting_ros.ros.camera_names import CameraNames
from lifting_ros.ros.conversions import header_ns
from lifting_ros.ros.parameters import NodeConfig, QosConfig

_PATIENCE = 10
"""Looks at the graph, a tenth of a second apart, before a topic is used that was not asked for."""

_INFOS = 30
"""camera_info messages kept to find the one that belongs to an image."""

_DEPTHS = 10
"""Depth images kept to find the one that belongs to an image."""


class Job(NamedTuple):
    """A message to be answered."""

    message: Image | CompressedImage | Skeleton2DArray | ForeignKeypoints2DArray
    depth: Image | None = None
    """The depth image of the same moment; None if there is none or depth is disabled."""


def stamp_ns(message: Any) -> int:
    """Stamp, in ns, of a message with a header."""
    return header_ns(message.header)


class Channel:
    """A subscription that exists while there are publishers, and is remade when their quality of
    service changes."""

    def __init__(
        self, node: Node, kind: type, topic: str, take: Callable[[Any], None], qos: QosConfig
    ):
        self.topic = node.resolve_topic_name(topic)
        self._node = node
        self._kind = kind
        self.kind = kind.__name__
        self._name = topic
        self._type = type_name(kind)
        self._take = take
        self._qos = qos

        self._subscription: Subscription | None = None
        self._made_for: frozenset = frozenset()

    def types_there(self) -> set[str]:
        """The types of what is published on the topic."""
        return {info.topic_type for info in self._node.get_publishers_info_by_topic(self._name)}

    def has_publishers(self) -> bool:
        """Whether anybody publishes on the topic what it is made for."""
        return self._type in self.types_there()

    def subscribe_if(self, wanted: bool) -> None:
        """Subscribe, remake or destroy the subscription to match the publishers; destroy it if not
        wanted."""
        offers = frozenset()
        if wanted:
            profiles = (
                info.qos_profile
                for info in self._node.get_publishers_info_by_topic(self._name)
                if info.topic_type == self._type
            )
            offers = frozenset((profile.reliability, profile.durability) for profile in profiles)

        if offers == self._made_for:
            return

        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)

        self._subscription = self._subscribe() if offers else None
        self._made_for = offers

    def _subscribe(self) -> Subscription:
        profile = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=self._qos.depth,
            reliability=ReliabilityPolicy[self._qos.reliability.upper()],
            durability=DurabilityPolicy.BEST_AVAILABLE,
        )

        # Who offers less than the publishers before is not lost, as rclpy would warn: the next look
        # subscribes anew.
        events = SubscriptionEventCallbacks(
            use_default_callbacks=self._qos.reliability != "best_available"
        )
        overrides = QoSOverridingOptions.with_default_policies()

        return self._node.create_subscription(
            self._kind,
            self._name,
            self._take,
            profile,
            event_callbacks=events,
            qos_overriding_options=overrides,
        )


class NamedChannel(Channel):
    """A channel that says where its topic has had other types alone for a second."""

    def __init__(self, name: str, say: Callable[[str], None], *arguments: Any):
        """name: of the topic before it is remapped; say: called with one line; the rest as in
        `Channel`."""
        super().__init__(*arguments)
        self._said_as = name
        self._say = say
        self._foreign = 0
        """Looks in a row at which only others were there."""

    def subscribe_if(self, wanted: bool) -> None:
        """As `Channel.subscribe_if`; call it ten times a second."""
        super().subscribe_if(wanted)
        types = self.types_there() if wanted else set()
        if not types or self._type in types:
            self._foreign = 0
            return

        self._foreign += 1
        if self._foreign >= _PATIENCE:
            found = ", ".join(sorted(types))
            self._say(f"{self._said_as}: {self.topic} has {found}, expected {self._type}")


class ImageChannel:
    """The subscription to images: the first of some channels, or another one that has publishers
    where that has none for a second.

    say: called with one line where another one is used, or what is published is no image.
    """

    def __init__(self, channels: Sequence[Channel], say: Callable[[str], None]):
        self._channels = channels
        self._chosen = channels[0]
        self._say = say
        self._missing = 0
        """Looks in a row at which the first one had no publishers, and others had some."""

    @property
    def topic(self) -> str:
        """The topic in use."""
        return self._chosen.topic

    def subscribe_if(self, wanted: bool) -> None:
        """As `Channel.subscribe_if`; call it ten times a second."""
        if wanted:
            self._choose()
        for channel in self._channels:
            channel.subscribe_if(wanted and channel is self._chosen)

    def _choose(self) -> None:
        first = self._channels[0]
        there = [channel for channel in self._channels if channel.has_publishers()]
        foreign = set() if there else first.types_there()
        if first in there or not (there or foreign):
            self._chosen = first
            self._missing = 0
            return

        # A camera that starts announces its topics one after the other.
        self._missing += 1
        if self._missing < _PATIENCE or self._chosen in there[:1]:
            return
        if foreign:
            self._say(
                f"image: {first.topic} has {', '.join(sorted(foreign))}, expected"
                " sensor_msgs/msg/Image or sensor_msgs/msg/CompressedImage"
            )
            return

        self._chosen = there[0]
        self._say(
            f"image: nobody publishes {first.kind} on {first.topic}, so {self._chosen.kind} on"
            f" {self._chosen.topic} is used"
        )


class Inputs:
    """All subscriptions of one camera; calls `take` with a Job for each message to be answered."""

    def __init__(
        self,
        node: Node,
        names: CameraNames,
        config: NodeConfig,
        take: Callable[[Job], None],
        warn: Callable[[str], None],
    ):
        self._take = take
        self._pairs = DepthPairs(config.depth.tolerance_s) if config.depth.enabled else None
        self._infos: deque[CameraInfo] = deque(maxlen=_INFOS)

        def channel(kind: type, topic: str, callback: Callable[[Any], None]) -> Channel:
            own = names.beside(topic)
            return NamedChannel(topic, warn, node, kind, own, callback, config.qos)

        infos = channel(CameraInfo, "camera_info", self._on_camera_info)
        self.channels: list[Channel | ImageChannel]
        if config.input == "keypoints":
            self.channels = [
                channel(Skeleton2DArray, "keypoints", self._on_keypoints),
                channel(ForeignKeypoints2DArray, "foreign_keypoints", self._on_keypoints),
                infos,
            ]
            return

        images = [
            Channel(node, kind, topic, self._on_image, config.qos)
            for kind, topic in _image_topics(node, names.beside("image"), config)
        ]
        self.channels = [ImageChannel(images, warn), infos]
        if self._pairs:
            self.channels.append(channel(Image, "depth", self._on_depth))

    @property
    def main_topic(self) -> str:
        """The topic that is answered."""
        return self.channels[0].topic

    def subscribe_if(self, wanted: bool) -> None:
        """Subscribe to the topics that have publishers, if wanted; else unsubscribe from all."""
        for channel in self.channels:
            channel.subscribe_if(wanted)
        if not wanted and self._pairs:
            self._pairs.clear()

    def camera_info(self, stamp: int) -> CameraInfo | None:
        """The camera_info with this stamp (ns), else the newest; None before any has arrived."""
        infos = list(self._infos)
        for info in reversed(infos):
            if stamp_ns(info) == stamp:
                return info

        return infos[-1] if infos else None

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._infos.append(message)

    def _on_keypoints(self, message: Skeleton2DArray | ForeignKeypoints2DArray) -> None:
        self._take(Job(message))

    def _on_image(self, message: Image | CompressedImage) -> None:
        jobs = self._pairs.add_image(message) if self._pairs else [Job(message)]
        for job in jobs:
            self._take(job)

    def _on_depth(self, message: Image) -> None:
        for job in self._pairs.add_depth(message):
            self._take(job)


def type_name(kind: type) -> str:
    """The name of a message's type, such as sensor_msgs/msg/Image."""
    return f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"


def _image_topics(node: Node, image: str, config: NodeConfig) -> list[tuple[type, str]]:
    """Where images may come from, what the configuration asks for first."""
    # As in image_transport, the suffix is appended to the remapped name. Some name the compressed
    # topic itself.
    name = node.resolve_topic_name(image)
    raw = (Image, image)
    compressed = (CompressedImage, f"{name}/compressed")
    named = (CompressedImage, image)
    if config.image_transport == "compressed":
        return [compressed, named, raw]

    return [raw, named, compressed]


class DepthPairs:
    """Pairs images with the depth images of the same moment, in whichever order they arrive.

    An image is passed on without depth when the next image arrives.
    """

    def __init__(self, tolerance_s: float):
        self._tolerance_ns = tolerance_s * 1e9
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._waiting: Image | CompressedImage | None = None
        self._depths: deque[Image] = deque(maxlen=_DEPTHS)

    def add_image(self, image: Image | CompressedImage) -> list[Job]:
        """The jobs that are complete now."""
        jobs = [Job(self._waiting)] if self._waiting is not None else []
        self._waiting = image
        return jobs + self._matched()

    def add_depth(self, depth: Image) -> list[Job]:
        """The jobs that are complete now."""
        self._depths.append(depth)
        return self._matched()

    def _matched(self) -> list[Job]:
        if self._waiting is None or not self._depths:
            return []

        wanted = stamp_ns(self._waiting)
        nearest = min(self._depths, key=lambda depth: abs(stamp_ns(depth) - wanted))
        if abs(stamp_ns(nearest) - wanted) > self._tolerance_ns:
            return []

        job = Job(self._waiting, nearest)
        self._waiting = None

        return [job]
