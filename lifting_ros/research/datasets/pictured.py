# SPDX-License-Identifier: Apache-2.0
"""Motion capture as a fixed set of annotated pictures: persons in view frames, as a learned lifter
takes them, with their true joints.

A picture is a pose seen once by its own camera. The answers of annotators (`comparisons`) belong to
the picture: a wrong answer is the same in each epoch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.estimator import EstimatorConfig
from lifting_ros.lifting.observation import PITCH_STEP, into_views, to_rays
from lifting_ros.research.datasets.keypoint_errors import KeypointErrors, carry_over
from lifting_ros.research.datasets.virtual_cameras import FOCAL_PX, around, look, middle_of
from lifting_ros.skeleton import JOINT_FLIP, KEYPOINT_NAMES, KEYPOINT_TO_JOINT, limb_lengths

DISTANCE_M = (2.5, 7.0)
"""Range of the cameras' distances, uniform."""

HEIGHT_M = (0.4, 2.2)
"""Range of the cameras' heights, uniform."""

PITCHED = 0.3
"""Share of cameras whose pitch is drawn instead of their height."""

PITCH_DEG = (-20.0, 45.0)
"""Range of that pitch, positive downwards."""

LEAST_CONFIDENCE = EstimatorConfig.min_keypoint_confidence
"""Minimum confidence of a keypoint that the lifter uses."""

LEAST_SEEN = 4
"""Minimum number of visible keypoints."""

BLOCK = 20_000
"""Number of pictures made at a time, to limit the memory."""


class Pictured(NamedTuple):
    """M pictures, one person each; arrays in float32."""

    rays: np.ndarray
    """(M, 17, 2) exact, of all joints, in the view frame."""
    joints: np.ndarray
    """(M, 17, 3) about the root, view frame, in units of the person's size."""
    size_m: np.ndarray
    """(M,) root of the sum of squared limb lengths."""
    pitch: np.ndarray
    """(M,) of the view, radians: how far the up direction points along it."""

    def select(self, rows: np.ndarray) -> Pictured:
        """The pictures of a boolean or integer index."""
        return Pictured(*(value[rows] for value in self))


def picture(
    poses_m: np.ndarray,
    seed: int,
) -> Pictured:
    """Pictures of poses (M, 17, 3; metres, y up), each from a random place."""
    rng = np.random.default_rng((seed, 7))
    blocks = []
    for start in range(0, len(poses_m), BLOCK):
        block = poses_m[start : start + BLOCK]
        blocks.append(_picture(block, rng))

    arrays = [np.concatenate(values) for values in zip(*blocks)]
    return Pictured(*arrays)


def _picture(
    poses_m: np.ndarray,
    rng: np.random.Generator,
) -> Pictured:
    # Places of the cameras: with a random height, or with a random pitch
    count = len(poses_m)
    middle = middle_of(poses_m)
    angle = rng.uniform(0, 2 * np.pi, count)
    distance = rng.uniform(*DISTANCE_M, count)
    height = rng.uniform(*HEIGHT_M, count)
    pitch = np.radians(rng.uniform(*PITCH_DEG, count))
    pitched = rng.random(count) < PITCHED
    across = np.where(pitched, distance * np.cos(pitch), distance)
    height = np.where(pitched, middle[:, 1] + distance * np.sin(pitch), height)
    eye = around(middle, across, angle, height)
    seen = look(poses_m, eye, middle - eye)

    # View frames
    everybody = np.ones(seen.keypoints_px.shape[:2])
    observed = to_rays(seen.keypoints_px, everybody, None, seen.camera, 0.015, 0.5)
    _, _, _, _, frame, steps, _ = into_views(*observed, seen.up)
    joints = np.einsum("nab,njb->nja", frame.astype(np.float64), seen.joints_m)

    limbs = limb_lengths(joints)
    size = np.sqrt((limbs**2).sum(-1))
    relative = (joints - joints[:, :1]) / size[:, None, None]
    rays = joints[..., :2] / joints[..., 2:]

    return Pictured(
        rays=rays.astype(np.float32),
        joints=relative.astype(np.float32),
        size_m=size.astype(np.float32),
        pitch=(steps * PITCH_STEP).astype(np.float32),
    )


def mirror(
    pictures: Pictured,
    chosen: np.ndarray,
) -> Pictured:
    """The same pictures, with those `chosen` (M,) mirrored."""
    flip = list(JOINT_FLIP)
    which = chosen[:, None, None]
    mirrored_rays = pictures.rays[:, flip] * np.float32([-1, 1])
    mirrored_joints = pictures.joints[:, flip] * np.float32([-1, 1, 1])

    rays = np.where(which, mirrored_rays, pictures.rays)
    joints = np.where(which, mirrored_joints, pictures.joints)
    return pictures._replace(rays=rays, joints=joints)


class Seen(NamedTuple):
    """The input of a lifter for N pictures."""

    points: np.ndarray
    """(N, 14, 2) rays of the noisy keypoints."""
    deviation: np.ndarray
    """(N, 14) standard deviation that the lifter is told, on the rays."""
    visible: np.ndarray
    """(N, 14) bool."""


class Disturbance(NamedTuple):
    """How keypoints differ from the true ones."""

    exact: float = 0.33
    """Share of pictures with exact keypoints."""
    noise_px: float = 8.0
    """Largest std of Gaussian noise, px at f = 1150 px."""
    missing: int = 9
    """Largest number of keypoints missing at random."""
    real: float = 0.0
    """Share of the other pictures with measured errors in place of Gaussian noise."""
    half: float = 0.0
    """Share of all pictures in which a part of the body is out of view."""
    errors: KeypointErrors | None = None
    """Measured errors of the 2D side; None: Gaussian noise only."""


HALVES = (
    ("ankle",),
    ("knee", "ankle"),
    ("knee", "ankle"),
    ("hip", "knee", "ankle"),
    ("hip", "knee", "ankle"),
    ("head_top", "neck"),
    ("left_elbow", "left_wrist", "left_knee", "left_ankle"),
    ("right_elbow", "right_wrist", "right_knee", "right_ankle"),
)
"""Keypoints, by parts of their names, that are out of view together; a random row of these."""


def disturb(
    rays: np.ndarray,
    rng: np.random.Generator,
    how: Disturbance,
) -> Seen:
    """The keypoints of rays (N, 17, 2), with the errors of a detector.

    The standard deviation of the Gaussian noise differs between pictures, up to `noise_px`, and
    between keypoints. Up to `missing` keypoints are missing, mostly few. The lifter is told the
    standard deviation, at least 2 px. Measured errors have their own standard deviations and
    missing keypoints.
    """
    points = rays[:, list(KEYPOINT_TO_JOINT)].astype(np.float64)
    count, joints = points.shape[:2]
    touched = rng.random(count) >= how.exact

    # Noise: a level per picture, and a factor per keypoint
    own = np.exp(0.4 * rng.standard_normal((count, joints)))
    level_px = touched * rng.uniform(0, how.noise_px, count)
    deviation = level_px[:, None] * own  # N, 14

    # Missing keypoints, mostly few
    gone = touched * np.floor((how.missing + 1) * rng.random(count) ** 2)
    rank = rng.random((count, joints)).argsort(1).argsort(1)
    visible = rank >= gone[:, None]

    noise = rng.standard_normal(points.shape)
    noisy = points + deviation[..., None] / FOCAL_PX * noise
    told = np.maximum(deviation, 2.0) / FOCAL_PX
    seen = Seen(noisy, told, visible)

    if how.errors is not None:
        real = rng.random(count) < how.real
        rows = np.flatnonzero(touched & real)
        _make_real(seen, rows, points, how.errors, rng)
    if how.half > 0:
        rows = np.flatnonzero(rng.random(count) < how.half)
        _cut(seen.visible, rows, rng)

    return seen


def _make_real(
    seen: Seen,
    rows: np.ndarray,
    points: np.ndarray,
    errors: KeypointErrors,
    rng: np.random.Generator,
) -> None:
    """Replace the Gaussian noise of `rows` of `seen` by measured errors, in place."""
    carried = carry_over(errors, points[rows], rng)
    seen.points[rows] = carried.points
    seen.deviation[rows] = carried.deviation

    visible = carried.confidence >= LEAST_CONFIDENCE
    enough = visible.sum(1) >= LEAST_SEEN
    seen.visible[rows] = visible | ~enough[:, None]


def _cut(
    visible: np.ndarray,
    rows: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Take a part of the body out of view in `rows` of `visible` (N, 14), in place."""
    kinds = rng.integers(len(HALVES), size=len(rows))
    for kind, parts in enumerate(HALVES):
        gone = [any(part in name for part in parts) for name in KEYPOINT_NAMES]

        own = rows[kinds == kind]
        cut = visible[own] & ~np.array(gone)
        enough = cut.sum(1) >= LEAST_SEEN
        visible[own[enough]] = cut[enough]
