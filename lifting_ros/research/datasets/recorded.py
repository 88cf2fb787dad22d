# SPDX-License-Identifier: Apache-2.0
"""People as the cameras of a data set saw them: what the readers of Human3.6M and MPI-INF-3DHP
give."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.errors import DataError
from lifting_ros.geometry.camera import Camera
from lifting_ros.skeleton import KEYPOINT_TO_JOINT


class Recorded(NamedTuple):
    """N views of people."""

    joints_m: np.ndarray
    """(N, 17, 3) in the optical frame of the view's camera."""
    keypoints_px: np.ndarray
    """(N, 14, 2) exact."""
    up: np.ndarray
    """(N, 3) in the optical frame; NaN where it is not known."""
    camera: np.ndarray
    """(N,) number of the view's camera."""
    cameras: tuple[Camera, ...]
    action: np.ndarray
    """(N,) name of what is done."""

    def select(self, rows: np.ndarray) -> Recorded:
        """The views of a boolean or integer index."""
        return self._replace(
            **{
                name: getattr(self, name)[rows]
                for name in ("joints_m", "keypoints_px", "up", "camera", "action")
            }
        )


class Placed(NamedTuple):
    """A calibrated camera in the world."""

    camera: Camera
    rotation: np.ndarray
    """(3, 3) from the world into the optical frame."""
    position_m: np.ndarray
    """(3,) in the world."""


def seen_by(
    world_m: np.ndarray, up: np.ndarray, cameras: tuple[Placed, ...], action: np.ndarray
) -> Recorded:
    """Poses (N, 17, 3) of a world in which up is `up` (3,), as every camera sees them, one camera
    after the other; action (N,)."""
    parts = []
    for number, placed in enumerate(cameras):
        joints = (world_m - placed.position_m) @ placed.rotation.T
        keypoints = placed.camera.project(joints[:, list(KEYPOINT_TO_JOINT)])
        ups = np.tile(placed.rotation @ up, (len(joints), 1))
        parts.append((joints, keypoints, ups, np.full(len(joints), number), action))

    joints, keypoints, ups, numbers, actions = (np.concatenate(values) for values in zip(*parts))
    seen = np.isfinite(keypoints).all((1, 2))  # nobody behind the camera

    return Recorded(
        joints, keypoints, ups, numbers, tuple(p.camera for p in cameras), actions
    ).select(seen)


def fit_camera(joints_m: np.ndarray, pixels: np.ndarray) -> Camera:
    """The pinhole camera that shows points (n, 3) of its optical frame in pixels (n, 2), by least
    squares; DataError where none does."""
    if len(joints_m) < 6 or not (joints_m[:, 2] > 0).all():
        raise DataError("expected six points or more before the camera")

    matrix = np.eye(3)
    for axis in (0, 1):
        rays = np.stack([joints_m[:, axis] / joints_m[:, 2], np.ones(len(joints_m))], 1)
        matrix[axis, [axis, 2]] = np.linalg.lstsq(rays, pixels[:, axis], rcond=None)[0]

    return Camera(matrix)
