# SPDX-License-Identifier: Apache-2.0
"""The input of a regression network: a person as an upright camera that looks at them sees them.

Turning a camera does not change the rays it sees. A network that reads the rays in a frame attached
to the person therefore gives the same pose, turned, wherever the camera looks and wherever the
person is in the picture. How far that frame looks down is a separate input.
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
    "log of the keypoints' std divided by the extent",
)
"""The columns of `PersonView.context`."""

_MIN_Z = 0.05
"""Least z of a unit ray in the person's frame; beyond it a ray says little about its direction."""

_PICTURE_UP = (0.0, -1.0, 0.0)
"""Up in the picture."""


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
    """(N, 2) mean of the seen rays."""
    extent: np.ndarray
    """(N,) root mean square distance of the seen rays from the centre; 1 if it would be 0."""
    pitch: np.ndarray
    """(N,) sine of the angle by which up leans along the view; NaN if up is not known."""

    def points(self) -> np.ndarray:
        """Return the rays (N, 14, 2) about the centre divided by the extent; 0 where not seen."""
        centre = self.centre[:, None]
        extent = self.extent[:, None, None]
        scaled = (self.rays - centre) / extent
        mask = self.seen[..., None]

        return np.where(mask, scaled, 0.0)

    def lost(self) -> np.ndarray:
        """Return whether each person's keypoints are indistinguishable (N,).

        They are if they coincide or if the person's extent is well within their noise; the limit is
        that of `observation.into_views`.
        """
        mask = self.seen[..., None]
        centre = self.centre[:, None]

        # Not the extent, which is 1 if all keypoints coincide
        centred = self.rays - centre
        within = np.where(mask, centred, 0.0)
        square = (within**2).sum((1, 2))
        spread = square / seen_count(self.seen) + 1e-16

        variances = np.diagonal(self.noise, axis1=-2, axis2=-1)
        variances = np.where(mask, variances, np.inf)
        least = variances.min((1, 2))
        return least > LOST * spread

    def context(self, calibrated: bool | np.ndarray = True) -> np.ndarray:
        """Return the columns CONTEXT (N, 4); NaN where nothing is known.

        calibrated: whether the camera is known; otherwise the extent has no meaning.
        """
        log_extent = np.log(self.extent)
        extent = np.where(calibrated, log_extent, np.nan)

        traces = np.trace(self.noise, axis1=-2, axis2=-1)
        means = np.where(self.seen, traces / 2, 0.0)
        variance = means.sum(1) / seen_count(self.seen)
        least = 1e-12 * self.extent**2
        log_variance = np.log(np.maximum(variance, least))
        noise = 0.5 * log_variance - log_extent

        known = np.isfinite(self.pitch)
        columns = [extent, self.pitch, known, noise]
        return np.stack(columns, -1)


def look_at_person(
    given: Rays,
    up: np.ndarray,
) -> PersonView:
    """Return persons in frames that look along the middle of their rays.

    up: (N, 3) in the optical frame, any length; it is put into the upper half of the y-z plane. If
    it is NaN or zero, up in the picture is taken instead, and the pitch is NaN.
    """
    mask = given.seen[..., None]  # (N, 14, 1)
    known = np.where(mask, given.rays, 0.0)
    ones = np.ones_like(mask, float)
    directions = np.concatenate([known, ones], -1)  # (N, 14, 3)

    # Turn the rays
    rotation, pitch = _person_frames(directions, mask, up)
    turned = np.einsum("nab,nkb->nka", rotation, directions)
    depth = turned[..., 2]
    in_front = depth > _MIN_Z
    visible = given.seen & in_front
    shown = visible[..., None]
    z = np.where(visible, depth, 1.0)
    z = z[..., None]
    rays = turned[..., :2] / z
    rays = np.where(shown, rays, 0.0)

    # Turn their noise
    upper = rotation[:, None, :2, :2]
    lower = rotation[:, None, 2:, :2]
    change = upper - rays[..., None] * lower
    jacobian = change / z[..., None]  # (N, 14, 2, 2)
    transposed = np.swapaxes(jacobian, -1, -2)
    noise = jacobian @ _symmetric(given.noise) @ transposed

    # Centre and extent
    count = seen_count(visible)
    centre = rays.sum(1) / count[:, None]
    centred = rays - centre[:, None]
    apart = np.where(shown, centred, 0.0)
    square = (apart**2).sum((1, 2))
    extent = np.sqrt(square / count)
    extent = np.where(extent > 0, extent, 1.0)

    return PersonView(rays, noise, visible, rotation, centre, extent, pitch)


def second_view(
    joints: np.ndarray,
    shift: float | np.ndarray,
) -> np.ndarray:
    """Return the rays (N, 14, 2) of joints (N, 17, 3) in a camera that is moved to the right.

    The camera is not turned. shift: one for all persons, or one per person (N,).
    """
    points = joints[:, list(KEYPOINT_TO_JOINT)]
    right = np.broadcast_to(shift, len(joints))
    down = np.zeros(len(joints))
    offset = np.stack([right, down], -1)

    across = points[..., :2]
    moved = across - offset[:, None]
    z = points[..., 2:]
    return moved / z


def _person_frames(
    directions: np.ndarray,
    mask: np.ndarray,
    up: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return rotations (N, 3, 3) from the optical frame, and the pitch (N,).

    directions: (N, 14, 3); mask: (N, 14, 1) where they count.
    """
    unit = _unit(directions)
    total = np.where(mask, unit, 0.0).sum(1)
    forward = _unit(total + 1e-12 * np.array([0.0, 0, 1]))
    up, pitch = _usable_up(up, forward)

    right = _unit(np.cross(forward, up))
    down = np.cross(forward, right)
    rotation = np.stack([right, down, forward], 1)
    return rotation, pitch


def _usable_up(
    up: np.ndarray,
    forward: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return up (N, 3), unit length, and its component along the view (N,).

    Up in the picture replaces an unknown one, or one along the view. The component is that of the
    given up; NaN if it is unknown.
    """
    length = np.linalg.norm(up, axis=-1, keepdims=True)
    finite = np.isfinite(length)
    known = finite & (length > 1e-9)
    divisor = np.where(known, length, 1.0)
    up = np.where(known, up / divisor, _PICTURE_UP)

    along = (up * forward).sum(-1)
    pitch = np.where(known[:, 0], along, np.nan)

    side = np.cross(forward, up)
    across = np.linalg.norm(side, axis=-1, keepdims=True)
    usable = np.where(across > 1e-6, up, _PICTURE_UP)
    return usable, pitch


def seen_count(seen: np.ndarray) -> np.ndarray:
    """Return the number of keypoints seen (N,), at least 1."""
    count = seen.sum(1)
    return np.maximum(count, 1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / length


def _symmetric(values: np.ndarray) -> np.ndarray:
    """Return covariances (..., 3), given as xx, xy, yy, as matrices (..., 2, 2)."""
    leading = values.shape[:-1]
    entries = values[..., [0, 1, 1, 2]]
    return entries.reshape(*leading, 2, 2)
