# SPDX-License-Identifier: Apache-2.0
"""Videos with motion-capture truth: NAME.mp4 beside NAME.npz.

The .npz holds `time_s` (T,), rising, `joints_m` (T, K, 3) in any frame, metres, and `joint_names`
(K,), as `right_knee` or `rknee`. The frame at time t is compared with the joints at time t. The
camera is not known: each person is aligned with the truth by a similarity. PA-MPJPE is the error
then; for the coverage both are put on the middle of their hips, because covariances are about the
root.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifting_ros.errors import DataError
from lifting_ros.io.arrays import read_arrays
from lifting_ros.io.images import Frame, ImageSource, Losses
from lifting_ros.research.evaluation.coverage import Covered
from lifting_ros.research.evaluation.procrustes import align
from lifting_ros.skeleton import JOINT_NAMES
from lifting_ros.tracking.tracking import TrackedFrame
from lifting_ros.types import JointStatus, Person

VIDEO_SUFFIX = ".mp4"

LEAST_JOINTS = 4
"""Joints that a similarity requires, and one more to measure anything."""

HIPS = (JOINT_NAMES.index("right_hip"), JOINT_NAMES.index("left_hip"))
"""The root lies between them; not every truth has a root, and where it lies differs."""

_SHORT_SIDES = {"r": "right_", "l": "left_"}


class Truth(NamedTuple):
    """The joints of one recorded person over time."""

    time_s: np.ndarray
    """(T,) from the first frame of the video."""
    joints_m: np.ndarray
    """(T, K, 3) in the laboratory's frame."""
    joints: tuple[int, ...]
    """(K,) numbers of JOINT_NAMES."""

    def at(self, time_s: np.ndarray) -> np.ndarray:
        """Joints (N, K, 3) at times (N,), interpolated linearly."""
        flat = self.joints_m.reshape(len(self.time_s), -1)
        columns = [np.interp(time_s, self.time_s, column) for column in flat.T]
        return np.stack(columns, 1).reshape(-1, *self.joints_m.shape[1:])


def videos_in(folder: Path) -> list[Path]:
    """The videos of a folder that have a truth beside them; DataError where there is none."""
    videos = []
    for video in sorted(folder.glob(f"*{VIDEO_SUFFIX}")):
        if video.with_suffix(".npz").is_file():
            videos.append(video)
    if not videos:
        raise DataError(f"{folder}: expected NAME{VIDEO_SUFFIX} and NAME.npz with its joints")
    return videos


def read_truth(path: Path) -> Truth:
    """The truth of a video; DataError in one line that names the array that is unfit."""
    expected = {"time_s": ("T",), "joints_m": ("T", "K", 3), "joint_names": ("K",)}
    arrays = read_arrays(path, expected)

    time_s = arrays["time_s"].astype(float)
    joints_m = arrays["joints_m"].astype(float)
    if len(time_s) < 2 or not (np.diff(time_s) > 0).all():
        raise DataError(f"{path}: time_s: expected two times or more, rising")
    if not np.isfinite(joints_m).all():
        raise DataError(f"{path}: joints_m: expected finite numbers")

    joints = tuple(_joint_of(str(name), path) for name in arrays["joint_names"])
    if len(set(joints)) != len(joints) or len(joints) < LEAST_JOINTS:
        raise DataError(f"{path}: joint_names: expected {LEAST_JOINTS} joints or more, each once")
    return Truth(time_s, joints_m, joints)


def _joint_of(name: str, path: Path) -> int:
    """Number of a joint by name, also where the side is one letter: `rknee`."""
    long = _SHORT_SIDES.get(name[:1], "") + name[1:]
    for candidate in (name, long):
        if candidate in JOINT_NAMES:
            return JOINT_NAMES.index(candidate)
    raise DataError(f"{path}: joint_names: {name}: expected names such as {', '.join(JOINT_NAMES)}")


@dataclass(frozen=True)
class ThinnedSource(ImageSource):
    """Every so many-th frame of a source, at the times that the source gives. Made by `thin`."""

    whole: ImageSource | None = None
    every: int = 1

    def stamped(self, losses: Losses | None = None) -> Iterator[Frame]:
        yield from islice(self.whole.stamped(losses), 0, None, self.every)


def thin(source: ImageSource, every: int) -> ImageSource:
    """The frames 0, every, 2 every and so on of a source."""
    count = -(-source.count // every)
    fps = source.fps / every
    return ThinnedSource(source.name, fps, count, source.live, source.images, source, every)


def measure_video(frames: Sequence[TrackedFrame], truth: Truth) -> Covered:
    """The largest person of each frame beside the truth, aligned with it.

    Frames before or after the recording are left out; those where nobody was lifted are not found.
    """
    within = [frame for frame in frames if _is_within(frame, truth)]
    joints = list(truth.joints)
    chosen = []
    times = []
    for frame in within:
        person = largest(frame.persons)
        if person is not None and np.isfinite(person.skeleton_3d.joints_m[joints]).all():
            chosen.append(person.skeleton_3d)
            times.append(frame.stamp_ns / 1e9)

    count = len(chosen)
    joints_m = np.array([s.joints_m[joints] for s in chosen]).reshape(count, len(joints), 3)
    covariance = np.array([s.covariance_m2[joints] for s in chosen])
    status = np.array([s.status[joints] for s in chosen], np.uint8)

    truth_m = truth.at(np.array(times))
    aligned = align(joints_m, truth_m)
    error_m = aligned.joints - truth_m
    status = status.reshape(joints_m.shape[:2])
    centred_m, counted = about_hips(error_m, truth.joints)
    return Covered(
        error_m=centred_m,
        covariance_m2=aligned.covariance(covariance.reshape(*joints_m.shape, 3)),
        status=np.where(counted, status, JointStatus.INVALID),
        names=tuple(JOINT_NAMES[joint] for joint in joints),
        errors_mm={"PA-MPJPE": 1e3 * np.linalg.norm(error_m, axis=-1).mean(-1)},
        sought=len(within),
    )


def about_hips(error_m: np.ndarray, joints: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Errors (N, K, 3) without that of the middle of the hips, as covariances are about the root,
    and which joints (K,) count then: not the hips.

    joints: (K,) numbers of JOINT_NAMES; without both hips the errors stay as they are.
    """
    is_hip = np.isin(joints, HIPS)
    if is_hip.sum() < len(HIPS):
        return error_m, np.ones(len(joints), bool)
    return error_m - error_m[:, is_hip].mean(1, keepdims=True), ~is_hip


def _is_within(frame: TrackedFrame, truth: Truth) -> bool:
    return bool(truth.time_s[0] <= frame.stamp_ns / 1e9 <= truth.time_s[-1])


def largest(persons: Sequence[Person]) -> Person | None:
    """The person with the largest box; None where there is nobody."""

    def area(person: Person) -> float:
        x0, y0, x1, y1 = person.skeleton_2d.box_px
        return float((x1 - x0) * (y1 - y0))

    return max(persons, key=area, default=None)
