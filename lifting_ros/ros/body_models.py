# SPDX-License-Identifier: Apache-2.0
"""Messages of the kinematic models of persons (`geometry.body_model`): joint states and URDFs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from sensor_msgs.msg import JointState
from std_msgs.msg import Header, String

from lifting_ros.geometry.body_model import (
    MOVABLE,
    body_urdf,
    differ,
    joint_positions,
    model_lengths,
)
from lifting_ros.types import Person

Namer = Callable[[str], str]
"""The name of a frame, link or joint of one body, from that of the part."""


def joint_state(
    persons: Sequence[Person], namers: Mapping[int, Namer], header: Header
) -> JointState:
    """The joints of all persons that have a namer, by track id.

    Joints whose position is unknown are left out, so a message may name some of a body only.
    """
    message = JointState(header=header)
    there = [person for person in persons if person.id in namers]
    if not there:
        return message

    positions = joint_positions(np.stack([person.skeleton_3d.joints_m for person in there]))
    for person, row in zip(there, positions.tolist(), strict=True):
        name_of = namers[person.id]
        for name, position in zip(MOVABLE, row, strict=True):
            if position == position:  # not NaN
                message.name.append(name_of(name))
                message.position.append(position)

    return message


class BodyModels:
    """The URDFs of bodies as they were last published, to tell when another one is due."""

    def __init__(self) -> None:
        self._lengths_m: dict[str, np.ndarray] = {}
        self._urdfs: dict[str, String] = {}
        """Both by the name of the body's frame."""

    def renew(self, persons: Sequence[Person], namers: Mapping[int, Namer]) -> list[String]:
        """URDFs of those persons with a namer whose limbs are not those in the last URDF of the
        same body. Persons whose limbs are unknown have none."""
        renewed = []
        for person in persons:
            lengths_m = model_lengths(person)
            if person.id not in namers or lengths_m is None:
                continue

            name_of = namers[person.id]
            body = name_of("body")
            if body not in self._lengths_m or differ(lengths_m, self._lengths_m[body]):
                self._lengths_m[body] = lengths_m
                self._urdfs[body] = String(data=body_urdf(lengths_m, name_of))
                renewed.append(self._urdfs[body])

        return renewed

    def current(self, persons: Sequence[Person], namers: Mapping[int, Namer]) -> list[String]:
        """The URDFs of the persons with a namer, as last renewed."""
        bodies = [namers[person.id]("body") for person in persons if person.id in namers]
        return [self._urdfs[body] for body in bodies if body in self._urdfs]
