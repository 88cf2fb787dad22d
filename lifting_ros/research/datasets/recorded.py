# SPDX-License-Identifier: Apache-2.0
"""People in the cameras of a data set, as the readers of Human3.6M and MPI-INF-3DHP return them."""

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
    """(N, 3) in the optical frame; NaN if unknown."""
    camera: np.ndarray
    """(N,) number of the view's camera."""
    cameras: tuple[Camera, ...]
    action: np.ndarray
    """(N,) name of the action."""

    def select(self, rows: np.ndarray) -> Recorded:
        """The views of a boolean or integer index."""
        return Recorded(
            self.joints_m[rows],
            self.keypoints_px[rows],
            self.up[rows],
            self.camera[rows],
            self.cameras,
            self.action[rows],
        )


class Placed(NamedTuple):
    """A calibrated camera in the world."""

    camera: Camera
    rotation: np.ndarray
    """(3, 3) from the world to the optical frame."""
    position_m: np.ndarray
    """(3,) in the world."""


def seen_by(
    world_m: np.ndarray,
    up: np.ndarray,
    cameras: tuple[Placed, ...],
    action: np.ndarray,
) -> Recorded:
    """Poses (N, 17, 3) with actions (N,) in each of the cameras, one camera after the other, except
    those behind the camera. up: (3,) in the world."""
    parts = []
    for number, placed in enumerate(cameras):
        joints = (world_m - placed.position_m) @ placed.rotation.T
        keypoints = placed.camera.project(joints[:, list(KEYPOINT_TO_JOINT)])
        ups = np.tile(placed.rotation @ up, (len(joints), 1))
        numbers = np.full(len(joints), number)
        parts.append((joints, keypoints, ups, numbers, action))

    joints, keypoints, ups, numbers, actions = (np.concatenate(values) for values in zip(*parts))
    own_cameras = tuple(placed.camera for placed in cameras)
    views = Recorded(joints, keypoints, ups, numbers, own_cameras, actions)

    in_front = np.isfinite(keypoints).all((1, 2))
    return views.select(in_front)


def fit_camera(
    joints_m: np.ndarray,
    pixels: np.ndarray,
) -> Camera:
    """The pinhole camera that projects points (n, 3) in its optical frame to pixels (n, 2), by
    least squares; DataError with fewer than six points, or with points behind it."""
    if len(joints_m) < 6 or not (joints_m[:, 2] > 0).all():
        raise DataError("expected six points or more before the camera")

    matrix = np.eye(3)
    for axis in (0, 1):
        slope = joints_m[:, axis] / joints_m[:, 2]
        rays = np.stack([slope, np.ones(len(joints_m))], 1)
        solution = np.linalg.lstsq(rays, pixels[:, axis], rcond=None)
        matrix[axis, [axis, 2]] = solution[0]

    return Camera(matrix)
