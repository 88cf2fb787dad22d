# SPDX-License-Identifier: Apache-2.0
"""Which topic of a bag is meant."""

from __future__ import annotations

from collections.abc import Mapping

from lifting_ros.cli.main import CommandError


def choose_topic(
    bag: object, counts: Mapping[str, int], wanted: str, option: str, what: str
) -> str:
    """`wanted`, or the only topic with messages; CommandError in one line that lists those there
    are.

    counts: messages of each topic that has `what`; bag: as it is called; option: the one that
    chooses.
    """
    there = ", ".join(f"{topic} ({count})" for topic, count in sorted(counts.items())) or "none"
    if wanted and wanted not in counts:
        raise CommandError(
            f"{option} {wanted}: no such topic with {what} in {bag}; topics with {what} (messages): {there}"
        )
    full = [topic for topic, count in counts.items() if count]
    if not wanted and not full:
        raise CommandError(f"{bag}: no {what}; topics with {what} (messages): {there}")
    if not wanted and len(full) > 1:
        raise CommandError(f"{bag}: {what} on several topics, choose one with {option}: {there}")
    return wanted or full[0]
