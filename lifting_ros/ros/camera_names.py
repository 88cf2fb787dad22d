# SPDX-License-Identifier: Apache-2.0
"""Names of the topics of one camera, and which names a camera may have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rclpy.exceptions import InvalidNodeNameException
from rclpy.validate_node_name import validate_node_name

from lifting_ros.config import ConfigError


@dataclass(frozen=True)
class CameraNames:
    """Names of one camera's topics: those that a node of its own would have in the namespace of
    that name."""

    camera: str
    """Empty for the camera of a node that has one: its topics are the node's own."""
    node: str
    namespace: str
    """That of the node, such as / or /robot."""

    def beside(self, topic: str) -> str:
        """The name of an input: `image` is `front/image`."""
        return f"{self.camera}/{topic}" if self.camera else topic

    def own(self, topic: str) -> str:
        """The name of what the node offers: `~/markers` is `front/lifting/markers`."""
        if not self.camera:
            return topic

        return f"{self.camera}/{self.node}/{topic.removeprefix('~/')}"

    @property
    def full(self) -> str:
        """The name that a node of its own would have, without the slash in front."""
        parts = (self.namespace.strip("/"), self.camera, self.node)
        return "/".join(part for part in parts if part)

    @property
    def log_prefix(self) -> str:
        """What begins a line of the log that is about this camera."""
        return f"{self.camera}: " if self.camera else ""


def check_cameras(cameras: Sequence[str]) -> None:
    """Raise ConfigError unless these names can be told apart and can be parts of topics.

    One empty name alone stands for a camera without a name.
    """
    if list(cameras) == [""]:
        return
    if not cameras:
        raise ConfigError("cameras: expected names, or [''] for one without a name, got none")

    for index, camera in enumerate(cameras):
        if not camera:
            raise ConfigError(f"cameras: expected a name of each, got {list(cameras)}")
        if camera in cameras[:index]:
            raise ConfigError(f"cameras: expected different names, got {camera!r} twice")

        try:
            validate_node_name(camera)
        except InvalidNodeNameException:
            raise ConfigError(
                f"cameras: expected letters, digits and underscores, not a digit first, "
                f"got {camera!r}"
            ) from None
