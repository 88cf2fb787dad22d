# SPDX-License-Identifier: Apache-2.0
"""Motion capture seen by two cameras: the input of the stereoscopic lifter from the first one, and
the truth in the second one and in 3D."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from lifting_ros.lifting.observation import to_rays
from lifting_ros.lifting.person_view import PersonView, look_at_person, second_view
from lifting_ros.research.datasets.virtual_cameras import Views, around, look, middle_of
from lifting_ros.skeleton import KEYPOINT_COUNT, KEYPOINT_TO_JOINT, limb_lengths

TOLD_NOISE_PX = 2.0
"""Smallest standard deviation of the keypoints that a lifter is told, px."""


@dataclass(frozen=True)
class Sight:
    """How people are seen in training."""

    exact: float = field(
        default=0.33,
        metadata={"description": "share of views with all keypoints, exact", "range": (0.0, 1.0)},
    )
    noise_px: float = field(
        default=10.0,
        metadata={
            "description": "largest standard deviation of the keypoints in the other views",
            "unit": "px",
            "range": (0.0, 100.0),
        },
    )
    missing: int = field(
        default=11,
        metadata={
            "description": (
                "most keypoints missing in the other views, few of them most of the time"
            ),
            "range": (0, 12),
        },
    )
    steep: float = field(
        default=0.25,
        metadata={
            "description": "share of views from -20 to 60 degrees above",
            "range": (0.0, 1.0),
        },
    )
    blind: float = field(
        default=0.15,
        metadata={
            "description": "share of views whose up is unknown to the lifter, with a roll",
            "range": (0.0, 0.9),
        },
    )
    roll_deg: float = field(
        default=15.0,
        metadata={
            "description": "standard deviation of that roll",
            "unit": "deg",
            "range": (0.0, 180.0),
        },
    )
    uncalibrated: float = field(
        default=0.15,
        metadata={
            "description": "share of views whose camera is unknown to the lifter",
            "range": (0.0, 0.9),
        },
    )


class StereoViews(NamedTuple):
    """N persons in a camera that looks at them, and in a second camera to its right."""

    view: PersonView
    """The input: noisy, with missing keypoints."""
    context: np.ndarray
    """(N, 4), `PersonView.context`."""
    right: np.ndarray
    """(N, 14, 2) exact keypoints in the second camera, relative to the centre of the first view and
    divided by its extent."""
    left: np.ndarray
    """(N, 14, 2) exact keypoints in the first camera, in the same units."""
    joints: np.ndarray
    """(N, 17, 3) relative to the root, in the first view, divided by the person's size."""
    root: np.ndarray
    """(N, 3) the root in the first view, divided by the person's size."""


def make_stereo_views(
    poses_m: np.ndarray,
    sight: Sight,
    baseline: float,
    rng: np.random.Generator,
) -> StereoViews:
    """Views of each pose (N, 17, 3; metres, y up, the floor at 0) from 2.5 to 7 m.

    baseline: distance of the second camera to the right of the first, in sizes of the person, in
    the frame that looks at the person.
    """
    count = len(poses_m)
    views = _stand_before(poses_m, sight, rng)

    # Roll of the camera
    blind = rng.random(count) < sight.blind
    roll = np.radians(sight.roll_deg) * rng.standard_normal(count)
    joints = _rolled(views.joints_m, roll)
    up = _rolled(views.up[:, None], roll)[:, 0]

    # The input
    exact = views.camera.project(joints[:, list(KEYPOINT_TO_JOINT)])
    keypoints, visible, told = _disturb(exact, sight, rng)
    covariance = told**2 * np.eye(2)[None, None]
    rays = to_rays(keypoints, visible.astype(float), covariance, views.camera, 0.0, 0.0)
    told_up = np.where(blind[:, None], np.nan, up)
    view = look_at_person(rays, told_up)

    # The truth, in the frame that looks at the person
    limbs = limb_lengths(joints)
    size = np.sqrt((limbs**2).sum(-1))[:, None, None]
    joints = np.einsum("nab,njb->nja", view.rotation, joints) / size
    centre = view.centre[:, None]
    extent = view.extent[:, None, None]
    left = (second_view(joints, 0.0) - centre) / extent
    right = (second_view(joints, baseline) - centre) / extent
    context = view.context(rng.random(count) >= sight.uncalibrated)

    return StereoViews(view, context, right, left, joints - joints[:, :1], joints[:, 0])


def _stand_before(
    poses_m: np.ndarray,
    sight: Sight,
    rng: np.random.Generator,
) -> Views:
    """The poses (N, 17, 3) in cameras that look at their middle."""
    count = len(poses_m)
    middle = middle_of(poses_m)
    angle = rng.uniform(0, 2 * np.pi, count)
    distance = rng.uniform(2.5, 7, count)
    height = rng.uniform(0.6, 2.0, count)

    pitch = np.radians(rng.uniform(-20, 60, count))
    above = middle[:, 1] + distance * np.tan(pitch)
    steep = rng.random(count) < sight.steep
    height = np.where(steep, above, height)

    eye = around(middle, distance, angle, height)
    return look(poses_m, eye, middle - eye)


def _rolled(
    vectors: np.ndarray,
    angle: np.ndarray,
) -> np.ndarray:
    """Vectors (N, J, 3) in the optical frame of cameras rolled by angles (N,)."""
    cosine = np.cos(angle)[:, None]
    sine = np.sin(angle)[:, None]
    x, y, z = np.moveaxis(vectors, -1, 0)
    right = cosine * x - sine * y
    down = sine * x + cosine * y
    return np.stack([right, down, z], -1)


def _disturb(
    keypoints_px: np.ndarray,
    sight: Sight,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noisy keypoints (N, 14, 2), which of them are visible, and the standard deviation (N, 1, 1,
    1) that the lifter is told. A share of the views is exact."""
    count = len(keypoints_px)
    touched = rng.random(count) >= sight.exact
    level = touched * rng.uniform(0, sight.noise_px, count)

    missing = (touched * rng.random(count) ** 3 * (sight.missing + 1)).astype(int)
    rank = rng.random((count, KEYPOINT_COUNT)).argsort(1).argsort(1)
    visible = rank >= missing[:, None]

    noise = rng.standard_normal(keypoints_px.shape)
    noisy = keypoints_px + level[:, None, None] * noise
    told = np.maximum(level, TOLD_NOISE_PX)
    return noisy, visible, told[:, None, None, None]
