# SPDX-License-Identifier: Apache-2.0
"""Motion capture as two cameras see it: what the stereoscopic lifter is given of the first, and the
truth in the second and in space."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from lifting_ros.lifting.observation import to_rays
from lifting_ros.lifting.person_view import PersonView, look_at_person, second_view
from lifting_ros.research.datasets.virtual_cameras import look
from lifting_ros.skeleton import KEYPOINT_COUNT, KEYPOINT_TO_JOINT, limb_lengths

TOLD_NOISE_PX = 2.0
"""Least deviation of the keypoints that a lifter is told of."""


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
    """N persons in the view of a camera that looks at them, and in that of the second camera to its
    right."""

    view: PersonView
    """What is given: noisy, and not all of it."""
    context: np.ndarray
    """(N, 4), `PersonView.context`."""
    right: np.ndarray
    """(N, 14, 2) exact keypoints in the second camera, about the first view's centre over its
    extent."""
    left: np.ndarray
    """(N, 14, 2) exact keypoints in the first, in the same units."""
    joints: np.ndarray
    """(N, 17, 3) about the root in the first view, over the person's size."""
    root: np.ndarray
    """(N, 3) the root in it, over that size too."""


def make_stereo_views(
    poses_m: np.ndarray, sight: Sight, baseline: float, rng: np.random.Generator
) -> StereoViews:
    """See every pose (N, 17, 3; metres, y up, height above the floor kept) once, from 2.5 to 7 m,
    and once more `baseline` sizes to the right in the frame that looks at the person."""
    count = len(poses_m)
    joints, up, camera = _stand_before(poses_m, sight, rng)
    blind = rng.random(count) < sight.blind
    roll = np.radians(sight.roll_deg) * rng.standard_normal(count)
    joints, up = (_rolled(value, roll) for value in (joints, up[:, None]))
    keypoints, visible, told = _disturb(
        camera.project(joints[:, list(KEYPOINT_TO_JOINT)]), sight, rng
    )
    rays = to_rays(
        keypoints, visible.astype(float), told**2 * np.eye(2)[None, None], camera, 0.0, 0.0
    )
    view = look_at_person(rays, np.where(blind[:, None], np.nan, up[:, 0]))
    size = np.sqrt((limb_lengths(joints) ** 2).sum(-1))[:, None, None]
    joints = np.einsum("nab,njb->nja", view.rotation, joints) / size
    left, right = (second_view(joints, shift) - view.centre[:, None] for shift in (0.0, baseline))
    left, right = (value / view.extent[:, None, None] for value in (left, right))
    context = view.context(rng.random(count) >= sight.uncalibrated)

    return StereoViews(view, context, right, left, joints - joints[:, :1], joints[:, 0])


def _stand_before(poses_m: np.ndarray, sight: Sight, rng: np.random.Generator):
    """Joints in the optical frame (N, 17, 3), up (N, 3) and the camera, which looks at their
    middle."""
    count = len(poses_m)
    middle = 0.5 * (poses_m.min(1) + poses_m.max(1))
    angle = rng.uniform(0, 2 * np.pi, count)
    distance = rng.uniform(2.5, 7, count)
    height = rng.uniform(0.6, 2.0, count)
    above = middle[:, 1] + distance * np.tan(np.radians(rng.uniform(-20, 60, count)))
    height = np.where(rng.random(count) < sight.steep, above, height)
    eye = np.stack(
        [middle[:, 0] + distance * np.sin(angle), height, middle[:, 2] + distance * np.cos(angle)],
        -1,
    )
    views = look(poses_m, eye, middle - eye)

    return views.joints_m, views.up, views.camera


def _rolled(vectors: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Vectors (N, J, 3) in the optical frame of cameras rolled by angles (N,)."""
    c = np.cos(angle)[:, None]
    s = np.sin(angle)[:, None]
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.stack([c * x - s * y, s * x + c * y, z], -1)


def _disturb(
    keypoints_px: np.ndarray, sight: Sight, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noisy keypoints (N, 14, 2), what is seen of them, and the deviation (N, 1, 1, 1) that is
    told; a share of the views left alone."""
    count = len(keypoints_px)
    touched = rng.random(count) >= sight.exact
    noise = touched * rng.uniform(0, sight.noise_px, count)
    missing = (touched * rng.random(count) ** 3 * (sight.missing + 1)).astype(int)
    visible = rng.random((count, KEYPOINT_COUNT)).argsort(1).argsort(1) >= missing[:, None]
    told = np.maximum(noise, TOLD_NOISE_PX)[:, None, None, None]

    return (
        keypoints_px + noise[:, None, None] * rng.standard_normal(keypoints_px.shape),
        visible,
        told,
    )
