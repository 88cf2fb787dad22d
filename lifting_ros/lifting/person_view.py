# SPDX-License-Identifier: Apache-2.0
"""What a regression network reads of a person: the view of a camera turned to look at them,
upright, in units of their extent in it.

A camera that is turned sees the same rays. So a network that reads them from a frame of the
person's own gives the same pose, turned, whatever way the camera looks and wherever in the picture
the person is; how far that frame looks down is told beside it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.lifting.observation import LOST, Rays
from lifting_ros.skeleton import KEYPOINT_TO_JOINT

CONTEXT = (
    "log of the extent",
    "sine of the pitch",
    "whether up is known",
    "log of the keypoints' deviation over the extent",
)


class PersonView(NamedTuple):
    """N persons, each in a frame that looks at them: x right, y down, z towards the person."""

    rays: np.ndarray
    """(N, 14, 2) x / z, y / z; 0 where not seen."""
    noise: np.ndarray
    """(N, 14, 2, 2) their covariance."""
    seen: np.ndarray
    """(N, 14) bool."""
    rotation: np.ndarray
    """(N, 3, 3) from the optical frame."""
    centre: np.ndarray
    """(N, 2) mean of the rays seen."""
    extent: np.ndarray
    """(N,) root mean square of their distance from it; 1 where there is none."""
    pitch: np.ndarray
    """(N,) sine of the angle by which up leans along the view; NaN where up is not known."""

    def points(self) -> np.ndarray:
        """(N, 14, 2) rays about the centre over the extent; 0 where not seen."""
        return np.where(
            self.seen[..., None],
            (self.rays - self.centre[:, None]) / self.extent[:, None, None],
            0.0,
        )

    def lost(self) -> np.ndarray:
        """(N,) bool: all keypoints well within their noise of each other, or in one place; the
        limit of `observation.into_views`."""
        within = np.where(self.seen[..., None], self.rays - self.centre[:, None], 0.0)
        spread = (within**2).sum((1, 2)) / np.maximum(
            self.seen.sum(1), 1
        ) + 1e-16  # not the extent, which is 1 where there is none
        least = np.where(
            self.seen[..., None], np.diagonal(self.noise, axis1=-2, axis2=-1), np.inf
        ).min((1, 2))
        return least > LOST * spread

    def context(self, calibrated: bool | np.ndarray = True) -> np.ndarray:
        """(N, 4) CONTEXT; NaN where nothing is known. The extent means something only where the
        camera is `calibrated`."""
        variance = np.where(self.seen, np.trace(self.noise, axis1=-2, axis2=-1) / 2, 0.0).sum(
            1
        ) / np.maximum(self.seen.sum(1), 1)
        extent = np.where(calibrated, np.log(self.extent), np.nan)
        noise = 0.5 * np.log(np.maximum(variance, 1e-12 * self.extent**2)) - np.log(self.extent)
        return np.stack([extent, self.pitch, np.isfinite(self.pitch), noise], -1)


def look_at_person(given: Rays, up: np.ndarray) -> PersonView:
    """Turn each person's rays into a frame that looks along their middle with `up` (N, 3) in its
    upper half plane.

    up: in the optical frame, any length; NaN or zero where it is not known: the picture's own is
    taken in its place, and pitch is NaN.
    """
    seen = given.seen[..., None]  # N, 14, 1
    directions = np.concatenate(
        [np.where(seen, given.rays, 0.0), np.ones_like(seen, float)], -1
    )  # N, 14, 3
    unit = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    forward = _unit(np.where(seen, unit, 0.0).sum(1) + 1e-12 * np.array([0.0, 0, 1]))
    up, pitch = _upright(up, forward)
    right = _unit(np.cross(forward, up))
    rotation = np.stack([right, np.cross(forward, right), forward], 1)  # N, 3, 3
    turned = np.einsum("nab,nkb->nka", rotation, directions)
    visible = given.seen & (
        turned[..., 2] > 0.05
    )  # beyond, in the widest of lenses, a ray says little about where to
    z = np.where(visible, turned[..., 2], 1.0)[..., None]
    rays = np.where(visible[..., None], turned[..., :2] / z, 0.0)
    jacobian = (rotation[:, None, :2, :2] - rays[..., :, None] * rotation[:, None, 2:, :2]) / z[
        ..., None
    ]  # N, 14, 2, 2
    noise = jacobian @ _symmetric(given.noise) @ np.swapaxes(jacobian, -1, -2)
    count = np.maximum(visible.sum(1), 1)[:, None]
    centre = rays.sum(1) / count
    extent = np.sqrt(
        (np.where(visible[..., None], rays - centre[:, None], 0.0) ** 2).sum((1, 2)) / count[:, 0]
    )
    return PersonView(
        rays, noise, visible, rotation, centre, np.where(extent > 0, extent, 1.0), pitch
    )


def second_view(joints: np.ndarray, shift: float | np.ndarray) -> np.ndarray:
    """Rays (N, 14, 2) of the keypoints of joints (N, 17, 3), before a camera that is moved to the
    right, everybody's by the same `shift` or by one of their own (N,), and turned nowhere."""
    points = joints[:, list(KEYPOINT_TO_JOINT)]
    shift = np.broadcast_to(shift, len(joints))
    return (points[..., :2] - np.stack([shift, np.zeros(len(joints))], -1)[:, None]) / points[
        ..., 2:
    ]


def _upright(up: np.ndarray, forward: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors up (N, 3), the picture's own where none is known or it lies along the view; and
    how far the known one does (N,)."""
    length = np.linalg.norm(up, axis=-1, keepdims=True)
    known = np.isfinite(length) & (length > 1e-9)
    up = np.where(known, up / np.where(known, length, 1.0), [0.0, -1.0, 0.0])
    across = np.linalg.norm(np.cross(forward, up), axis=-1, keepdims=True)
    pitch = np.where(known[:, 0], (up * forward).sum(-1), np.nan)  # before another takes its place
    return np.where(across > 1e-6, up, [0.0, -1.0, 0.0]), pitch


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _symmetric(values: np.ndarray) -> np.ndarray:
    """(..., 3) xx, xy, yy to (..., 2, 2)."""
    return values[..., [0, 1, 1, 2]].reshape(*values.shape[:-1], 2, 2)
