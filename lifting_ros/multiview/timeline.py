# SPDX-License-Identifier: Apache-2.0
"""Frames of cameras that are not synchronised, at one common time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from lifting_ros.multiview.sighting import CameraFrame, View
from lifting_ros.skeleton import KEYPOINT_TO_JOINT
from lifting_ros.types import Person

MAX_GAP_S = 0.25
"""Persons are interpolated between two frames of a camera that are not further apart."""

PERIOD_SHARE = 0.8
"""Common times are at least this share of the fastest camera's period apart."""


class CameraStream:
    """The frames of one camera, in the order of their stamps."""

    def __init__(self, frames: Iterable[CameraFrame] = ()):
        self.stamps_ns: list[int] = []
        self._frames: list[CameraFrame] = []
        for frame in frames:
            self.add(frame)

    def add(self, frame: CameraFrame) -> bool:
        """Add the next frame; returns whether it was later than the last one. Otherwise it is left
        out."""
        if self.stamps_ns and frame.stamp_ns <= self.stamps_ns[-1]:
            return False

        self.stamps_ns.append(frame.stamp_ns)
        self._frames.append(frame)
        return True

    @property
    def newest(self) -> CameraFrame:
        """The last frame; IndexError where there is none."""
        return self._frames[-1]

    def shifted(self, by_ns: int) -> CameraStream:
        """The same frames with stamps that are later by `by_ns`."""
        return CameraStream(
            replace(frame, stamp_ns=frame.stamp_ns + by_ns) for frame in self._frames
        )

    def drop_before(self, stamp_ns: int) -> None:
        """Forget the frames before a time."""
        old = bisect_left(self.stamps_ns, stamp_ns)
        del self.stamps_ns[:old]
        del self._frames[:old]

    def at(
        self,
        stamp_ns: int,
        max_extrapolation_s: float,
    ) -> CameraFrame | None:
        """The frame at a time between or near the frames of the camera; None where none is near.

        A person who is in the frames before and after the time, under the same id, is interpolated
        between them, if they are at most MAX_GAP_S apart. Others are taken from the nearest frame,
        if it is at most `max_extrapolation_s` away, and moved with their velocities. The view is
        that of the nearest frame: a camera that moves has to be synchronised with the others.
        """
        after = bisect_left(self.stamps_ns, stamp_ns)
        around = self._frames[max(after - 1, 0) : after + 1]
        if not around:
            return None
        if around[-1].stamp_ns == stamp_ns:
            return around[-1]

        nearest = min(around, key=lambda frame: abs(frame.stamp_ns - stamp_ns))
        gap_ns = around[-1].stamp_ns - around[0].stamp_ns
        elapsed_ns = stamp_ns - nearest.stamp_ns

        can_move = abs(elapsed_ns) <= 1e9 * max_extrapolation_s
        partners: dict[int, tuple[Person, Person]] = {}
        if 0 < gap_ns <= 1e9 * MAX_GAP_S:
            partners = _partners(around[0], around[1])
        elif not can_move:
            return None

        since_ns = stamp_ns - around[0].stamp_ns
        share = since_ns / max(gap_ns, 1)

        persons = []
        for person in nearest.persons:
            if person.id in partners:
                persons.append(_between(*partners[person.id], share))
            elif can_move:
                persons.append(_moved(person, nearest.view, elapsed_ns / 1e9))

        return replace(nearest, stamp_ns=stamp_ns, persons=tuple(persons))


def common_stamps(streams: Iterable[CameraStream]) -> list[int]:
    """Times at which cameras are fused, ns: the stamps of one camera, and those of others where it
    has a gap."""
    periods = []
    every: set[int] = set()
    for stream in streams:
        every.update(stream.stamps_ns)
        steps = np.diff(stream.stamps_ns)
        if len(steps):
            periods.append(np.median(steps))

    shortest = PERIOD_SHARE * min(periods, default=0.0)
    common: list[int] = []
    for stamp in sorted(every):
        if not common or stamp - common[-1] >= shortest:
            common.append(stamp)

    return common


def _partners(
    before: CameraFrame,
    after: CameraFrame,
) -> dict[int, tuple[Person, Person]]:
    """The persons that are found in both frames, by track id."""
    later = {person.id: person for person in after.persons if _is_tracked(person)}
    return {
        person.id: (person, later[person.id])
        for person in before.persons
        if _is_tracked(person) and person.id in later
    }


def _is_tracked(person: Person) -> bool:
    """Whether a person was found, and has an id."""
    return bool(person.id) and not person.coasting


def _between(
    before: Person,
    after: Person,
    share: float,
) -> Person:
    """The person at `share` of the way from one frame to the next.

    Covariances are interpolated, too: the errors of neighbouring frames are nearly the same.
    """
    nearer = before if share < 0.5 else after
    seen = (before.skeleton_2d.confidence > 0) & (after.skeleton_2d.confidence > 0)

    def mixed(
        part: str,
        name: str,
    ) -> np.ndarray:
        first = getattr(getattr(before, part), name)
        second = getattr(getattr(after, part), name)
        return first + share * (second - first)

    flat = replace(
        nearer.skeleton_2d,
        keypoints_px=mixed("skeleton_2d", "keypoints_px"),
        covariance_px2=mixed("skeleton_2d", "covariance_px2"),
        confidence=np.where(seen, mixed("skeleton_2d", "confidence"), 0.0),
    )
    pose = replace(
        nearer.skeleton_3d,
        joints_m=mixed("skeleton_3d", "joints_m"),
        root_m=mixed("skeleton_3d", "root_m"),
        covariance_m2=mixed("skeleton_3d", "covariance_m2"),
        root_covariance_m2=mixed("skeleton_3d", "root_covariance_m2"),
        status=np.minimum(before.skeleton_3d.status, after.skeleton_3d.status),
    )
    return replace(nearer, skeleton_2d=flat, skeleton_3d=pose)


def _moved(
    person: Person,
    view: View,
    elapsed_s: float,
) -> Person:
    """The person after some time at its present velocities, which may be unknown."""
    pose = person.skeleton_3d
    path = elapsed_s * np.nan_to_num(person.velocity_mps)
    joints = pose.joints_m + path
    moved = replace(pose, joints_m=joints, root_m=pose.root_m + path[0])

    seen_joints = list(KEYPOINT_TO_JOINT)
    before = _project(pose.joints_m[seen_joints], view)
    after = _project(joints[seen_joints], view)
    shift = np.nan_to_num(after - before)

    flat = person.skeleton_2d
    keypoints = replace(flat, keypoints_px=flat.keypoints_px + shift)
    return replace(person, skeleton_2d=keypoints, skeleton_3d=moved)


def _project(
    points: np.ndarray,
    view: View,
) -> np.ndarray:
    """Pixels (..., 2) of points (..., 3) of the common frame."""
    in_camera = (points - view.pose[:3, 3]) @ view.pose[:3, :3]
    return view.camera.project(in_camera)
