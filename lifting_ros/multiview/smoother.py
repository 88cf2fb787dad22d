# SPDX-License-Identifier: Apache-2.0
"""Smooth motion of fused people: the filter of `tracking`, under the ids of the fusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lifting_ros.tracking import kalman
from lifting_ros.tracking.tracking import Tracker, TrackerConfig
from lifting_ros.tracking.tracks import Measured, Tracks
from lifting_ros.types import Person


class FusedSmoother:
    """Smooths the joints and velocities of people whom several cameras see. Whom one camera alone
    sees stays as that camera's tracker made it: twice smoothed, people lag behind."""

    def __init__(self, retention_s: float, warm: bool = True):
        """retention_s: time for which the motion of somebody unseen is remembered. warm: compile
        now, so that the first frame does not wait."""
        self._tracker = _NamedTracker(TrackerConfig(retention_s=retention_s), warm=False)
        if warm:
            kalman.warm_up()

    def smooth(
        self,
        stamp_ns: int,
        persons: Sequence[Person],
        sources: Mapping[int, Mapping[str, int]],
    ) -> tuple[Person, ...]:
        """The persons of one time, in the same order, from all frames so far; ids, ages and limb
        lengths stay. Where time goes back, all begin anew.

        sources: as `SkeletonFuser.sources`.
        """
        several = [person for person in persons if len(sources[person.id]) > 1]
        (frame,) = self._tracker.update(stamp_ns, several)
        smooth = {person.id: person for person in frame.persons}
        return tuple(_moving_as(person, smooth.get(person.id)) for person in persons)


def _moving_as(person: Person, smooth: Person | None) -> Person:
    if smooth is None:
        return person

    return replace(
        person,
        skeleton_3d=smooth.skeleton_3d,
        velocity_mps=smooth.velocity_mps,
        velocity_covariance_m2ps2=smooth.velocity_covariance_m2ps2,
    )


class _NamedTracker(Tracker):
    """A tracker of persons who have ids already."""

    def _assign(
        self, tracks: Tracks, measured: Measured, persons: tuple[Person, ...]
    ) -> np.ndarray:
        row_of_id = {number: row for row, number in enumerate(tracks.ids.tolist())}
        return np.array([row_of_id.get(person.id, -1) for person in persons], int)

    def _new_ids(self, persons: Sequence[Person]) -> np.ndarray:
        return np.array([person.id for person in persons])
