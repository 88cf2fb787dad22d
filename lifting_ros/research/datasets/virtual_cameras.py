# SPDX-License-Identifier: Apache-2.0
"""Virtual cameras: motion capture seen by pinhole cameras around the person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lifting_ros.geometry.camera import Camera
from lifting_ros.skeleton import KEYPOINT_TO_JOINT

FOCAL_PX = 1150.0
SIZE_PX = 1000


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
    """See every pose (N, 17, 3; metres, y up, height above the floor kept) from `cameras` places.

    They are 3 to 6 m away, 0.8 to 1.8 m high, aimed at the person's middle, f = 1150 px at 1000 x
    1000. With `pitch_deg` they are as high as it takes to look down by that angle.
    """
    rng = np.random.default_rng(seed)
    poses = np.repeat(positions_m, cameras, 0)
    count = len(poses)
    middle = 0.5 * (poses.min(1) + poses.max(1))
    angle = rng.uniform(0, 2 * np.pi, count)
    distance = rng.uniform(3, 6, count)
    height = rng.uniform(0.8, 1.8, count)

    if pitch_deg is not None:
        height = middle[:, 1] + distance * np.tan(np.radians(pitch_deg))

    eye = np.stack(
        [middle[:, 0] + distance * np.sin(angle), height, middle[:, 2] + distance * np.cos(angle)],
        -1,
    )

    return look(poses, eye, middle - eye)


def look(poses_m: np.ndarray, eye_m: np.ndarray, forward: np.ndarray) -> Views:
    """See poses (N, 17, 3; metres, y up) from `eye_m` (N, 3) along `forward` (N, 3; any length, not
    vertical), the camera not rolled."""
    forward = forward / np.linalg.norm(forward, axis=-1, keepdims=True)
    right = np.cross(forward, [0.0, 1, 0])
    right /= np.linalg.norm(right, axis=-1, keepdims=True)
    # rows: x right, y down, z forward
    rotation = np.stack([right, np.cross(forward, right), forward], 1)
    joints = np.einsum("nab,njb->nja", rotation, poses_m - eye_m[:, None])
    half = (SIZE_PX - 1) / 2
    camera = Camera(np.array([[FOCAL_PX, 0, half], [0, FOCAL_PX, half], [0, 0, 1]]))

    return Views(
        joints, camera.project(joints[:, list(KEYPOINT_TO_JOINT)]), rotation[:, :, 1], camera
    )
