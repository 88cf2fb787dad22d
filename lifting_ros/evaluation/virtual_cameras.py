# SPDX-License-Identifier: Apache-2.0
"""Virtual-camera protocol: motion capture seen by pinhole cameras around the person, exact keypoints, noisy ones, and some missing."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.core.camera import Camera
from lifting_ros.core.skeleton import KEYPOINT_TO_JOINT

FOCAL_PX, SIZE_PX = 1150.0, 1000


class Views(NamedTuple):
    """N views of poses."""

    joints_m: np.ndarray
    """(N, 17, 3) in the optical frame."""
    keypoints_px: np.ndarray
    """(N, 14, 2) exact."""
    up: np.ndarray
    """(N, 3) in the optical frame."""
    camera: Camera


def make_views(positions_m: np.ndarray, cameras: int = 4, seed: int = 0) -> Views:
    """See every pose (N, 17, 3; metres, y up, height above the floor kept) from `cameras` places.

    They are 3 to 6 m away, 0.8 to 1.8 m high, aimed at the person's middle, f = 1150 px at 1000 x 1000.
    """
    rng = np.random.default_rng(seed)
    poses = np.repeat(positions_m, cameras, 0)
    count = len(poses)
    middle = 0.5 * (poses.min(1) + poses.max(1))
    angle, distance, height = rng.uniform(0, 2 * np.pi, count), rng.uniform(3, 6, count), rng.uniform(0.8, 1.8, count)
    eye = np.stack([middle[:, 0] + distance * np.sin(angle), height, middle[:, 2] + distance * np.cos(angle)], -1)
    forward = middle - eye
    forward /= np.linalg.norm(forward, axis=-1, keepdims=True)
    right = np.cross(forward, [0.0, 1, 0])
    right /= np.linalg.norm(right, axis=-1, keepdims=True)
    rotation = np.stack([right, np.cross(forward, right), forward], 1)  # rows: x right, y down, z forward
    joints = np.einsum("nab,njb->nja", rotation, poses - eye[:, None])
    half = (SIZE_PX - 1) / 2
    camera = Camera(np.array([[FOCAL_PX, 0, half], [0, FOCAL_PX, half], [0, 0, 1]]))
    return Views(joints, camera.project(joints[:, list(KEYPOINT_TO_JOINT)]), rotation[:, :, 1], camera)


def disturb(views: Views, noise_px: float, missing: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (N, 14, 2) with Gaussian noise, and confidences (N, 14) with `missing` random zeros a person."""
    rng = np.random.default_rng(seed)
    keypoints = views.keypoints_px + noise_px * rng.standard_normal(views.keypoints_px.shape)
    confidence = np.ones(keypoints.shape[:2])
    if missing:
        hidden = rng.random(confidence.shape).argsort(1)[:, :missing]
        np.put_along_axis(confidence, hidden, 0.0, 1)
    return np.where(confidence[..., None] > 0, keypoints, np.nan), confidence
