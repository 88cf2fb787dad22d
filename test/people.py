# SPDX-License-Identifier: Apache-2.0
"""People that the tests make themselves: a stick figure with moving limbs, and a small prior fitted
on many of it."""

from __future__ import annotations

import functools

import numpy as np

from lifting_ros.geometry.camera import Camera
from lifting_ros.prior.alignment import (
    cost_waves,
    lowest_angles,
    mirror_rows,
    rotate_about_vertical,
)
from lifting_ros.prior.gaussian import Gaussian, gaussian_of, moments_of
from lifting_ros.prior.ppca import MixturePPCA, normalise
from lifting_ros.skeleton import JOINT_COUNT, JOINT_PARENTS, KEYPOINT_TO_JOINT

STANDING_PX = np.array(
    [[50, 10], [50, 20], [40, 25], [35, 40], [30, 55], [60, 25], [65, 40]]
    + [[70, 55], [42, 60], [40, 80], [38, 99], [58, 60], [60, 80], [62, 99]],
    float,
)
"""(14, 2) keypoints of a person who stands and faces the camera, px."""

# bone vectors of a standing figure, metres, y up, facing +z; the person's right is at -x
_BONES = {
    1: (-0.11, 0, 0),
    2: (0, -0.42, 0),
    3: (0, -0.42, 0),
    4: (0.11, 0, 0),
    5: (0, -0.42, 0),
    6: (0, -0.42, 0),
    7: (0, 0.24, 0),
    8: (0, 0.25, 0),
    9: (0, 0.1, 0.03),
    10: (0, 0.13, -0.03),
    11: (0.17, -0.02, 0),
    12: (0.05, -0.28, 0),
    13: (0, -0.25, 0.02),
    14: (-0.17, -0.02, 0),
    15: (-0.05, -0.28, 0),
    16: (0, -0.25, 0.02),
}
_MOVING = {
    2: 0.35,
    3: 0.5,
    5: 0.35,
    6: 0.5,
    7: 0.15,
    8: 0.15,
    10: 0.15,
    12: 0.5,
    13: 0.6,
    15: 0.5,
    16: 0.6,
}
_BENDS = {3: 1, 6: 1, 13: -1, 16: -1}  # knees bend back, elbows forward: what tells front from back


def _turn(angles: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) about x, then z."""
    (cx, sx), (cz, sz) = ((np.cos(a), np.sin(a)) for a in angles)
    return np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, cx, -sx], [0, sx, cx]]
    )


def make_poses(count: int, seed: int = 0, yaw: bool = True) -> np.ndarray:
    """Stick figures (N, 17, 3), metres, y up, the feet near the floor."""
    rng = np.random.default_rng(seed)
    poses = np.zeros((count, JOINT_COUNT, 3))
    for pose in poses:
        turned = {0: np.eye(3)}
        for joint in range(1, JOINT_COUNT):
            parent = JOINT_PARENTS[joint]
            spread = _MOVING.get(joint, 0.0)
            angles = spread * rng.standard_normal(2) * [1, 0.4]
            if joint in _BENDS:
                angles = np.array([_BENDS[joint] * abs(angles[0]) * 1.5, 0.2 * angles[1]])
            turned[joint] = turned[parent] @ _turn(angles)
            pose[joint] = pose[parent] + turned[joint] @ np.array(_BONES[joint])
        if yaw:
            angle = rng.uniform(0, 2 * np.pi)
            c, s = np.cos(angle), np.sin(angle)
            pose[:] = pose @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T
        pose[:, 1] -= pose[:, 1].min()
    return poses


@functools.cache
def small_prior() -> MixturePPCA:
    """A prior of two components fitted on 1,200 stick figures; do not change it."""
    return MixturePPCA(components=2, basis=12).fit(make_poses(1200), stature_m=(1.05, 0.06))


@functools.cache
def three_kinds(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means (3, 51), rows (N, 51) and owners (N,) drawn from three symmetric Gaussians of four
    directions each, turned at random."""
    rng = np.random.default_rng(0)
    means = np.stack([normalise(make_poses(1, seed=s, yaw=False))[0][0] for s in (1, 2, 3)])
    joints = 0.5 * (means + mirror_rows(means)).reshape(3, 17, 3)
    joints[1, [2, 3, 5, 6]] += [0, 0.3, 0.3]  # sitting
    joints[2, [12, 13, 15, 16]] += [[0, 0.5, 0], [0, 0.9, 0]] * 2  # arms up
    means = normalise(joints)[0]
    owner = rng.choice(3, count, p=(0.5, 0.3, 0.2))
    directions = rng.normal(size=(3, 4, 51)) * [[[1.0]], [[0.8]], [[0.6]]]
    directions = 0.005 * (
        directions + np.array([1.0, -1, 1, -1])[:, None] * mirror_rows(directions)
    )
    rows = (
        means[owner]
        + np.einsum("nk,nkd->nd", rng.normal(size=(count, 4)), directions[owner])
        + 0.006 * rng.normal(size=(count, 51))
    )
    return (
        means,
        rotate_about_vertical(normalise(rows.reshape(-1, 17, 3))[0], rng.uniform(0, 7, count)),
        owner,
    )


CAMERA = Camera(np.array([[600.0, 0, 319.5], [0, 600, 239.5], [0, 0, 1]]))


def see(poses_m: np.ndarray, distance_m: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """Poses (N, 17, 3) before a level camera at 1 m height: joints in its optical frame (N, 17, 3)
    and keypoints px (N, 14, 2)."""
    joints = (poses_m - np.array([0, 1.0, 0])) * np.array([1.0, -1, -1]) + np.array(
        [0, 0, distance_m]
    )
    return joints, CAMERA.project(joints[:, list(KEYPOINT_TO_JOINT)])


def fit_gaussian(rows: np.ndarray, weights: np.ndarray, basis_size: int) -> Gaussian:
    """Maximum-likelihood PPCA of weighted poses (N, 51), as one component of the fit has it."""
    return gaussian_of(moments_of(rows, weights), basis_size)


def update_rotations(
    rows: np.ndarray, theta: np.ndarray, model: Gaussian, grid: int = 0
) -> np.ndarray:
    """Rotations (N,) that make each pose (N, 51) most likely under one component, as the fit finds
    them."""
    return lowest_angles(cost_waves(rows, model), theta, grid)
