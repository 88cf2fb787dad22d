# SPDX-License-Identifier: Apache-2.0
"""Persons in another coordinate frame, and the frame attached to a person's body."""

from __future__ import annotations

import dataclasses

import numpy as np

from lifting_ros.skeleton import JOINT_NAMES
from lifting_ros.types import Person, Skeleton3D

_PELVIS = JOINT_NAMES.index("pelvis")
_THORAX = JOINT_NAMES.index("thorax")
_LEFT = [JOINT_NAMES.index(name) for name in ("left_hip", "left_shoulder")]
_RIGHT = [JOINT_NAMES.index(name) for name in ("right_hip", "right_shoulder")]

_MIN_LENGTH_M = 1e-3
"""Shortest vector, in metres, that still has a direction."""


def in_frame(
    person: Person,
    transform: np.ndarray,
) -> Person:
    """Return the person with all 3D values expressed in another frame.

    transform: rigid transform (4, 4) from the person's frame to the new one. Positions, velocities
    and the covariances of both are transformed. Non-metric persons are rotated but not translated:
    their root stays at the origin.
    """
    rotation = transform[:3, :3]
    pose = person.skeleton_3d

    if not pose.metric:
        transform = np.eye(4)
        transform[:3, :3] = rotation

    skeleton = dataclasses.replace(
        pose,
        joints_m=transform_points(pose.joints_m, transform),
        root_m=transform_points(pose.root_m, transform),
        covariance_m2=rotate_covariances(pose.covariance_m2, rotation),
        root_covariance_m2=rotate_covariances(pose.root_covariance_m2, rotation),
        hypotheses_m=transform_points(pose.hypotheses_m, transform),
    )
    return dataclasses.replace(
        person,
        skeleton_3d=skeleton,
        velocity_mps=person.velocity_mps @ rotation.T,
        velocity_covariance_m2ps2=rotate_covariances(person.velocity_covariance_m2ps2, rotation),
    )


def transform_points(
    points_m: np.ndarray,
    transform: np.ndarray,
) -> np.ndarray:
    """Return points (..., 3) after a rigid transform (4, 4)."""
    rotation = transform[:3, :3]
    translation = transform[:3, 3]
    return points_m @ rotation.T + translation


def rotate_covariances(
    covariances: np.ndarray,
    rotation: np.ndarray,
) -> np.ndarray:
    """Return covariances (..., 3, 3) in axes that are turned by `rotation` (3, 3)."""
    turned = rotation @ covariances
    return turned @ rotation.T


def body_frame(skeleton: Skeleton3D) -> np.ndarray | None:
    """Return the transform (4, 4) from body coordinates to the frame of the skeleton.

    Body coordinates follow REP-155: origin at the pelvis, x forward, y to the person's left, z up
    along the trunk. None if the pelvis, the thorax, a hip or a shoulder is unknown.
    """
    joints = skeleton.joints_m
    axes = body_axes(joints)
    if not np.isfinite(axes).all():
        return None

    frame = np.eye(4)
    frame[:3, :3] = axes
    frame[:3, 3] = joints[_PELVIS]
    return frame


def body_axes(joints_m: np.ndarray) -> np.ndarray:
    """Return the axes (..., 3, 3) of body coordinates in the frame of joints (..., 17, 3), as
    columns x, y, z; NaN where `body_frame` is None."""
    thorax = joints_m[..., _THORAX, :]
    pelvis = joints_m[..., _PELVIS, :]
    left = joints_m[..., _LEFT, :].sum(-2)
    right = joints_m[..., _RIGHT, :].sum(-2)

    return upright_axes(thorax - pelvis, left - right)


def upright_axes(
    up: np.ndarray,
    left: np.ndarray,
) -> np.ndarray:
    """Return right-handed axes (..., 3, 3) as columns: z along `up`, y as close to `left` as
    possible, x forward.

    up, left: (..., 3) of any length, metres. NaN where one is unknown, or both are parallel or too
    short.
    """
    z = unit(up)
    x = unit(np.cross(left, z))
    y = np.cross(z, x)
    return np.stack([x, y, z], -1)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors (..., 3) of length 1; NaN where a vector is NaN or not longer than 1 mm."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    long_enough = lengths > _MIN_LENGTH_M
    return vectors / np.where(long_enough, lengths, np.nan)
