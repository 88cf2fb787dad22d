# SPDX-License-Identifier: Apache-2.0
"""Estimates every image of a bag, in order, with the node's estimator, tracker and conversions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from rosbags.interfaces import Connection
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from lifting_ros.io.brightness_range import BrightnessRange
from lifting_ros.ros.bag_input import COMPRESSED, IMAGE, INFO, InputBag
from lifting_ros.ros.calibration import usable_camera
from lifting_ros.ros.conversions import ConversionError, compressed_to_rgb, header_ns, image_to_rgb
from lifting_ros.ros.message_types import stamp_reader, typestore_of
from lifting_ros.ros.parameters import NodeConfig
from lifting_ros.tracking.tracking import LONGEST_S, TrackedFrame, Tracker, TrackerConfig
from lifting_ros.types import Person, Skeleton2D
from lifting_ros.video import VideoEstimator


@dataclass(frozen=True)
class Answer:
    """What was found in an image."""

    header: Header
    """Of the image."""
    persons: tuple[Person, ...]
    is_late: bool = False
    """Whether the image is late or repeated: its persons are not tracked."""
    others: tuple[Skeleton2D, ...] = ()
    """`Estimate.rejected` and `TrackedFrame.unseen`."""
    size: tuple[int, int] = (0, 0)
    """Width and height of the image, px."""
    image: np.ndarray | None = None
    """(H, W, 3) uint8 RGB; None once the persons are tracked."""

    @property
    def stamp_ns(self) -> int:
        return header_ns(self.header)


class CameraInfos:
    """The camera_info messages of a topic, if any."""

    def __init__(self, bag: InputBag, topic: str):
        self._bag = bag
        connections = bag.of_topic(topic, INFO)
        self._messages = list(bag.messages(connections)) if connections else []
        self._times = [time_ns for _, time_ns, _ in self._messages]
        stamp_of = stamp_reader(INFO, typestore_of([INFO]))
        self._by_stamp = {
            stamp_of(data): place for place, (_, _, data) in enumerate(self._messages)
        }

    def at(self, time_ns: int, stamp_ns: int) -> CameraInfo | None:
        """The camera_info of an image: that with its stamp, else the latest at or before its time
        in the bag, else the first; None if the bag has none.

        ConversionError if it does not decode.
        """
        if not self._messages:
            return None

        # Drivers without a clock stamp everything with zero.
        place = self._by_stamp.get(stamp_ns) if stamp_ns else None
        if place is None:
            place = max(bisect_right(self._times, time_ns) - 1, 0)

        connection, _, data = self._messages[place]

        return self._bag.decode(connection, data)


class ImageEstimation:
    """Estimates the images of a topic.

    infos: returns the camera_info for an image's time in the bag and stamp (ns). warn: called with
    one line for each image that is not used or has no camera.
    """

    def __init__(
        self,
        bag: InputBag,
        topic: str,
        infos: Callable[[int, int], CameraInfo | None],
        config: NodeConfig,
        warn: Callable[[str], None],
    ):
        self._bag = bag
        self._infos = infos
        self._config = config
        self._warn = warn

        self.connections = bag.of_topic(topic, IMAGE, COMPRESSED)
        self._topic = topic
        self._up = np.array(config.up)
        self._brightness = BrightnessRange(warn)

    def answers(self, video: VideoEstimator) -> Iterator[Answer | None]:
        """One Answer per message of the topic, in order; None for an unusable image.

        Each has to be added to an OfflineTracker with the tracker of `video` before the next one is
        asked for: that one depends on it.
        """
        for connection, time_ns, data in self._bag.messages(self.connections):
            try:
                yield self._answer(video, connection, time_ns, data)
            except ConversionError as error:
                self._warn(f"image not used: {error}")
                yield None

    def _answer(
        self, video: VideoEstimator, connection: Connection, time_ns: int, data: bytes
    ) -> Answer:
        message = self._bag.decode(connection, data)
        header = ros_header(message.header)
        is_late = video.tracker.drop_if_late(header_ns(header))
        image = (image_to_rgb if connection.msgtype == IMAGE else compressed_to_rgb)(
            replace(message, header=header), self._brightness
        )
        answer = Answer(header, (), is_late, size=image.shape[1::-1], image=image)
        camera = usable_camera(
            lambda: self._infos(time_ns, answer.stamp_ns),
            image.shape[1::-1],
            self._config.rectified,
            self._warn,
            f"for {self._topic}",
        )

        if is_late:
            estimate = video.estimator.estimate(image, camera, self._up)
        else:
            estimate = video.estimate(answer.stamp_ns, image, camera, self._up)

        return replace(answer, persons=tuple(estimate.persons), others=estimate.rejected)


def ros_header(header: Any) -> Header:
    """The ROS message of a header that rosbags read."""
    return Header(
        stamp=Time(sec=header.stamp.sec, nanosec=header.stamp.nanosec), frame_id=header.frame_id
    )


def bag_tracker(config: TrackerConfig, smooth: bool) -> Tracker:
    """The tracker of a bag; with `smooth`, every frame is smoothed over the whole bag."""
    return Tracker(replace(config, lag_s=LONGEST_S) if smooth else config)


class OfflineTracker:
    """Adds ids and velocities to the answers of a bag.

    The persons of a late or repeated frame are not tracked: they have no ids.
    """

    def __init__(self, tracker: Tracker):
        self._tracker = tracker
        self._answers: list[Answer | None] = []
        self._is_tracked: list[bool] = []
        self._tracked: list[TrackedFrame] = []
        self.late = 0
        """Frames that are late or repeated."""

    def add(self, answer: Answer | None) -> None:
        """Add the next image's answer, or None."""
        is_late = answer is not None and answer.is_late
        self.late += is_late

        self._is_tracked.append(answer is not None and not is_late)
        if self._is_tracked[-1]:
            self._tracked += self._tracker.update(answer.stamp_ns, answer.persons, answer.image)
        if answer is not None:
            answer = replace(answer, image=None)
        self._answers.append(answer)

    def end(self) -> list[Answer | None]:
        """All answers, tracked, in the order they were added."""
        self._tracked += self._tracker.flush()
        tracked = iter(self._tracked)

        return [
            _tracked_answer(answer, next(tracked)) if is_tracked else answer
            for answer, is_tracked in zip(self._answers, self._is_tracked, strict=True)
        ]


def _tracked_answer(answer: Answer, frame: TrackedFrame) -> Answer:
    return replace(answer, persons=frame.persons, others=answer.others + frame.unseen)
