# SPDX-License-Identifier: Apache-2.0
"""Messages of the kinematic models of persons (`geometry.body_model`): URDFs, and the joint states
that go with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from sensor_msgs.msg import JointState
from std_msgs.msg import Header, String

from lifting_ros.geometry.body_model import (
    URDF_JOINTS,
    body_urdf,
    differ,
    joint_positions,
    model_lengths,
)
from lifting_ros.types import LIMB_COUNT, Person

Namer = Callable[[str], str]
"""The name of a frame, link or joint of one body, from that of the part."""

_UNKNOWN_M = np.full(LIMB_COUNT, np.nan)


class BodyModels:
    """The limbs of bodies as in their last URDFs, to tell when other URDFs are due.

    Joint states go with the last URDFs. Whoever publishes joint states therefore has to publish
    what `renew` returns before, latched, even if nobody listens to URDFs yet.
    """

    def __init__(self) -> None:
        self._lengths_m: dict[str, np.ndarray] = {}
        """(16,) by the name of the body's frame."""

    def renew(self, persons: Sequence[Person], namers: Mapping[int, Namer]) -> dict[int, String]:
        """URDFs of all persons with a namer, by track id, if that of one is due: the limbs are not
        those in the last URDF of the same body. Otherwise empty.

        Persons whose limbs have never been known have none. All URDFs are renewed together, and the
        bodies that are not there are forgotten, so that the last URDFs are in a latched history
        with one message for each body.
        """
        there = {person.id: person for person in persons if person.id in namers}
        lengths_m = {}
        for one, person in there.items():
            last = self._lengths_m.get(namers[one]("body"))
            limbs = _lengths_now(person, last)
            if limbs is not None:
                lengths_m[one] = limbs

        by_body = {namers[one]("body"): limbs for one, limbs in lengths_m.items()}
        if all(limbs is self._lengths_m.get(body) for body, limbs in by_body.items()):
            return {}

        self._lengths_m = by_body
        return {one: String(data=body_urdf(limbs, namers[one])) for one, limbs in lengths_m.items()}

    def joint_state(
        self, persons: Sequence[Person], namers: Mapping[int, Namer], header: Header
    ) -> JointState:
        """The joints of all persons that have a namer, by track id, for their last URDFs.

        Joints whose position is unknown are left out, so a message may name some of a body only.
        Without a URDF no stretch is known.
        """
        message = JointState(header=header)
        there = [person for person in persons if person.id in namers]
        if not there:
            return message

        bodies = [namers[person.id]("body") for person in there]
        lengths_m = np.stack([self._lengths_m.get(body, _UNKNOWN_M) for body in bodies])
        joints_m = np.stack([person.skeleton_3d.joints_m for person in there])
        positions = joint_positions(joints_m, lengths_m)

        for person, row in zip(there, positions.tolist(), strict=True):
            name_of = namers[person.id]
            for joint, position in zip(URDF_JOINTS, row, strict=True):
                if position == position:  # not NaN
                    message.name.append(name_of(joint.name))
                    message.position.append(position)

        return message


def _lengths_now(person: Person, last_m: np.ndarray | None) -> np.ndarray | None:
    """Lengths (16,) for the URDF of a body: the last ones unless the person's differ."""
    lengths_m = model_lengths(person)
    if lengths_m is None:
        return last_m

    if last_m is None or differ(lengths_m, last_m):
        return lengths_m

    return last_m
