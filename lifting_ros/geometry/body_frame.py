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
"""Shortest trunk, in metres, that still defines a body frame."""


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
    pelvis = joints[_PELVIS]

    up = joints[_THORAX] - pelvis
    left = (joints[_LEFT] - joints[_RIGHT]).sum(0)
    forward = np.cross(left, up)

    lengths = np.linalg.norm([up, forward], axis=1)
    if not (np.isfinite(lengths).all() and lengths.min() > _MIN_LENGTH_M):
        return None

    z = up / lengths[0]
    x = forward / lengths[1]
    y = np.cross(z, x)

    frame = np.eye(4)
    frame[:3, :3] = np.column_stack([x, y, z])
    frame[:3, 3] = pelvis
    return frame
