# SPDX-License-Identifier: Apache-2.0
"""Rigid frames and persons: a person in another frame, and the frame that a body carries with it."""

from __future__ import annotations

import dataclasses

import numpy as np

from lifting_ros.skeleton import JOINT_NAMES
from lifting_ros.types import Person, Skeleton3D

_PELVIS, _THORAX = JOINT_NAMES.index("pelvis"), JOINT_NAMES.index("thorax")
_LEFT = [JOINT_NAMES.index(name) for name in ("left_hip", "left_shoulder")]
_RIGHT = [JOINT_NAMES.index(name) for name in ("right_hip", "right_shoulder")]
_LEAST_M = 1e-3


def in_frame(person: Person, transform: np.ndarray) -> Person:
    """The person with everything in 3D, covariances and velocities included, taken through a rigid
    transform (4, 4).

    Who is not placed in metres is turned alone: its root is the origin, in whatever frame.
    """
    rotation, pose = transform[:3, :3], person.skeleton_3d
    if not pose.metric:
        transform = np.eye(4)
        transform[:3, :3] = rotation
    skeleton = dataclasses.replace(
        pose,
        joints_m=moved(pose.joints_m, transform),
        root_m=moved(pose.root_m, transform),
        covariance_m2=rotation @ pose.covariance_m2 @ rotation.T,
        root_covariance_m2=rotation @ pose.root_covariance_m2 @ rotation.T,
        hypotheses_m=moved(pose.hypotheses_m, transform),
    )
    return dataclasses.replace(
        person, skeleton_3d=skeleton, velocity_mps=person.velocity_mps @ rotation.T
    )


def moved(points_m: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Points (..., 3) through a rigid transform (4, 4)."""
    return points_m @ transform[:3, :3].T + transform[:3, 3]


def body_frame(skeleton: Skeleton3D) -> np.ndarray | None:
    """(4, 4) from body coordinates, origin at the pelvis, x forward, y to the person's left, z up
    along the trunk (REP-155), to the frame of the skeleton; None where the trunk is not known."""
    joints = skeleton.joints_m
    up = joints[_THORAX] - joints[_PELVIS]
    left = (joints[_LEFT] - joints[_RIGHT]).sum(0)
    forward = np.cross(left, up)
    lengths = np.linalg.norm([up, forward], axis=1)
    if not (np.isfinite(lengths).all() and lengths.min() > _LEAST_M):
        return None
    z, x = up / lengths[0], forward / lengths[1]
    frame = np.eye(4)
    frame[:3, :3], frame[:3, 3] = np.column_stack([x, np.cross(z, x), z]), joints[_PELVIS]
    return frame
