# SPDX-License-Identifier: Apache-2.0
"""Poses of virtual cameras, estimated from recorded motion, against the true ones.

A recording is several clips of one person each, one after the other, at places near the middle of
a circle of cameras. The persons have the keypoint errors of `multiview.make_scene`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from lifting_ros.estimator import KeypointLifter
from lifting_ros.geometry.body_frame import in_frame
from lifting_ros.multiview.camera_poses import CameraPosesError, estimate_camera_poses
from lifting_ros.multiview.clock_offsets import estimate_clock_offsets
from lifting_ros.multiview.sighting import CameraFrame, View
from lifting_ros.multiview.timeline import CameraStream
from lifting_ros.research.datasets.keypoint_errors import KeypointErrors
from lifting_ros.research.datasets.mocap import Mocap
from lifting_ros.research.evaluation.multiview import (
    ANGLES_DEG,
    CLIP_S,
    SPREAD_M,
    circle_of_cameras,
    make_scene,
    moving_people,
)

SIZES = {"2 cameras, 2 s": (2, 1), "2 cameras, 20 s": (2, 10), "4 cameras, 20 s": (4, 10)}
"""Cameras and clips by the name of the row."""

LARGEST_OFFSET_S = 0.3
"""Largest true difference of two clocks."""

LONGEST_OFFSET_S = 0.5
"""Differences that are looked for."""

CLOCK_CLIPS = 10
"""Clips of a recording for that."""

_TRACKS_OF_CLIP = 1000
_CLIP_NS = 10_000_000_000


class PoseError(NamedTuple):
    """Errors of an estimated pose of a camera."""

    rotation_deg: float
    direction_deg: float
    """Angle between the true and the estimated place, as seen from the reference."""
    scale: float
    """Estimated distance from the reference, divided by the true one, less 1."""


def pose_error(
    estimated: np.ndarray,
    truth: np.ndarray,
) -> PoseError:
    """Errors of a pose (4, 4) in the frame of the reference camera."""
    turn = Rotation.from_matrix(truth[:3, :3].T @ estimated[:3, :3])
    place = estimated[:3, 3]
    true_place = truth[:3, 3]
    length = np.linalg.norm(place)
    distance = np.linalg.norm(true_place)
    cosine = place @ true_place / (length * distance)
    away = np.arccos(np.clip(cosine, -1, 1))
    return PoseError(
        rotation_deg=float(np.degrees(turn.magnitude())),
        direction_deg=float(np.degrees(away)),
        scale=float(length / distance - 1),
    )


def placement_table(
    mocap: Mocap,
    errors: KeypointErrors | None,
    lifter: KeypointLifter,
    recordings: int,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Errors of the estimated poses, by the number of cameras and the length of a recording.

    errors: of the keypoints; None: Gaussian ones.
    """
    held_out = mocap.select(mocap.validation_rows())
    rows = {}
    for name, (cameras, clips) in SIZES.items():
        views = circle_of_cameras(ANGLES_DEG[:cameras])
        found: list[PoseError] = []
        refused = 0
        for number in range(recordings):
            rng = np.random.default_rng((seed, number))
            streams = _recording(held_out, views, errors, lifter, clips, rng)
            try:
                placed = estimate_camera_poses([f"{k}" for k in range(cameras)], streams)
            except CameraPosesError:
                refused += 1
                continue
            for view, pose in zip(views[1:], placed.poses[1:]):
                truth = np.linalg.inv(views[0].pose) @ view.pose
                found.append(pose_error(pose, truth))

        rows[name] = _figures(found, recordings, refused)
    return rows


def clock_table(
    mocap: Mocap,
    errors: KeypointErrors | None,
    lifter: KeypointLifter,
    recordings: int,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Errors of the estimated offset between the clocks of two cameras, which is up to
    LARGEST_OFFSET_S; arguments as in `placement_table`."""
    held_out = mocap.select(mocap.validation_rows())
    views = circle_of_cameras(ANGLES_DEG[:2])
    errors_ms = []
    refused = 0
    for number in range(recordings):
        rng = np.random.default_rng((seed, number))
        first, second = _recording(held_out, views, errors, lifter, CLOCK_CLIPS, rng)
        late_s = rng.uniform(-LARGEST_OFFSET_S, LARGEST_OFFSET_S)
        streams = [first, second.shifted(round(1e9 * late_s))]
        try:
            found = estimate_clock_offsets(("0", "1"), streams, LONGEST_OFFSET_S)
        except CameraPosesError:
            refused += 1
            continue
        errors_ms.append(1e3 * abs(found[1] - late_s))

    return {
        "2 cameras, 20 s": {
            "median ms": float(np.median(errors_ms)) if errors_ms else np.nan,
            "worst ms": float(np.max(errors_ms, initial=0.0)),
            "recordings": float(recordings),
            "refused": float(refused),
        }
    }


def _figures(
    found: Sequence[PoseError],
    recordings: int,
    refused: int,
) -> dict[str, float]:
    values = np.abs(np.array(found).reshape(-1, 3))
    median = np.median(values, axis=0) if len(values) else np.full(3, np.nan)
    worst = values.max(0) if len(values) else np.full(3, np.nan)
    return {
        "rotation deg": float(median[0]),
        "worst": float(worst[0]),
        "direction deg": float(median[1]),
        "worst dir.": float(worst[1]),
        "scale %": float(100 * median[2]),
        "worst scale": float(100 * worst[2]),
        "recordings": float(recordings),
        "refused": float(refused),
    }


def _recording(
    mocap: Mocap,
    views: Sequence[View],
    errors: KeypointErrors | None,
    lifter: KeypointLifter,
    clips: int,
    rng: np.random.Generator,
) -> list[CameraStream]:
    """What each camera sees, in its own optical frame."""
    streams = [CameraStream() for _ in views]
    for clip in range(clips):
        joints = moving_people(mocap, 1, CLIP_S, rng)
        joints = joints - joints[:, :, :1].mean(0) * [1, 0, 1]
        joints = joints + rng.uniform(-SPREAD_M, SPREAD_M, 3) * [1, 0, 1]
        scene = make_scene(joints, views, errors, lifter, rng)
        for stream, view, frames in zip(streams, views, scene.frames):
            for frame in frames:
                stream.add(_own(frame, view, clip))

    return streams


def _own(
    frame: CameraFrame,
    view: View,
    clip: int,
) -> CameraFrame:
    """A frame of a clip in the optical frame of its camera, with stamps and ids of its own."""
    to_camera = np.linalg.inv(view.pose)
    persons = []
    for person in frame.persons:
        number = person.id + _TRACKS_OF_CLIP * clip if person.id else 0
        persons.append(replace(in_frame(person, to_camera), id=number))

    return CameraFrame(
        camera=frame.camera,
        view=View(view.camera, np.eye(4)),
        stamp_ns=frame.stamp_ns + clip * _CLIP_NS,
        persons=tuple(persons),
    )
