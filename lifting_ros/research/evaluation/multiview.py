# SPDX-License-Identifier: Apache-2.0
"""Several cameras around recorded motion: one camera's skeletons against the fused ones.

People of motion capture move within a circle of virtual cameras. Each camera finds them with the
errors that the keypoint network makes on rendered people (`keypoint_errors`), lifts and tracks them
as the node does; `multiview.SkeletonFuser` fuses what the cameras say.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

from lifting_ros.errors import DataError
from lifting_ros.estimator import KeypointLifter
from lifting_ros.geometry.body_frame import in_frame
from lifting_ros.geometry.camera import Camera
from lifting_ros.multiview.fuser import SkeletonFuser
from lifting_ros.multiview.fusion_config import FusionConfig
from lifting_ros.multiview.sighting import CameraFrame, View
from lifting_ros.multiview.smoother import FusedSmoother
from lifting_ros.multiview.timeline import CameraStream
from lifting_ros.research.datasets.keypoint_errors import KeypointErrors, extents, view_of
from lifting_ros.research.datasets.mocap import Mocap
from lifting_ros.research.evaluation.calibration import LEVELS, calibration, mahalanobis
from lifting_ros.skeleton import KEYPOINT_FLIP, KEYPOINT_TO_JOINT
from lifting_ros.tracking.tracking import Tracker
from lifting_ros.types import Person, Skeleton2D, Skeleton3D

SIZE_PX = (1280, 960)
FOCAL_PX = 900.0

RADIUS_M = 4.5
"""Distance of the cameras from the middle."""

HEIGHT_M = 2.0
"""Height of the cameras, which look at a point 1 m over the floor."""

ANGLES_DEG = (0, 90, 180, 270)
"""Directions of the cameras."""

RATE_HZ = 30.0

START_S = 1.0
"""Time of the first frame."""

SAME_ERRORS = 0.9
"""Probability that a person has the errors of the frame before: those of a video are correlated."""

NOISE_PX = 5.0
"""Standard deviation of independent Gaussian errors."""

SPREAD_M = 0.7
"""Distance of several people from the middle."""

CLIP_S = 2.0
"""Length of a scene."""

MOCAP_FPS = 10.0
"""Rate of the recorded poses."""

LATE_S = 0.04
"""Time by which one camera is late."""

_LEAST_KEYPOINTS = 4
_LEAST_ALIKE = 30


class Scene(NamedTuple):
    """People before cameras, F frames of P people."""

    joints_m: np.ndarray
    """(F, P, 17, 3) the truth; y up."""
    frames: list[list[CameraFrame]]
    """Of each camera; the persons of the truth in the same order, whoever was found."""
    names: list[list[list[int]]]
    """Which person of the truth each is."""


COUNTS = ("frames", "wrong_frames", "switches", "missing", "extra", "seconds")
"""Of `Seen`."""


@dataclass(frozen=True)
class Seen:
    """Errors of a run, one row a person and frame."""

    error_m: np.ndarray
    """(N, 17, 3) absolute."""
    skeletons: list[Skeleton3D]
    wrong_frames: int
    """Frames in which somebody was put together from two people."""
    frames: int
    switches: int
    """Changes of a person's id."""
    missing: int
    """Persons and frames without a skeleton."""
    extra: int
    """Skeletons of somebody who has another one."""
    seconds: float
    """CPU time of the fusion."""


def circle_of_cameras(angles_deg: Sequence[float]) -> list[View]:
    """Cameras on a circle that look at its middle, 1 m over the floor."""
    half = (np.array(SIZE_PX) - 1) / 2
    matrix = np.array([[FOCAL_PX, 0, half[0]], [0, FOCAL_PX, half[1]], [0, 0, 1]])
    views = []
    for angle in np.radians(angles_deg):
        eye = np.array([RADIUS_M * np.sin(angle), HEIGHT_M, RADIUS_M * np.cos(angle)])
        forward = np.array([0.0, 1, 0]) - eye
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 1, 0])
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3, :3] = np.column_stack([right, np.cross(forward, right), forward])
        pose[:3, 3] = eye
        views.append(View(Camera(matrix), pose))
    return views


def moving_people(mocap: Mocap, count: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Joints (F, count, 17, 3) of clips that stay near, at RATE_HZ, of people with their own
    proportions. DataError where there are too few."""
    rows = mocap.own_proportions
    length = round(seconds * MOCAP_FPS) + 1
    parts = []
    for clip in np.unique(mocap.clip_id[rows]):
        poses = mocap.positions_m[rows & (mocap.clip_id == clip)]
        for start in range(0, len(poses) - length, length):
            part = poses[start : start + length]
            way = part[:, 0, [0, 2]]
            if np.ptp(way, axis=0).max() < 2 * SPREAD_M:
                parts.append(part)

    if len(parts) < count:
        raise DataError(
            f"mocap: expected {count} clips of {seconds:g} s within {2 * SPREAD_M:g} m, got"
            f" {len(parts)}"
        )
    chosen = rng.choice(len(parts), count, replace=False)
    turn = rng.uniform(0, 2 * np.pi)
    people = []
    for number, index in enumerate(chosen):
        part = parts[index].copy()
        middle = (part[:, 0].min(0) + part[:, 0].max(0)) / 2
        part[..., [0, 2]] -= middle[[0, 2]]
        if count > 1:
            angle = turn + 2 * np.pi * number / count
            part[..., [0, 2]] += SPREAD_M * np.array([np.sin(angle), np.cos(angle)])
        people.append(part)

    times = np.arange(length) / MOCAP_FPS
    at = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return np.stack([CubicSpline(times, part)(at) for part in people], 1)


def make_scene(
    joints: np.ndarray,
    views: Sequence[View],
    errors: KeypointErrors | None,
    lifter: KeypointLifter,
    rng: np.random.Generator,
    offsets_s: Sequence[float] = (),
) -> Scene:
    """The frames of cameras. errors: None: Gaussian errors of NOISE_PX. offsets_s: by which each
    camera's frames come later."""
    offsets = offsets_s or [0.0] * len(views)
    times = np.arange(len(joints)) / RATE_HZ
    motion = CubicSpline(times, joints)
    frames = []
    names = []
    for number, (view, offset) in enumerate(zip(views, offsets)):
        camera_frames, camera_names = _of_camera(
            f"camera{number}", view, motion(times + offset), errors, lifter, rng
        )
        shift = round(1e9 * offset)
        frames.append([replace(f, stamp_ns=f.stamp_ns + shift) for f in camera_frames])
        names.append(camera_names)
    return Scene(joints, frames, names)


def _of_camera(
    name: str,
    view: View,
    joints: np.ndarray,
    errors: KeypointErrors | None,
    lifter: KeypointLifter,
    rng: np.random.Generator,
) -> tuple[list[CameraFrame], list[list[int]]]:
    tracker = Tracker()
    to_camera = np.linalg.inv(view.pose)
    up = to_camera[:3, :3] @ np.array([0.0, 1, 0])
    in_camera = joints @ to_camera[:3, :3].T + to_camera[:3, 3]
    points = view.camera.project(in_camera[:, :, list(KEYPOINT_TO_JOINT)])
    rows = np.full(joints.shape[1], -1)
    frames = []
    names = []
    for number, exact in enumerate(points):
        stamp = round((number / RATE_HZ + START_S) * 1e9)
        skeletons, rows = _with_errors(exact, errors, rows, rng)
        visible = [
            k
            for k, one in enumerate(skeletons)
            if (one.confidence > 0.15).sum() >= _LEAST_KEYPOINTS
        ]
        persons = lifter.lift([skeletons[k] for k in visible], view.camera, up)
        (tracked,) = tracker.update(stamp, persons)
        common = tuple(in_frame(person, view.pose) for person in tracked.persons)
        frames.append(CameraFrame(name, view, stamp, common))
        names.append(visible)
    return frames, names


def _with_errors(
    exact: np.ndarray,
    errors: KeypointErrors | None,
    rows: np.ndarray,
    rng: np.random.Generator,
) -> tuple[list[Skeleton2D], np.ndarray]:
    """Skeletons of people (P, 14, 2), and the row of errors of each."""
    found = exact + NOISE_PX * rng.standard_normal(exact.shape)
    confidence = np.ones(exact.shape[:2])
    std = np.full(exact.shape[:2], NOISE_PX)
    if errors is not None:
        new = (rows < 0) | (rng.random(len(rows)) > SAME_ERRORS)
        views = view_of(exact)
        rows = rows.copy()
        for person in np.flatnonzero(new):
            alike = np.flatnonzero(errors.view == views[person])
            rows[person] = rng.choice(alike if len(alike) >= _LEAST_ALIKE else len(errors.view))
        extent = extents(exact)[:, None]
        other = exact[:, list(KEYPOINT_FLIP)]
        belongs_to = np.where(errors.swapped[rows][..., None], other, exact)
        found = belongs_to + errors.offset[rows] * extent[..., None]
        confidence = errors.confidence[rows].astype(float)
        std = errors.deviation[rows] * extent

    inside = ((found >= 0) & (found < np.array(SIZE_PX))).all(-1)
    confidence = np.where(inside, confidence, 0.0)
    skeletons = []
    for points, sure, deviation in zip(found, confidence, std):
        box = np.concatenate([points.min(0), points.max(0)])
        covariance = deviation[:, None, None] ** 2 * np.eye(2)
        skeletons.append(Skeleton2D(points, sure, covariance, box, 0.9))
    return skeletons, rows


def run(
    scene: Scene,
    cameras: Sequence[int],
    config: FusionConfig | None = None,
    dropped: tuple[int, int, int] | None = None,
) -> Seen:
    """Fuse some cameras of a scene, at the times of the truth. dropped: a camera, and the first and
    the last frame that it does not give."""
    streams = []
    for camera in cameras:
        frames = scene.frames[camera]
        if dropped and camera == dropped[0]:
            frames = frames[: dropped[1]] + frames[dropped[2] + 1 :]
        streams.append(CameraStream(frames))

    fuser = SkeletonFuser(config)
    name_of = _names_of_tracks(scene, cameras)
    tally = _Tally()
    for number, truth in enumerate(scene.joints_m):
        start = time.thread_time()
        persons = fuser.fuse_streams(streams, round((number / RATE_HZ + START_S) * 1e9))
        seconds = time.thread_time() - start

        names = []
        for person in persons:
            names.append({name_of[source] for source in fuser.sources[person.id].items()})
        sizes = [len(fuser.sources[person.id]) for person in persons]
        tally.add(truth, persons, names, sizes)
        tally.counts["seconds"] += seconds
    return tally.seen()


def steadiness(scenes: Sequence[Scene], cameras: Sequence[int], smooth: bool) -> dict[str, float]:
    """How much the joints of the only person shake from frame to frame (rms of second differences
    of the absolute joints, mm), and the mean error of their velocities, m/s.

    smooth: as the node `lifting_fusion` does by default.
    """
    shaking = []
    errors = []
    for scene in scenes:
        streams = [CameraStream(scene.frames[camera]) for camera in cameras]
        fuser = SkeletonFuser()
        smoother = FusedSmoother(fuser.config.retention_s) if smooth else None
        truth = scene.joints_m[:, 0]
        joints = np.full(truth.shape, np.nan)
        velocity = np.full(truth.shape, np.nan)
        for number in range(len(truth)):
            stamp_ns = round((number / RATE_HZ + START_S) * 1e9)
            persons = fuser.fuse_streams(streams, stamp_ns)
            if smoother is not None:
                persons = smoother.smooth(stamp_ns, persons, fuser.sources)
            if not persons:
                continue

            apart = [np.linalg.norm(p.skeleton_3d.root_m - truth[number, 0]) for p in persons]
            nearest = persons[int(np.argmin(apart))]
            joints[number] = nearest.skeleton_3d.joints_m
            velocity[number] = nearest.velocity_mps

        shaking.append(np.diff(joints, 2, axis=0))
        moving = np.gradient(truth, axis=0) * RATE_HZ
        errors.append(np.linalg.norm(velocity - moving, axis=-1))

    return {
        "shaking mm": 1e3 * float(np.sqrt(np.nanmean(np.concatenate(shaking) ** 2))),
        "velocity m/s": float(np.nanmean(np.concatenate(errors))),
    }


def _names_of_tracks(scene: Scene, cameras: Sequence[int]) -> dict[tuple[str, int], int]:
    """The person of the truth of each camera's tracks."""
    name_of = {}
    for camera in cameras:
        for frame, names in zip(scene.frames[camera], scene.names[camera]):
            for person, name in zip(frame.persons, names):
                name_of[frame.camera, person.id] = name
    return name_of


class _Tally:
    """Counts what a fuser says against the truth."""

    def __init__(self):
        self._errors: list[np.ndarray] = []
        self._skeletons: list[Skeleton3D] = []
        self._last: dict[int, int] = {}
        self.counts: dict[str, float] = dict.fromkeys(COUNTS, 0)

    def add(
        self,
        truth: np.ndarray,
        persons: Sequence[Person],
        names: Sequence[set[int]],
        sizes: Sequence[int],
    ) -> None:
        """Add a frame. truth: (P, 17, 3); names: whom of the truth each person is made of; sizes:
        of how many cameras."""
        taken: dict[int, Person] = {}
        for index in np.argsort(sizes, kind="stable"):
            root = persons[index].skeleton_3d.root_m
            apart = {name: np.linalg.norm(truth[name, 0] - root) for name in names[index]}
            taken[min(apart, key=apart.__getitem__)] = persons[index]

        self.counts["frames"] += 1
        self.counts["wrong_frames"] += any(len(of) > 1 for of in names)
        self.counts["missing"] += len(truth) - len(taken)
        self.counts["extra"] += len(persons) - len(taken)
        for name, person in taken.items():
            self.counts["switches"] += self._last.get(name, person.id) != person.id
            self._last[name] = person.id
            self._errors.append(person.skeleton_3d.joints_m - truth[name])
            self._skeletons.append(person.skeleton_3d)

    def seen(self) -> Seen:
        return Seen(np.array(self._errors), self._skeletons, **self.counts)


def joined(parts: Sequence[Seen]) -> Seen:
    """Several runs as one."""
    return Seen(
        np.concatenate([part.error_m for part in parts]),
        [one for part in parts for one in part.skeletons],
        **{name: sum(getattr(part, name) for part in parts) for name in COUNTS},
    )


def figures(seen: Seen) -> dict[str, float]:
    """Errors in mm, coverage in %, and how often people were mixed up."""
    error = seen.error_m
    relative = error - error[:, :1]
    covariance = np.stack([one.covariance_m2 for one in seen.skeletons])
    root = np.stack([one.root_covariance_m2 for one in seen.skeletons])
    inner = slice(1, None)
    about_root = calibration(mahalanobis(relative[:, inner], covariance[:, inner]).ravel(), 3)
    absolute = calibration(mahalanobis(error, covariance + root[:, None]).ravel(), 3)

    def mm(values: np.ndarray) -> float:
        return 1e3 * float(np.nanmean(np.linalg.norm(values, axis=-1)))

    return {
        "MPJPE mm": mm(relative),
        "absolute mm": mm(error),
        "in 50 %": 100 * about_root.coverage[LEVELS.index(50)],
        "in 90 %": 100 * about_root.coverage[LEVELS.index(90)],
        "abs. in 50 %": 100 * absolute.coverage[LEVELS.index(50)],
        "abs. in 90 %": 100 * absolute.coverage[LEVELS.index(90)],
        "wrong per 1000": 1000 * seen.wrong_frames / seen.frames,
        "id changes": float(seen.switches),
        "missing": float(seen.missing),
        "extra": float(seen.extra),
        "poses": float(len(error)),
        "CPU ms a frame": 1000 * seen.seconds / seen.frames,
    }


def fused_tables(
    mocap: Mocap,
    errors: KeypointErrors | None,
    lifter: KeypointLifter,
    scenes: int,
    seed: int = 0,
) -> dict[str, dict[str, dict[str, float]]]:
    """Tables by title: one camera against two to four, for one person and for three people; how
    steady one person is with and without smoothing; a camera that is late, and one that drops out.

    errors: of the keypoints; None: Gaussian ones of NOISE_PX.
    """
    held_out = mocap.select(mocap.validation_rows())
    views = circle_of_cameras(ANGLES_DEG)
    tables = {}
    for people in (1, 3):
        made = _scenes(held_out, people, views, errors, lifter, scenes, seed)
        rows = {}
        for count in range(1, len(views) + 1):
            name = f"{count} camera{'s' if count > 1 else ''}"
            rows[name] = figures(joined([run(one, range(count)) for one in made]))
        tables[f"{people} {'person' if people == 1 else 'people'}"] = rows

        if people == 1:
            tables["steadiness, 1 person"] = {
                f"{count} cameras{', smoothed' if smooth else ''}": steadiness(
                    made, range(count), smooth
                )
                for count in range(2, len(views) + 1)
                for smooth in (False, True)
            }
            gap = (1, 20, 40)
            dropped = [run(one, range(3), dropped=gap) for one in made]
            tables["one of 3 cameras drops out"] = {"1 person": figures(joined(dropped))}

    rows = {}
    for name, late in (("at once", 0.0), (f"{1000 * LATE_S:.0f} ms late", LATE_S)):
        made = _scenes(held_out, 1, views[:2], errors, lifter, scenes, seed, (0.0, late))
        rows[name] = figures(joined([run(one, range(2)) for one in made]))
    tables["second of 2 cameras"] = rows
    return tables


def _scenes(  # noqa: PLR0913 - what scenes consist of
    mocap: Mocap,
    people: int,
    views: Sequence[View],
    errors: KeypointErrors | None,
    lifter: KeypointLifter,
    count: int,
    seed: int,
    offsets_s: Sequence[float] = (),
) -> list[Scene]:
    """Several scenes; with the same seed the people move in the same way."""
    made = []
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        joints = moving_people(mocap, people, CLIP_S, rng)
        made.append(make_scene(joints, views, errors, lifter, rng, offsets_s))
    return made
