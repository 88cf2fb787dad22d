# SPDX-License-Identifier: Apache-2.0
"""Virtual-camera protocols: validation poses seen by pinhole cameras, with exact or noisy
keypoints, some missing, and harder scenes."""

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
"""Standard deviation given to the lifter for exact keypoints."""

LEGS = tuple(
    i for i, name in enumerate(KEYPOINT_NAMES) if name.split("_")[-1] in ("hip", "knee", "ankle")
)


@dataclass(frozen=True)
class Protocol:
    """How people are seen; the default is every keypoint exact before a camera that is known and
    aimed at the person."""

    noise_px: float = 0.0
    """Standard deviation of the keypoints; the lifter knows it."""
    missing: int = 0
    """Random keypoints taken away from each person."""
    hidden: tuple[int, ...] = ()
    """Keypoints taken away from everybody."""
    handstand: bool = False
    """People upside down."""
    pitch_deg: float | None = None
    """Cameras look down by so much instead of standing 0.8 to 1.8 m high."""
    size_std: float = 0.0
    """Relative deviation of sizes to which people are scaled: the recorded ones are all but of one
    size."""
    gravity: bool = True
    """Whether the lifter knows where up is."""
    calibrated: bool = True
    """Whether it knows K."""


PROTOCOLS = {
    "exact": Protocol(),
    "5 px noise": Protocol(noise_px=5.0),
    "3 missing": Protocol(missing=3),
}
"""What every lifter is measured with."""

MORE_PROTOCOLS = {
    "5 px noise, all sizes": Protocol(noise_px=5.0, size_std=0.043),
    "handstand": Protocol(handstand=True),
    "handstand, up unknown": Protocol(handstand=True, gravity=False),
    "pitched 30 deg": Protocol(pitch_deg=30.0),
    "up unknown": Protocol(gravity=False),
    "legs missing": Protocol(hidden=LEGS),
    "no K": Protocol(calibrated=False),
}


class Trial(NamedTuple):
    """What a lifter is given of N views, and the truth."""

    keypoints_px: np.ndarray
    """(N, 14, 2), NaN where missing."""
    confidence: np.ndarray
    """(N, 14), 0 where missing."""
    covariance_px2: np.ndarray
    """(N, 14, 2, 2)."""
    camera: Camera | None
    up: np.ndarray
    """(N, 3) in the optical frame, NaN where it is unknown to the lifter."""
    joints_m: np.ndarray
    """(N, 17, 3) in the optical frame: the truth."""


def validation_poses(mocap: Mocap, count: int) -> np.ndarray:
    """At most `count` evenly spread poses (n, 17, 3) of the validation subjects; DataError if there
    are none."""
    held = mocap.positions_m[mocap.validation_rows()]
    if not len(held):
        raise DataError("mocap: no validation subject; expected two subjects or more")

    rows = np.linspace(0, len(held) - 1, min(len(held), count))
    return held[rows.astype(int)]


def make_trial(poses_m: np.ndarray, protocol: Protocol, cameras: int = 4, seed: int = 0) -> Trial:
    """See every pose (n, 17, 3; metres, y up) from `cameras` places; the same seed gives every
    protocol the same places and noise."""
    if protocol.handstand:
        poses_m = upside_down(poses_m)

    if protocol.size_std:
        poses_m = poses_m * np.random.default_rng((seed, 2)).normal(
            1.0, protocol.size_std, (len(poses_m), 1, 1)
        )

    views = make_views(poses_m, cameras, seed, protocol.pitch_deg)
    rng = np.random.default_rng((seed, 1))
    keypoints = views.keypoints_px + protocol.noise_px * rng.standard_normal(
        views.keypoints_px.shape
    )
    confidence = np.ones(keypoints.shape[:2])
    confidence[rng.random(confidence.shape).argsort(1).argsort(1) < protocol.missing] = 0
    confidence[:, list(protocol.hidden)] = 0
    keypoints[confidence == 0] = np.nan
    told = max(protocol.noise_px, MODEL_NOISE_PX) ** 2 * np.eye(2)
    covariance = np.tile(told, (len(keypoints), KEYPOINT_COUNT, 1, 1))
    up = views.up if protocol.gravity else np.full_like(views.up, np.nan)

    return Trial(
        keypoints,
        confidence,
        covariance,
        views.camera if protocol.calibrated else None,
        up,
        views.joints_m,
    )


def upside_down(poses_m: np.ndarray) -> np.ndarray:
    """Poses (n, 17, 3; y up) turned by half a turn about x, their lowest joint as high above the
    floor as before."""
    turned = poses_m * np.array([1.0, -1, -1])
    lowest = poses_m[..., 1].min(1)
    rise = lowest - turned[..., 1].min(1)
    turned[..., 1] += rise[:, None]
    return turned
