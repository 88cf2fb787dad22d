# SPDX-License-Identifier: Apache-2.0
"""Publishes persons as REP 155 (ROS4HRI) does: body ids, keypoints and boxes as hri_msgs,
joint states and URDFs under /humans/bodies.

Body ids are p1, p2, ... (a topic name cannot begin with a digit). There are as many as
`transforms.BodyFrames` has numbers; they are used again for other persons later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from types import ModuleType

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import JointState
from std_msgs.msg import Header, String

from lifting_ros.config import ConfigError
from lifting_ros.ros.body_models import BodyModels, Namer
from lifting_ros.skeleton import KEYPOINT_COUNT, KEYPOINT_NAMES
from lifting_ros.types import Person, Skeleton2D

BODIES = "/humans/bodies"
_HEAD_TOP = KEYPOINT_NAMES.index("head_top")
"""hri_msgs/Skeleton2D has no head top. Its points 1 to 13 are our other keypoints in our order;
point 0 is the nose, 14 to 17 are eyes and ears."""


def hri_messages() -> ModuleType:
    """The module hri_msgs.msg; ConfigError in one line if the package is not installed."""
    try:
        return import_module("hri_msgs.msg")
    except ImportError:
        raise ConfigError(
            "hri: hri_msgs is not installed (package ros-$ROS_DISTRO-hri-msgs)"
        ) from None


class Humans:
    """Publishes persons under /humans/bodies. The topics of a body are created with its first
    message and kept."""

    def __init__(self, node: Node):
        self._node = node
        self._messages = hri_messages()
        self._tracked = self._publisher(self._messages.IdsList, "tracked")
        self._of_body: dict[str, dict[str, Publisher]] = {}
        self._last_header: Header | None = None
        """Header of the last list of ids; None if that list was empty."""

    def have_listeners(self) -> bool:
        """Whether anybody subscribes to the list of ids, or to a topic of a body that was seen."""
        publishers = [self._tracked]
        for of_body in tuple(self._of_body.values()):  # the worker adds bodies
            publishers += of_body.values()

        return any(publisher.get_subscription_count() for publisher in publishers)

    def publish(
        self,
        persons: Sequence[Person],
        ids: Mapping[int, str],
        header: Header,
        size: tuple[int, int] | None,
    ) -> None:
        """Publish the list of ids, then keypoints and boxes of each person.

        ids: body id by track id; persons without one are left out. size: (W, H) of the image; with
        None only the list is published.
        """
        there = [person for person in persons if person.id in ids]
        self._last_header = header if there else None
        body_ids = [ids[person.id] for person in there]
        self._tracked.publish(self._messages.IdsList(header=header, ids=body_ids))

        if not size:
            return

        for person in there:
            of_body = self._publishers(ids[person.id])
            flat = person.skeleton_2d
            of_body["skeleton2d"].publish(skeleton_to_hri(self._messages, flat, header, size))
            of_body["roi"].publish(box_to_hri(self._messages, flat, header, size))

    def want_models(self, bodies: Iterable[str]) -> bool:
        """Whether anybody subscribes to joint states or the URDF of one of these bodies."""
        listeners = 0
        for body in bodies:
            of_body = self._publishers(body)
            listeners += of_body["joint_states"].get_subscription_count()
            listeners += of_body["urdf"].get_subscription_count()

        return listeners > 0

    def publish_urdfs(self, urdfs: Mapping[int, String], ids: Mapping[int, str]) -> None:
        """Publish URDFs, latched. ids: body id; both by track id."""
        for one, urdf in urdfs.items():
            self._publishers(ids[one])["urdf"].publish(urdf)

    def publish_joint_states(
        self,
        persons: Sequence[Person],
        ids: Mapping[int, str],
        namers: Mapping[int, Namer],
        models: BodyModels,
        header: Header,
    ) -> None:
        """Publish the joint states of persons with a body id to those who subscribe.

        ids, namers: body id, and the names of frames, links and joints, by track id.
        """
        for person in persons:
            if person.id not in ids:
                continue

            publisher = self._publishers(ids[person.id])["joint_states"]
            if publisher.get_subscription_count() > 0:
                publisher.publish(models.joint_state([person], namers, header))

    def clear(self) -> None:
        """Publish an empty list of ids, unless the last one was empty."""
        if self._last_header is not None:
            self.publish((), {}, self._last_header, None)

    def _publishers(self, body: str) -> dict[str, Publisher]:
        if body not in self._of_body:
            kinds = {
                "skeleton2d": self._messages.Skeleton2D,
                "roi": self._messages.NormalizedRegionOfInterest2D,
                "joint_states": JointState,
            }
            publishers = {
                name: self._publisher(kind, f"{body}/{name}") for name, kind in kinds.items()
            }
            latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
            publishers["urdf"] = self._publisher(String, f"{body}/urdf", latched)
            self._of_body[body] = publishers

        return self._of_body[body]

    def _publisher(self, kind: type, name: str, qos: QoSProfile | int = 10) -> Publisher:
        overrides = QoSOverridingOptions.with_default_policies()
        return self._node.create_publisher(
            kind, f"{BODIES}/{name}", qos, qos_overriding_options=overrides
        )

    def close(self) -> None:
        """Destroy all publishers."""
        self._node.destroy_publisher(self._tracked)
        for publishers in self._of_body.values():
            for publisher in publishers.values():
                self._node.destroy_publisher(publisher)

        self._of_body.clear()


def skeleton_to_hri(messages: ModuleType, flat: Skeleton2D, header: Header, size: tuple[int, int]):
    """hri_msgs/Skeleton2D: coordinates divided by the image's size.

    Keypoints that were not seen are (0, 0) with confidence 0; the message has no other code.
    """
    message = messages.Skeleton2D(header=header)
    known = (flat.confidence > 0) & np.isfinite(flat.keypoints_px).all(-1)  # 14
    places = np.where(known[:, None], _shares(flat.keypoints_px, size), 0.0).tolist()

    for k in range(_HEAD_TOP + 1, KEYPOINT_COUNT):
        point = message.skeleton[k]
        point.x, point.y = places[k]
        point.c = float(flat.confidence[k]) if known[k] else 0.0

    return message


def box_to_hri(messages: ModuleType, flat: Skeleton2D, header: Header, size: tuple[int, int]):
    """hri_msgs/NormalizedRegionOfInterest2D of a person's box."""
    corners_px = np.nan_to_num(np.reshape(flat.box_px, (2, 2)))
    (xmin, ymin), (xmax, ymax) = _shares(corners_px, size).tolist()
    return messages.NormalizedRegionOfInterest2D(
        header=header, xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax, c=float(flat.score)
    )


def _shares(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels (..., 2) divided by the image's size, in [0, 1]. Pixel (0, 0) is the centre of the top
    left pixel, half a pixel inside the image."""
    return np.clip((pixels + 0.5) / np.array(size), 0.0, 1.0)
