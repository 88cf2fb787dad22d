# SPDX-License-Identifier: Apache-2.0
"""The poses of one person at a uniform rate, with y up: what TRC, C3D and BVH files hold.

Such files have a rate instead of stamps. All people of a recording are sampled at the same times:
the earliest stamp of the recording, and every period after it. The period is the usual one between
stamps, so that evenly stamped poses keep their positions, and others are interpolated linearly.

A joint that is unknown for longer than GAP_S is unknown in the track, too; shorter gaps, and those
of a single frame at any rate, are interpolated and marked. Joints that the prior inferred and
people whom the tracker predicts (`coasting`) have positions, and are no gaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lifting_ros.errors import DataError
from lifting_ros.geometry.rotations import up_to_camera
from lifting_ros.io.pose_table import STILL_PERIOD_NS, PoseFrame
from lifting_ros.skeleton import JOINT_COUNT
from lifting_ros.types import Skeleton3D

GAP_S = 0.1
"""Longest time between two known positions of a joint that is bridged, in seconds; _GAP_PERIODS
where those are longer."""

_GAP_PERIODS = 2.5

UP = (0.0, -1.0, 0.0)
"""Up in the optical frame of a level camera."""

_USUAL = (0.5, 1.5)
"""Times between stamps, divided by their median, that count as one period."""

_MOST_SAMPLES = 2_000_000
"""Of a track: 18 hours at 30 Hz. Stamps that require more are mistaken."""


@dataclass(frozen=True)
class UniformTrack:
    """T poses of one person; x right, y up, z towards the camera, metres."""

    person_id: int
    """Track id; 0 where the people of the recording are not tracked."""
    first: int
    """Number of the first sample, counted from the recording's earliest stamp."""
    rate_hz: float
    joints_m: np.ndarray
    """(T, 17, 3); NaN where unknown."""
    std_m: np.ndarray
    """(T, 17) standard deviation of the absolute position, root mean square of the three axes; NaN
    where unknown."""
    filled: np.ndarray
    """(T, 17) bool: interpolated over a frame in which the joint was not known."""

    @property
    def known(self) -> np.ndarray:
        """(T, 17) bool: whether there is a position."""
        finite = np.isfinite(self.joints_m)
        return finite.all(-1)

    @property
    def times_s(self) -> np.ndarray:
        """(T,) seconds since the recording's earliest stamp."""
        count = len(self.joints_m)
        numbers = np.arange(count)
        since_start = self.first + numbers
        return since_start / self.rate_hz


@dataclass(frozen=True)
class _StampedPose:
    """A pose of one person."""

    stamp_ns: int
    frame_id: str
    pose: Skeleton3D


@dataclass(frozen=True)
class _Clock:
    """The times of the samples."""

    start_ns: int
    period_ns: float


def uniform_tracks(
    frames: Sequence[PoseFrame], up: Sequence[float] = UP, source: object = "poses"
) -> list[UniformTrack]:
    """The track of each person with a known joint, by id.

    up: the upward direction in the frame of the poses, of any length; source: named in errors.

    DataError where a person has two poses with the same stamp, where the poses of a person are in
    several coordinate frames, or where stamps are too far apart.
    """
    poses = _poses_by_person(frames)
    if not poses:
        return []

    stamps = np.array([frame.stamp_ns for frame in frames], np.int64)
    clock = _Clock(int(stamps.min()), _usual_period_ns(stamps))
    to_model = up_to_camera(np.array(up, float))

    tracks = []
    for person_id in sorted(poses):
        of_person = poses[person_id]
        _check_poses(of_person, clock, f"{source}: person {person_id}")
        tracks.append(_track_of(person_id, of_person, clock, to_model))

    return tracks


def _poses_by_person(frames: Sequence[PoseFrame]) -> dict[int, list[_StampedPose]]:
    """Track id -> the poses with a known joint, by stamp."""
    poses: dict[int, list[_StampedPose]] = {}
    for frame in frames:
        for person in frame.persons:
            pose = person.skeleton_3d
            known = np.isfinite(pose.joints_m).all(-1)
            if not known.any():
                continue

            stamped = _StampedPose(frame.stamp_ns, frame.frame_id, pose)
            of_person = poses.setdefault(person.id, [])
            of_person.append(stamped)

    for of_person in poses.values():
        of_person.sort(key=lambda pose: pose.stamp_ns)

    return poses


def _usual_period_ns(stamps: np.ndarray) -> float:
    """Mean of the times between stamps that are close to their median, which alone would keep the
    rounding of many drivers. That of still poses where all stamps are the same."""
    unique = np.unique(stamps)
    between = np.diff(unique)
    if not len(between):
        return float(STILL_PERIOD_NS)

    median = np.median(between)
    least, most = _USUAL
    is_usual = (between >= least * median) & (between <= most * median)
    if not is_usual.any():
        return float(median)

    return float(between[is_usual].mean())


def _check_poses(poses: Sequence[_StampedPose], clock: _Clock, what: str) -> None:
    """Raise DataError for poses that are not those of one person in one coordinate frame."""
    stamps = [pose.stamp_ns for pose in poses]
    unique, counts = np.unique(stamps, return_counts=True)
    most = counts.argmax()
    if counts[most] > 1:
        raise DataError(
            f"{what}: {counts[most]} poses with the stamp {unique[most]} ns; expected tracked"
            " people, with one pose per stamp (id 0: not tracked)"
        )

    frame_ids = {pose.frame_id for pose in poses}
    if len(frame_ids) > 1:
        listed = ", ".join(sorted(frame_ids))
        raise DataError(f"{what}: expected one coordinate frame, got {listed}")

    duration_ns = stamps[-1] - stamps[0]
    if duration_ns / clock.period_ns >= _MOST_SAMPLES:
        raise DataError(
            f"{what}: {len(poses)} poses over {duration_ns * 1e-9:.0f} s; expected at most"
            f" {_MOST_SAMPLES} periods of {clock.period_ns * 1e-6:.1f} ms"
        )


def _track_of(
    person_id: int, poses: Sequence[_StampedPose], clock: _Clock, to_model: np.ndarray
) -> UniformTrack:
    """The track of one person, from poses by stamp; `to_model` as for `_values_of`."""
    # In periods since the start
    since_start = [pose.stamp_ns - clock.start_ns for pose in poses]
    times = np.array(since_start) / clock.period_ns
    gap = max(_GAP_PERIODS, GAP_S * 1e9 / clock.period_ns)

    first = int(np.rint(times[0]))
    last = int(np.rint(times[-1]))
    grid = np.arange(first, last + 1)

    values = np.array([_values_of(pose.pose, to_model) for pose in poses])
    sampled = np.full((len(grid), JOINT_COUNT, 4), np.nan)
    filled = np.zeros((len(grid), JOINT_COUNT), bool)
    for j in range(JOINT_COUNT):
        known = np.isfinite(values[:, j, :3]).all(-1)
        if known.any():
            curve = values[known, j]
            sampled[:, j], filled[:, j] = _sample(times[known], curve, grid, gap)

    return UniformTrack(
        person_id=person_id,
        first=first,
        rate_hz=1e9 / clock.period_ns,
        joints_m=sampled[..., :3],
        std_m=sampled[..., 3],
        filled=filled,
    )


def _values_of(pose: Skeleton3D, to_model: np.ndarray) -> np.ndarray:
    """Positions (m) in the axes of the track, and their standard deviation: (17, 4).

    to_model: rotation (3, 3) from the axes of the track to those of the pose. A root whose
    covariance is not known adds nothing: without a camera it is at the origin.
    """
    root_covariance = np.nan_to_num(pose.root_covariance_m2)
    covariance = pose.covariance_m2 + root_covariance
    variance = np.trace(covariance, axis1=-2, axis2=-1) / 3
    std = np.sqrt(np.maximum(variance, 0.0))  # NaN stays

    turned = pose.joints_m @ to_model
    return np.column_stack([turned, std])


def _sample(
    times: np.ndarray, values: np.ndarray, grid: np.ndarray, gap: float
) -> tuple[np.ndarray, np.ndarray]:
    """The values of a joint at the times of a grid, (T, 4), and whether they were filled in, (T,).

    times: (S,) at which the joint is known, in periods; values: (S, 4); grid: (T,) in periods; gap:
    longest one that is filled, in periods. Beside a longer one, and at both ends, a value counts
    for half a period.
    """
    # The values around each time
    last = len(times) - 1
    not_later = np.searchsorted(times, grid, "right") - 1
    before = not_later.clip(0, last)
    after = np.minimum(before + 1, last)

    since = grid - times[before]
    until = times[after] - grid
    span = times[after] - times[before]

    # How far each time is from one to the other; rounded, so that a pose at that time is kept
    positive = np.where(span > 0, span, 1.0)
    share = np.clip(since / positive, 0.0, 1.0).round(6)

    # Beside a long gap the nearer one
    is_long = span > gap
    share = np.where(is_long, np.rint(share), share)

    # Times without a pose
    nearest = np.minimum(np.abs(since), np.abs(until))
    far = nearest > 0.5
    outside = (grid < times[0]) | (grid > times[-1])
    unknown = far & (is_long | outside)

    sampled = _between(values[before], values[after], share)
    sampled[unknown] = np.nan
    filled = far & ~unknown
    return sampled, filled


def _between(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Values (T, 4) that are `share` (T,) of the way from `first` to `second`; what has no part in
    one may be NaN."""
    part = share[:, None]
    mixed = (1 - part) * first + part * second
    mixed = np.where(part == 0, first, mixed)
    return np.where(part == 1, second, mixed)
