# SPDX-License-Identifier: Apache-2.0
"""A person as one camera saw it: the rays of its keypoints, in the common frame of all cameras."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lifting_ros.geometry.body_frame import in_frame
from lifting_ros.geometry.camera import Camera
from lifting_ros.multiview.fusion_config import FusionConfig
from lifting_ros.tracking.tracks import KEYPOINT_NOISE
from lifting_ros.types import Person

NOISE_FLOOR_PX = 0.5
"""Standard deviation added to that of every keypoint."""

NEAR_M = 0.1
"""Joints are not taken to be nearer to a camera's plane than this."""

_PLAIN_STEPS = 3
"""Steps towards a ray without a derivative."""

_NEWTON_STEPS = 2
"""Steps after those, with the derivative."""

_MAX_RAY_ERROR = 1e-7
"""Largest remaining error of a ray, in normalised coordinates."""


@dataclass(frozen=True)
class View:
    """A calibrated camera and its place."""

    camera: Camera
    pose: np.ndarray
    """(4, 4) from the optical frame to the common frame."""


@dataclass(frozen=True)
class CameraFrame:
    """The persons of one camera at one time."""

    camera: str
    """Name of the camera."""
    view: View
    stamp_ns: int
    persons: tuple[Person, ...]
    """Their `skeleton_3d` and velocities are in the common frame."""

    @classmethod
    def of(
        cls,
        camera: str,
        view: View,
        stamp_ns: int,
        persons: Iterable[Person],
        to_common: np.ndarray,
    ) -> CameraFrame:
        """The frame of persons whose 3D values are in another frame.

        to_common: (4, 4) from that one to the common frame.
        """
        moved = tuple(in_frame(person, to_common) for person in persons)
        return cls(camera, view, stamp_ns, moved)


@dataclass(frozen=True)
class Sighting:
    """One person in one camera."""

    camera: str
    person: Person
    rotation: np.ndarray
    """(3, 3) from the common frame to the optical frame."""
    origin: np.ndarray
    """(3,) the camera's place in the common frame."""
    rays: np.ndarray
    """(14, 2) undistorted normalised coordinates of the keypoints; 0 where not seen."""
    ray_covariance: np.ndarray
    """(14, 2, 2) of `rays`, without the calibration's; 1 where not seen."""
    seen: np.ndarray
    """(14,) bool: the keypoints that can be used."""
    shift_std: float
    """Standard deviation of a shift of all rays by the calibration, normalised coordinates."""

    @property
    def directions(self) -> np.ndarray:
        """(14, 3) unit vectors along the rays, in the common frame."""
        along = homogeneous(self.rays) @ self.rotation
        length = np.linalg.norm(along, axis=1, keepdims=True)
        return along / length

    @property
    def mean_variance(self) -> np.ndarray:
        """(14,) mean variance of the rays, the calibration's included."""
        trace = np.trace(self.ray_covariance, axis1=1, axis2=2)
        mean = trace / 2
        return mean + self.shift_std**2

    def exchanged(
        self,
        keypoints: np.ndarray,
        joints: np.ndarray,
    ) -> Sighting:
        """The same with keypoints and joints in another order.

        keypoints: (14,), joints: (17,), which one becomes each of them.
        """
        pose = self.person.skeleton_3d
        skeleton = replace(
            pose,
            joints_m=pose.joints_m[joints],
            covariance_m2=pose.covariance_m2[joints],
            status=pose.status[joints],
            confidence=pose.confidence[joints],
        )
        flat = self.person.skeleton_2d
        return replace(
            self,
            person=replace(
                self.person,
                skeleton_2d=replace(flat, confidence=flat.confidence[keypoints]),
                skeleton_3d=skeleton,
                velocity_mps=self.person.velocity_mps[joints],
                velocity_covariance_m2ps2=self.person.velocity_covariance_m2ps2[joints],
            ),
            rays=self.rays[keypoints],
            ray_covariance=self.ray_covariance[keypoints],
            seen=self.seen[keypoints],
        )


def homogeneous(rays: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) along rays (..., 2) in normalised coordinates, with z = 1."""
    ones = np.ones((*rays.shape[:-1], 1))
    return np.concatenate([rays, ones], -1)


def projection(in_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normalised coordinates (..., 2) of points (..., 3) in a camera's frame, and their derivatives
    (..., 2, 3); points nearer than NEAR_M are taken to be there."""
    depth = np.maximum(in_camera[..., 2:], NEAR_M)
    projected = in_camera[..., :2] / depth

    derivative = np.zeros((*projected.shape, 3))
    derivative[..., 0, 0] = 1.0
    derivative[..., 1, 1] = 1.0
    derivative[..., 2] = -projected
    derivative /= depth[..., None]
    return projected, derivative


def sightings_of(
    frame: CameraFrame,
    config: FusionConfig,
) -> list[Sighting]:
    """The persons of a frame that can be fused: those found in it, with a place in metres."""
    persons = [person for person in frame.persons if _is_usable(person)]
    if not persons:
        return []

    camera = frame.view.camera
    pixels = np.stack([person.skeleton_2d.keypoints_px for person in persons])
    confidence = np.stack([person.skeleton_2d.confidence for person in persons])
    seen = confidence >= max(config.min_keypoint_confidence, 1e-6)
    seen &= np.isfinite(pixels).all(-1)

    # Rays, and how a pixel moves them
    filled = np.where(seen[..., None], pixels, camera.matrix[:2, 2])
    rays, per_pixel = _rays(camera, filled)
    seen &= np.isfinite(rays).all(-1)
    rays = np.where(seen[..., None], rays, 0.0)

    # Covariances
    known = seen[..., None, None]
    per_pixel = np.where(known, per_pixel, 0.0)
    noise = _pixel_noise(persons, pixels, seen) + NOISE_FLOOR_PX**2 * np.eye(2)
    covariance = per_pixel @ noise @ per_pixel.swapaxes(-1, -2)
    covariance = np.where(known, covariance, np.eye(2))

    return [
        Sighting(
            camera=frame.camera,
            person=person,
            rotation=frame.view.pose[:3, :3].T,
            origin=frame.view.pose[:3, 3],
            rays=rays[index],
            ray_covariance=covariance[index],
            seen=seen[index],
            shift_std=config.calibration_noise_px / camera.focal_px,
        )
        for index, person in enumerate(persons)
    ]


def _is_usable(person: Person) -> bool:
    """Whether a person was found in the frame and is placed in metres."""
    pose = person.skeleton_3d
    found = not person.coasting and pose.status.any()
    placed = np.isfinite(pose.root_m).all()
    certain = np.isfinite(pose.root_covariance_m2).all()
    return bool(found and pose.metric and placed and certain)


def _pixel_noise(
    persons: Sequence[Person],
    pixels: np.ndarray,
    seen: np.ndarray,
) -> np.ndarray:
    """Covariances (N, 14, 2, 2) of keypoints: those given, else by the extent of the person."""
    given = np.stack([person.skeleton_2d.covariance_px2 for person in persons])
    known = np.isfinite(given).all((-1, -2), keepdims=True)

    points = np.where(seen[..., None], pixels, np.nan)
    lowest = np.fmin.reduce(points, axis=1)
    highest = np.fmax.reduce(points, axis=1)
    longer = np.fmax.reduce(highest - lowest, axis=1)
    side = np.nan_to_num(longer, nan=1.0)
    variance = (KEYPOINT_NOISE * np.maximum(side, 1.0)) ** 2
    default = variance[:, None, None, None] * np.eye(2)
    return np.where(known, given, default)


def _rays(
    camera: Camera,
    pixels: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Rays (..., 2) as `Camera.rays`, and how they move with the pixels (..., 2, 2).

    A moderate distortion takes a few steps with one derivative; others are left to the camera.
    """
    inverse = np.linalg.inv(camera.matrix[:2, :2])
    distorted = (pixels - camera.matrix[:2, 2]) @ inverse.T
    if not camera.is_distorted:
        per_pixel = np.broadcast_to(inverse, (*pixels.shape, 2))
        return distorted, per_pixel

    rays = distorted
    for _ in range(_PLAIN_STEPS):
        rays = rays - (camera.distort(rays) - distorted)

    jacobian = camera.undistort_jacobian(rays)
    for _ in range(_NEWTON_STEPS):
        error = camera.distort(rays) - distorted
        step = jacobian @ error[..., None]
        rays = rays - step[..., 0]

    error = camera.distort(rays) - distorted
    if not (np.abs(error) < _MAX_RAY_ERROR).all():
        rays = camera.rays(pixels)
        jacobian = camera.undistort_jacobian(rays)
    return rays, jacobian @ inverse
