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
from lifting_ros.types import Person, Skeleton3D

GAP_S = 0.1
"""Longest time between two known positions of a joint that is bridged, in seconds; two and a half
periods where those are longer."""

UP = (0.0, -1.0, 0.0)
"""Up in the optical frame of a level camera."""

_GAP_PERIODS = 2.5
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
        return np.isfinite(self.joints_m).all(-1)

    @property
    def times_s(self) -> np.ndarray:
        """(T,) seconds since the recording's earliest stamp."""
        return (self.first + np.arange(len(self.joints_m))) / self.rate_hz


def uniform_tracks(
    frames: Sequence[PoseFrame], up: Sequence[float] = UP, source: object = "poses"
) -> list[UniformTrack]:
    """The track of each person with a known joint, by id.

    up: the upward direction in the frame of the poses, of any length; source: named in errors.

    DataError where a person has two poses with the same stamp, where the poses of a person are in
    several coordinate frames, or where stamps are too far apart.
    """
    if not frames:
        return []

    stamps = np.array([frame.stamp_ns for frame in frames], np.int64)
    start_ns = int(stamps.min())
    period_ns = _usual_period_ns(stamps)
    to_model = up_to_camera(np.array(up, float))

    tracks = []
    for person_id, rows in sorted(_rows_by_person(frames).items()):
        rows = [row for row in rows if np.isfinite(row[1].skeleton_3d.joints_m).all(-1).any()]
        if not rows:
            continue

        what = f"{source}: person {person_id}"
        _check_rows(rows, what)
        rows.sort(key=lambda row: row[0].stamp_ns)
        since_start = [frame.stamp_ns - start_ns for frame, _ in rows]
        times = np.array(since_start) / period_ns
        values = np.array([_values_of(person.skeleton_3d, to_model) for _, person in rows])

        first = int(np.rint(times[0]))
        last = int(np.rint(times[-1]))
        if last - first >= _MOST_SAMPLES:
            raise DataError(
                f"{what}: {len(rows)} poses over {(last - first) * period_ns * 1e-9:.0f} s;"
                f" expected at most {_MOST_SAMPLES} periods of {period_ns * 1e-6:.1f} ms"
            )

        grid = np.arange(first, last + 1)
        most = max(_GAP_PERIODS, GAP_S * 1e9 / period_ns)
        sampled, filled = _sample(times, values, grid, most)
        tracks.append(
            UniformTrack(
                person_id=person_id,
                first=first,
                rate_hz=1e9 / period_ns,
                joints_m=sampled[..., :3],
                std_m=sampled[..., 3],
                filled=filled,
            )
        )

    return tracks


Row = tuple[PoseFrame, Person]


def _usual_period_ns(stamps: np.ndarray) -> float:
    """Mean of the times between stamps that are close to the median: those of a camera are often
    rounded, which the median alone would keep. That of still poses where there is one stamp."""
    between = np.diff(np.unique(stamps))
    if not len(between):
        return float(STILL_PERIOD_NS)

    median = np.median(between)
    least, most = (share * median for share in _USUAL)
    usual = between[(between >= least) & (between <= most)]
    return float(usual.mean()) if len(usual) else float(median)


def _rows_by_person(frames: Sequence[PoseFrame]) -> dict[int, list[Row]]:
    """Each person's poses with their frames, by track id."""
    rows: dict[int, list[Row]] = {}
    for frame in frames:
        for person in frame.persons:
            rows.setdefault(person.id, []).append((frame, person))
    return rows


def _check_rows(rows: Sequence[Row], what: str) -> None:
    """Raise DataError for poses that are not those of one person in one coordinate frame."""
    stamps = [frame.stamp_ns for frame, _ in rows]
    unique, counts = np.unique(stamps, return_counts=True)
    if counts.max() > 1:
        raise DataError(
            f"{what}: {counts.max()} poses with the stamp {unique[counts.argmax()]} ns; expected"
            " tracked people, with one pose per stamp (id 0: not tracked)"
        )

    frame_ids = sorted({frame.frame_id for frame, _ in rows})
    if len(frame_ids) > 1:
        raise DataError(f"{what}: expected one coordinate frame, got {', '.join(frame_ids)}")


def _values_of(pose: Skeleton3D, to_model: np.ndarray) -> np.ndarray:
    """Positions (m) in the axes of the track, and their standard deviation: (17, 4).

    to_model: rotation (3, 3) from the axes of the track to those of the pose. A root whose
    covariance is not known adds nothing: without a camera it is at the origin.
    """
    covariance = pose.covariance_m2 + np.nan_to_num(pose.root_covariance_m2)
    variance = np.trace(covariance, axis1=-2, axis2=-1) / 3
    std = np.sqrt(np.maximum(variance, 0.0))  # keeps NaN
    return np.column_stack([pose.joints_m @ to_model, std])


def _sample(
    times: np.ndarray, values: np.ndarray, grid: np.ndarray, most: float
) -> tuple[np.ndarray, np.ndarray]:
    """Each joint at the times of a grid, (T, 17, 4), and whether it was filled in, (T, 17).

    times: (S,) of the poses, in periods; values: (S, 17, 4); grid: (T,) in periods; most: longest
    gap that is filled, in periods.
    """
    sampled = np.full((len(grid), JOINT_COUNT, 4), np.nan)
    filled = np.zeros((len(grid), JOINT_COUNT), bool)

    for j in range(JOINT_COUNT):
        known = np.isfinite(values[:, j, :3]).all(-1)
        if known.any():
            sampled[:, j], filled[:, j] = _sample_joint(times[known], values[known, j], grid, most)

    return sampled, filled


def _sample_joint(
    times: np.ndarray, values: np.ndarray, grid: np.ndarray, most: float
) -> tuple[np.ndarray, np.ndarray]:
    """One joint at the times of a grid, (T, 4), and whether it was filled in, (T,).

    Beside a long gap, and at both ends, a position counts for half a period.
    """
    # Positions around each time
    last = len(times) - 1
    before = np.searchsorted(times, grid, "right").clip(1, last + 1) - 1
    after = np.minimum(before + 1, last)
    since = grid - times[before]
    until = times[after] - grid
    span = times[after] - times[before]

    # How far each time is between them
    share = np.clip(since / np.where(span > 0, span, 1.0), 0.0, 1.0)
    long = span > most
    share = np.where(long, np.rint(share), share)[:, None]

    # Times without a pose
    far = np.minimum(np.abs(since), np.abs(until)) > 0.5
    outside = (grid < times[0]) | (grid > times[-1])
    unknown = far & (long | outside)

    # A weight of zero hides nothing: the standard deviation may be NaN
    first, second = values[before], values[after]
    between = (1 - share) * first + share * second
    between = np.where(share == 0, first, np.where(share == 1, second, between))
    between[unknown] = np.nan
    return between, far & ~unknown
