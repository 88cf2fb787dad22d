# SPDX-License-Identifier: Apache-2.0
"""REP 155 (ROS4HRI) beside the node's own messages: who is there, keypoints and boxes under
/humans/bodies, in hri_msgs.

A topic's name cannot begin with a digit, so that the bodies p1, p2 ... have ids of few: those of
`transforms.BodyFrames`, used again later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType

import numpy as np
from rclpy.node import Node
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import Header

from lifting_ros.config import ConfigError
from lifting_ros.skeleton import KEYPOINT_COUNT, KEYPOINT_NAMES
from lifting_ros.types import Person, Skeleton2D

BODIES = "/humans/bodies"
_HEAD_TOP = KEYPOINT_NAMES.index("head_top")
"""Has no place in hri_msgs/Skeleton2D, whose points 1 to 13 are our other keypoints in our order; 0
is the nose, 14 to 17 eyes and ears."""


def hri_messages() -> ModuleType:
    """The package's messages; ConfigError in one line where it is not installed."""
    try:
        return import_module("hri_msgs.msg")
    except ImportError:
        raise ConfigError(
            "hri: hri_msgs is not installed (package ros-$ROS_DISTRO-hri-msgs)"
        ) from None


class Humans:
    """Publishes people as REP 155 has them. A body's topics are made when somebody is it for the
    first time, and stay."""

    def __init__(self, node: Node):
        self._node, self._messages = node, hri_messages()
        self._tracked = self._publisher(self._messages.IdsList, "tracked")
        self._of_body: dict[str, tuple] = {}
        self._there: Header | None = None
        """The header of those who are there by what was said last; None for nobody."""

    def listened(self) -> bool:
        """Whether anybody wants to know who is there."""
        return self._tracked.get_subscription_count() > 0

    def publish(
        self,
        persons: Sequence[Person],
        ids: Mapping[int, str],
        header: Header,
        size: tuple[int, int] | None,
    ) -> None:
        """Persons with a body's id, by their track's, found in an image of `size` (W, H); without
        it only who is there."""
        there = [person for person in persons if person.id in ids]
        self._there = header if there else None
        self._tracked.publish(
            self._messages.IdsList(header=header, ids=[ids[person.id] for person in there])
        )
        for person in there if size else ():
            skeletons, rois = self._publishers(ids[person.id])
            skeletons.publish(skeleton_to_hri(self._messages, person.skeleton_2d, header, size))
            rois.publish(box_to_hri(self._messages, person.skeleton_2d, header, size))

    def clear(self) -> None:
        """Say that nobody is there any more, where somebody was."""
        if self._there is not None:
            self.publish((), {}, self._there, None)

    def _publishers(self, body: str) -> tuple:
        if body not in self._of_body:
            kinds = {
                "skeleton2d": self._messages.Skeleton2D,
                "roi": self._messages.NormalizedRegionOfInterest2D,
            }
            self._of_body[body] = tuple(
                self._publisher(kind, f"{body}/{name}") for name, kind in kinds.items()
            )
        return self._of_body[body]

    def _publisher(self, kind: type, name: str):
        overrides = QoSOverridingOptions.with_default_policies()
        return self._node.create_publisher(
            kind, f"{BODIES}/{name}", 10, qos_overriding_options=overrides
        )

    def close(self) -> None:
        """End the topics."""
        for publisher in (self._tracked, *(one for pair in self._of_body.values() for one in pair)):
            self._node.destroy_publisher(publisher)
        self._of_body.clear()


def skeleton_to_hri(messages: ModuleType, flat: Skeleton2D, header: Header, size: tuple[int, int]):
    """hri_msgs/Skeleton2D: shares of the image's size, 0 with confidence 0 for what is not seen: it
    has no other word for that."""
    message = messages.Skeleton2D(header=header)
    known = (flat.confidence > 0) & np.isfinite(flat.keypoints_px).all(-1)  # 14
    places = np.where(known[:, None], _shares(flat.keypoints_px, size), 0.0).tolist()
    for k in range(_HEAD_TOP + 1, KEYPOINT_COUNT):
        point = message.skeleton[k]
        (point.x, point.y), point.c = places[k], float(flat.confidence[k]) if known[k] else 0.0
    return message


def box_to_hri(messages: ModuleType, flat: Skeleton2D, header: Header, size: tuple[int, int]):
    """hri_msgs/NormalizedRegionOfInterest2D of a person's box."""
    (xmin, ymin), (xmax, ymax) = _shares(
        np.nan_to_num(np.reshape(flat.box_px, (2, 2))), size
    ).tolist()
    return messages.NormalizedRegionOfInterest2D(
        header=header, xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax, c=float(flat.score)
    )


def _shares(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels (..., 2) as shares of the image's size, in [0, 1]; the centre of the top left pixel is
    half a pixel inside."""
    return np.clip((pixels + 0.5) / np.array(size), 0.0, 1.0)
