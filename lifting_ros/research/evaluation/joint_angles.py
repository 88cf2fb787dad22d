# SPDX-License-Identifier: Apache-2.0
"""Errors and coverage of the joint angles of persons that were found in a video, against its true
joints. Angles depend neither on the camera's place nor on the person's size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lifting_ros.errors import DataError
from lifting_ros.geometry.joint_angles import ANGLES, JointAngles, joint_angles, wrapped
from lifting_ros.io.arrays import read_arrays
from lifting_ros.io.pose_table import PoseFrame
from lifting_ros.skeleton import JOINT_COUNT
from lifting_ros.types import Skeleton3D

Rows = dict[str, dict[str, float]]

STDS_90 = 1.645
"""Standard deviations on either side of the mean that hold 90 % of a Gaussian."""


def read_true_joints(path: Path, frames: int) -> np.ndarray:
    """True joints (F, 17, 3) of the `frames` frames of a video, NaN where nobody is there;
    DataError in one line for another file."""
    arrays = read_arrays(path, {"joints_m": ("F", JOINT_COUNT, 3)})
    joints_m = arrays["joints_m"].astype(float)
    if len(joints_m) != frames:
        raise DataError(f"{path}: joints_m: expected {frames} frames, got {len(joints_m)}")
    return joints_m


def angle_rows(frames: Sequence[PoseFrame], truth_m: np.ndarray) -> Rows:
    """Rows by angle: mean absolute error, bias (estimate less truth) and mean standard deviation in
    degrees, share of true angles within 1.645 standard deviations in %, number of frames.

    In each frame the person whose root is nearest to the true one (F, 17, 3) counts. Frames without
    the angle or its standard deviation are left out.
    """
    found: list[Skeleton3D] = []
    true: list[np.ndarray] = []
    for frame, joints_m in zip(frames, truth_m, strict=True):
        if frame.persons and np.isfinite(joints_m).all():
            found.append(_nearest(frame, joints_m))
            true.append(joints_m)

    joints = np.array([skeleton.joints_m for skeleton in found]).reshape(-1, JOINT_COUNT, 3)
    covariance = np.array([skeleton.covariance_m2 for skeleton in found])
    estimate = joint_angles(joints, covariance.reshape(-1, JOINT_COUNT, 3, 3))

    expected = np.array(true).reshape(joints.shape)
    exact = joint_angles(expected, np.zeros((*expected.shape, 3)))
    return {name: _row(estimate, exact, column) for column, name in enumerate(ANGLES)}


def _nearest(frame: PoseFrame, joints_m: np.ndarray) -> Skeleton3D:
    """The person of a frame whose root is nearest to that of joints (17, 3)."""

    def distance(skeleton: Skeleton3D) -> float:
        return float(np.linalg.norm(skeleton.root_m - joints_m[0]))

    return min((person.skeleton_3d for person in frame.persons), key=distance)


def _row(estimate: JointAngles, exact: JointAngles, column: int) -> dict[str, float]:
    """The row of one angle."""
    error = wrapped(estimate.rad[:, column] - exact.rad[:, column])
    std = estimate.std_rad[:, column]

    counted = np.isfinite(error) & np.isfinite(std)
    if not counted.any():
        return {"MAE deg": np.nan, "bias deg": np.nan, "std deg": np.nan, "90 %": np.nan, "n": 0.0}

    error = error[counted]
    std = std[counted]
    return {
        "MAE deg": float(np.degrees(np.abs(error).mean())),
        "bias deg": float(np.degrees(error.mean())),
        "std deg": float(np.degrees(std.mean())),
        "90 %": 100 * float((np.abs(error) <= STDS_90 * std).mean()),
        "n": float(len(error)),
    }
