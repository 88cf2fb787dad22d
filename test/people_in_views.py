# SPDX-License-Identifier: Apache-2.0
"""People before several cameras, with what each camera says of them: keypoints with Gaussian
errors, and a skeleton with the errors that its covariances state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from walkers import straight, walk

from lifting_ros.geometry.camera import Camera
from lifting_ros.multiview.sighting import CameraFrame, View
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT, KEYPOINT_TO_JOINT, limb_lengths
from lifting_ros.types import JointStatus, Person, Skeleton2D, Skeleton3D

FPS = 30.0
MATRIX = np.array([[900.0, 0, 640], [0, 900, 480], [0, 0, 1]])
LENS = np.array([-0.2, 0.08, 0.001, -0.001, 0.0])
RANGE_STD_M = 0.25
ROOT_STD_M = 0.02
DEPTH_STD_M = 0.08
JOINT_STD_M = 0.03


def around(angles_deg: Sequence[float], distorted: bool = False) -> list[View]:
    """Cameras 4 m from the middle and 2 m above the floor that look at the middle; z up."""
    camera = Camera(MATRIX, LENS if distorted else np.zeros(0))
    views = []
    for angle in np.radians(angles_deg):
        eye = np.array([4 * np.cos(angle), 4 * np.sin(angle), 2.0])
        forward = np.array([0, 0, 1.0]) - eye
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 0, 1])
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3, :3] = np.column_stack([right, np.cross(forward, right), forward])
        pose[:3, 3] = eye
        views.append(View(camera, pose))
    return views


def walker(start=(-0.6, -0.3), end=(0.6, 0.4), seconds: float = 1.0, stature: float = 1.75):
    """Joints (F, 17, 3) of somebody who walks on the floor, z up, between two places (x, y)."""
    joints = walk(straight(start, end, seconds, FPS), FPS, stature=stature)
    return np.stack([joints[..., 0], joints[..., 2], 1.2 - joints[..., 1]], -1)


def sees(
    view: View,
    joints: np.ndarray,
    rng: np.random.Generator | None,
    number: int = 1,
    std_px: float = 3.0,
    velocity: np.ndarray | None = None,
) -> Person:
    """The person of joints (17, 3) as a camera reports it, in the common frame.

    rng: of the errors; None: exact. velocity: (17, 3), or unknown.
    """
    to_camera = np.linalg.inv(view.pose)
    in_camera = joints @ to_camera[:3, :3].T + to_camera[:3, 3]
    points = view.camera.project(in_camera[list(KEYPOINT_TO_JOINT)])

    # Along the ray and across it
    ray = joints[0] - view.pose[:3, 3]
    ray /= np.linalg.norm(ray)
    along = np.outer(ray, ray)
    across = np.eye(3) - along
    root_factor = RANGE_STD_M * along + ROOT_STD_M * across
    factor = DEPTH_STD_M * along + JOINT_STD_M * across

    root = joints[0]
    relative = joints - root
    if rng is not None:
        points = points + std_px * rng.standard_normal(points.shape)
        root = root + root_factor @ rng.standard_normal(3)
        relative = relative + rng.standard_normal(relative.shape) @ factor
        relative[0] = 0

    covariance = np.repeat((factor @ factor)[None], JOINT_COUNT, 0)
    covariance[0] = 0.0
    status = np.full(JOINT_COUNT, JointStatus.INFERRED, np.uint8)
    status[list(KEYPOINT_TO_JOINT)] = JointStatus.OBSERVED
    flat = Skeleton2D(
        points,
        np.full(KEYPOINT_COUNT, 0.9),
        np.repeat(std_px**2 * np.eye(2)[None], KEYPOINT_COUNT, 0),
        np.concatenate([points.min(0), points.max(0)]),
        0.9,
    )
    pose = Skeleton3D(
        joints_m=root + relative,
        root_m=root,
        covariance_m2=covariance,
        root_covariance_m2=root_factor @ root_factor,
        confidence=(status == JointStatus.OBSERVED) * 0.9,
        status=status,
        log_likelihood=0.0,
        metric=True,
        hypotheses_m=np.zeros((0, JOINT_COUNT, 3)),
        hypothesis_weight=np.zeros(0),
    )
    known = velocity is not None
    return Person(
        id=number,
        age_s=1.0,
        skeleton_2d=flat,
        skeleton_3d=pose,
        velocity_mps=velocity if known else np.full((JOINT_COUNT, 3), np.nan),
        velocity_covariance_m2ps2=np.repeat(
            (0.01 if known else np.nan) * np.eye(3)[None], JOINT_COUNT, 0
        ),
        bone_lengths_m=limb_lengths(joints),
        bone_lengths_std_m=np.full(JOINT_COUNT - 1, 0.03),
    )


def frames(
    views: Sequence[View],
    people: Sequence[np.ndarray],
    rng: np.random.Generator | None,
    stamp_ns: int = 10**9,
    std_px: float = 3.0,
) -> list[CameraFrame]:
    """A frame of each camera, with people (17, 3) each under the ids 1, 2, ..."""
    return [
        CameraFrame(
            f"camera{number}",
            view,
            stamp_ns,
            tuple(sees(view, one, rng, k + 1, std_px) for k, one in enumerate(people)),
        )
        for number, view in enumerate(views)
    ]
