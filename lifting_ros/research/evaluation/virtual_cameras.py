# SPDX-License-Identifier: Apache-2.0
"""Virtual-camera protocols: validation poses seen by pinhole cameras, with exact, noisy or missing
keypoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lifting_ros.errors import DataError
from lifting_ros.geometry.camera import Camera
from lifting_ros.research.datasets.mocap import Mocap
from lifting_ros.research.datasets.virtual_cameras import make_views
from lifting_ros.skeleton import KEYPOINT_COUNT, KEYPOINT_NAMES

MODEL_NOISE_PX = 2.0
"""Smallest standard deviation of the keypoints that the lifter is told, px."""

LEGS = tuple(k for k, name in enumerate(KEYPOINT_NAMES) if name.endswith(("hip", "knee", "ankle")))
"""The six keypoints of hips, knees and ankles."""


@dataclass(frozen=True)
class Protocol:
    """How people are seen. The default: all keypoints exact, camera and up direction known."""

    noise_px: float = 0.0
    """Standard deviation of the keypoints; the lifter knows it."""
    missing: int = 0
    """Number of random keypoints removed from each person."""
    hidden: tuple[int, ...] = ()
    """Keypoints removed from each person."""
    handstand: bool = False
    """Whether people are upside down."""
    pitch_deg: float | None = None
    """Downward pitch of the cameras; None: they stand 0.8 to 1.8 m high and look at the person."""
    size_std: float = 0.0
    """Relative standard deviation of the people's size; the recorded people differ little in it."""
    gravity: bool = True
    """Whether the lifter knows the up direction."""
    calibrated: bool = True
    """Whether the lifter knows K."""


PROTOCOLS = {
    "exact": Protocol(),
    "5 px noise": Protocol(noise_px=5.0),
    "3 missing": Protocol(missing=3),
}
"""For every lifter."""

MORE_PROTOCOLS = {
    "5 px noise, all sizes": Protocol(noise_px=5.0, size_std=0.043),
    "handstand": Protocol(handstand=True),
    "handstand, up unknown": Protocol(handstand=True, gravity=False),
    "pitched 30 deg": Protocol(pitch_deg=30.0),
    "up unknown": Protocol(gravity=False),
    "legs missing": Protocol(hidden=LEGS),
    "no K": Protocol(calibrated=False),
}
"""Harder ones, for the prior's lifter."""


class Trial(NamedTuple):
    """The input of a lifter for N views, and the truth."""

    keypoints_px: np.ndarray
    """(N, 14, 2), NaN where missing."""
    confidence: np.ndarray
    """(N, 14), 0 where missing."""
    covariance_px2: np.ndarray
    """(N, 14, 2, 2)."""
    camera: Camera | None
    """None: unknown to the lifter."""
    up: np.ndarray
    """(N, 3) in the optical frame; NaN: unknown to the lifter."""
    joints_m: np.ndarray
    """(N, 17, 3) the truth, in the optical frame."""


def validation_poses(
    mocap: Mocap,
    count: int,
) -> np.ndarray:
    """At most `count` evenly spread poses (n, 17, 3) of the validation subjects; DataError if there
    are none."""
    held_out = mocap.positions_m[mocap.validation_rows()]
    if not len(held_out):
        raise DataError("mocap: no validation subject; expected two subjects or more")

    rows = np.linspace(0, len(held_out) - 1, min(len(held_out), count))
    return held_out[rows.astype(int)]


def make_trial(
    poses_m: np.ndarray,
    protocol: Protocol,
    cameras: int = 4,
    seed: int = 0,
) -> Trial:
    """Views of each pose (n, 17, 3; metres, y up) from `cameras` places. With the same seed, all
    protocols have the same places and noise."""
    if protocol.handstand:
        poses_m = upside_down(poses_m)
    if protocol.size_std:
        rng = np.random.default_rng((seed, 2))
        poses_m = poses_m * rng.normal(1.0, protocol.size_std, (len(poses_m), 1, 1))

    views = make_views(poses_m, cameras, seed, protocol.pitch_deg)
    rng = np.random.default_rng((seed, 1))
    noise = rng.standard_normal(views.keypoints_px.shape)
    keypoints = views.keypoints_px + protocol.noise_px * noise

    # Missing keypoints
    confidence = np.ones(keypoints.shape[:2])
    draws = rng.random(confidence.shape)
    rank = draws.argsort(1).argsort(1)
    confidence[rank < protocol.missing] = 0
    confidence[:, list(protocol.hidden)] = 0
    keypoints[confidence == 0] = np.nan

    # What the lifter is told
    std_px = max(protocol.noise_px, MODEL_NOISE_PX)
    covariance = np.tile(std_px**2 * np.eye(2), (len(keypoints), KEYPOINT_COUNT, 1, 1))
    camera = views.camera if protocol.calibrated else None
    up = views.up if protocol.gravity else np.full_like(views.up, np.nan)
    return Trial(keypoints, confidence, covariance, camera, up, views.joints_m)


def upside_down(poses_m: np.ndarray) -> np.ndarray:
    """Poses (n, 17, 3; y up) turned by half a turn about x; the height of the lowest joint above
    the floor stays."""
    turned = poses_m * np.array([1.0, -1, -1])
    lowest = poses_m[..., 1].min(1)
    rise = lowest - turned[..., 1].min(1)
    turned[..., 1] += rise[:, None]
    return turned
