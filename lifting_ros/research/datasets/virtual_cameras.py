# SPDX-License-Identifier: Apache-2.0
"""Virtual cameras: motion capture seen by pinhole cameras around the person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lifting_ros.geometry.camera import Camera
from lifting_ros.skeleton import KEYPOINT_TO_JOINT

FOCAL_PX = 1150.0
"""Focal length of the cameras."""

SIZE_PX = 1000
"""Width and height of their images."""


class Views(NamedTuple):
    """N views of poses."""

    joints_m: np.ndarray
    """(N, 17, 3) in the optical frame."""
    keypoints_px: np.ndarray
    """(N, 14, 2) exact."""
    up: np.ndarray
    """(N, 3) in the optical frame."""
    camera: Camera


def make_views(
    positions_m: np.ndarray,
    cameras: int = 4,
    seed: int | Sequence[int] = 0,
    pitch_deg: float | None = None,
) -> Views:
    """Views of each pose (N, 17, 3; metres, y up, the floor at 0) from `cameras` places.

    The cameras are 3 to 6 m away and 0.8 to 1.8 m high, and look at the middle of the person. With
    `pitch_deg` their height is the one from which they look down by that angle.
    """
    rng = np.random.default_rng(seed)
    poses = np.repeat(positions_m, cameras, 0)
    count = len(poses)
    middle = middle_of(poses)
    angle = rng.uniform(0, 2 * np.pi, count)
    distance = rng.uniform(3, 6, count)
    height = rng.uniform(0.8, 1.8, count)
    if pitch_deg is not None:
        height = middle[:, 1] + distance * np.tan(np.radians(pitch_deg))

    eye = around(middle, distance, angle, height)
    return look(poses, eye, middle - eye)


def middle_of(poses_m: np.ndarray) -> np.ndarray:
    """Middle (N, 3) of the bounding boxes of poses (N, J, 3)."""
    return 0.5 * (poses_m.min(1) + poses_m.max(1))


def around(
    middle_m: np.ndarray,
    distance_m: np.ndarray,
    angle: np.ndarray,
    height_m: np.ndarray,
) -> np.ndarray:
    """Places (N, 3; y up) at a horizontal distance (N,) from points (N, 3), in a direction (N,) in
    radians about the vertical, at a height (N,)."""
    x = middle_m[:, 0] + distance_m * np.sin(angle)
    z = middle_m[:, 2] + distance_m * np.cos(angle)
    return np.stack([x, height_m, z], -1)


def look(
    poses_m: np.ndarray,
    eye_m: np.ndarray,
    forward: np.ndarray,
) -> Views:
    """Views of poses (N, 17, 3; metres, y up) from `eye_m` (N, 3) along `forward` (N, 3; any
    length, not vertical), without roll."""
    forward = forward / np.linalg.norm(forward, axis=-1, keepdims=True)
    right = np.cross(forward, [0.0, 1, 0])
    right /= np.linalg.norm(right, axis=-1, keepdims=True)
    down = np.cross(forward, right)
    rotation = np.stack([right, down, forward], 1)  # (N, 3, 3), its rows the camera's axes
    joints = np.einsum("nab,njb->nja", rotation, poses_m - eye_m[:, None])

    half = (SIZE_PX - 1) / 2
    matrix = np.array([[FOCAL_PX, 0, half], [0, FOCAL_PX, half], [0, 0, 1]])
    camera = Camera(matrix)
    keypoints = camera.project(joints[:, list(KEYPOINT_TO_JOINT)])
    up = rotation[:, :, 1]

    return Views(joints, keypoints, up, camera)
