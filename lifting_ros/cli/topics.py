# SPDX-License-Identifier: Apache-2.0
"""Which topic of a bag is meant."""

from __future__ import annotations

from collections.abc import Mapping

from lifting_ros.cli.errors import CommandError


def choose_topic(
    bag: object, counts: Mapping[str, int], wanted: str, option: str, content: str
) -> str:
    """`wanted`, or the only topic with messages.

    bag: its name, for messages; counts: number of messages of each topic that has `content`;
    option: the option that chooses.

    CommandError, with a list of the topics, where none or several are possible.
    """
    listed = [f"{topic} ({count})" for topic, count in sorted(counts.items())]
    there = ", ".join(listed) or "none"
    if wanted:
        if wanted in counts:
            return wanted
        raise CommandError(
            f"{option} {wanted}: no such topic with {content} in {bag};"
            f" topics with {content} (messages): {there}"
        )

    with_messages = [topic for topic, count in counts.items() if count]
    if not with_messages:
        raise CommandError(f"{bag}: no {content}; topics with {content} (messages): {there}")
    if len(with_messages) > 1:
        raise CommandError(f"{bag}: {content} on several topics, choose one with {option}: {there}")
    return with_messages[0]


def camera_info_beside(image_topic: str) -> str:
    """The topic of the CameraInfo that belongs to a topic of images."""
    namespace = image_topic.removesuffix("/compressed").rpartition("/")[0]
    return f"{namespace}/camera_info"
