# SPDX-License-Identifier: Apache-2.0
"""The topics of a bag: hidden heads in the images of one camera, and no images of the others."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from rosbags.interfaces import Connection

from lifting_ros.ros.bag_estimation import Answer
from lifting_ros.ros.bag_format import BagWriter
from lifting_ros.ros.bag_input import COMPRESSED, IMAGE, InputBag, definition_of
from lifting_ros.ros.bag_output import OriginalTopics
from lifting_ros.ros.blurred_images import blurred_data, blurred_file
from lifting_ros.ros.conversions import ConversionError, header_ns
from lifting_ros.viz.anonymise import HeadRegion, hidden_regions

PICTURES = frozenset(
    (
        IMAGE,
        COMPRESSED,
        "theora_image_transport/msg/Packet",
        "ffmpeg_image_transport_msgs/msg/FFMPEGPacket",
        "foxglove_msgs/msg/CompressedImage",
        "foxglove_msgs/msg/CompressedVideo",
        "foxglove_msgs/msg/RawImage",
    )
)
"""Types of messages that show pictures."""

_DRAWINGS = "visualization_msgs/"
"""Its markers may have pictures for textures, and mostly have none."""

_TYPE_INSIDE = re.compile(r"^(?:MSG|IDL): (\w+)/(?:msg/)?(\w+)$", re.MULTILINE)
"""A type in the definition of another one that contains it."""


class BlurredTopics(OriginalTopics):
    """Copies the topics of the input bag. Images of the camera get hidden heads; other pictures,
    and images whose people are not known, are left out."""

    def __init__(
        self, writer: BagWriter, bag: InputBag, topic: str, answers: Sequence[Answer | None]
    ):
        """topic: that of the images that `answers` belong to."""
        self._bag = bag
        self._topic = topic
        self.rewritten = rewritten_topics(bag, topic)
        """Names of the topics whose images are rewritten."""
        self.left_out = sorted(
            {c.topic for c in bag.connections if shows_pictures(c)} - set(self.rewritten)
        )
        """Names of the topics with pictures that are not copied."""
        self.dropped = 0
        """Images of `rewritten` that are left out."""

        self._regions: dict[int, list[HeadRegion]] = defaultdict(list)
        self._sizes: dict[int, tuple[int, int]] = {}
        for answer in answers:
            if answer is not None:
                self._regions[answer.stamp_ns] += regions_of(answer)
                self._sizes[answer.stamp_ns] = answer.size

        super().__init__(writer, bag)

    def _connections(self) -> list[Connection]:
        return [c for c in self._bag.connections if c.topic not in self.left_out]

    def write(
        self, connection: Connection, time_ns: int, data: bytes, answer: Answer | None = None
    ) -> None:
        """Copy a message, or write what may be shown of it; answer: that of an image."""
        if connection.topic in self.left_out:
            return
        if connection.topic not in self.rewritten:
            super().write(connection, time_ns, data)
            return

        try:
            super().write(connection, time_ns, self._blurred(connection, data, answer))
        except ConversionError:
            self.dropped += 1

    def _blurred(self, connection: Connection, data: bytes, answer: Answer | None) -> bytes:
        """The serialised image with hidden heads; ConversionError where that is not possible."""
        message = self._bag.decode(connection, data)
        stamp_ns = header_ns(message.header)
        if answer is not None:
            regions = regions_of(answer)
            size = answer.size
        elif connection.topic != self._topic and stamp_ns in self._regions:
            regions = self._regions[stamp_ns]
            size = self._sizes[stamp_ns]
        else:
            raise ConversionError("header: nothing is known of an image with this stamp")

        blurred = blurred_data if connection.msgtype == IMAGE else blurred_file
        hidden = replace(message, data=blurred(message, regions, size))
        return self._bag.encode(connection, hidden)


def shows_pictures(connection: Connection) -> bool:
    """Whether messages are pictures or contain some, as those of RGB-D cameras do, by the bag's
    definition of their type."""
    if connection.msgtype in PICTURES:
        return True
    if connection.msgtype.startswith(_DRAWINGS):
        return False

    text, _ = definition_of(connection)
    inside = {f"{package}/msg/{name}" for package, name in _TYPE_INSIDE.findall(text)}
    return not inside.isdisjoint(PICTURES)


def rewritten_topics(bag: InputBag, topic: str) -> list[str]:
    """`topic`, and its raw or compressed counterpart of the same name if the bag has it.

    DataError where the bag means something else by the type of an image.
    """
    base = topic.removesuffix("/compressed")
    names = (base, f"{base}/compressed")
    return [name for name in names if bag.of_topic(name, IMAGE, COMPRESSED)]


def regions_of(answer: Answer) -> list[HeadRegion]:
    """What to hide in the image of an answer."""
    return hidden_regions(answer.persons, answer.others)
