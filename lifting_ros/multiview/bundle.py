# SPDX-License-Identifier: Apache-2.0
"""Bundle adjustment: the poses of cameras and the joints of people that fit all keypoints best.

Unknown are the pose of every camera but the reference, whose optical frame is the common one; the
joints X of each frame of a person; and the scale s of the limb lengths of each person. Each
residual is divided by its standard deviation:

    keypoint k in camera c:   pi(R_c' (X_k - o_c)) - u_ck
    limb from a to b:         |X_b - X_a| - L (1 + s),   s ~ N(0, limb_scale_std^2)

Reprojections alone leave the scale open; the limb lengths, which the tracks know from the stature
that people have, fix it. The loss is Cauchy's: a keypoint that does not fit counts little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares
from scipy.sparse import coo_array, csc_array
from scipy.sparse.linalg import splu
from scipy.spatial.transform import Rotation

from lifting_ros.multiview.relative_pose import SEEN_LIMBS, noise_of
from lifting_ros.multiview.residuals import NEAR_M, limb_prior, whiteners
from lifting_ros.multiview.sighting import Sighting
from lifting_ros.skeleton import KEYPOINT_COUNT

LOSS_SCALE = 2.0
"""Standard deviations from which a residual counts less."""

_MOST_STEPS = 60

_POSE = 6
"""Unknowns of a camera: a rotation vector and the place."""

Sightings = Mapping[int, Sighting]
"""One person at one time, by the number of the camera."""


class PersonFrame(NamedTuple):
    """One person at one time."""

    person: int
    """Number of the person."""
    sightings: Sightings


class Adjusted(NamedTuple):
    """Cameras that fit best; C cameras, K keypoints."""

    poses: np.ndarray
    """(C, 4, 4) from the optical frames to the common frame."""
    covariance: np.ndarray
    """(C, 6, 6) of the rotation vector (rad, common frame) and the place (m); 0 for the
    reference."""
    camera: np.ndarray
    """(K,) camera of each keypoint."""
    error: np.ndarray
    """(K, 2) reprojection errors, normalised coordinates."""
    distance: np.ndarray
    """(K,) the same in standard deviations."""


def adjust(
    frames: Sequence[PersonFrame],
    poses: np.ndarray,
    limb_scale_std: float,
) -> Adjusted:
    """Adjust poses (C, 4, 4), the first of which stays, to what is seen of people.

    numpy.linalg.LinAlgError where they leave something open.
    """
    problem = _Problem(frames, poses, limb_scale_std)
    result = least_squares(
        problem.residuals,
        problem.start(),
        jac_sparsity=problem.sparsity(),
        loss="cauchy",
        f_scale=LOSS_SCALE,
        x_scale="jac",
        ftol=1e-7,
        xtol=1e-7,
        max_nfev=_MOST_STEPS,
    )
    covariance = np.zeros((len(poses), _POSE, _POSE))
    covariance[1:] = problem.pose_covariance(result)

    error = problem.reprojection_errors(result.x)
    whitened = problem.whiten @ error[..., None]
    return Adjusted(
        poses=problem.poses_of(result.x),
        covariance=covariance,
        camera=problem.camera,
        error=error,
        distance=np.linalg.norm(whitened[..., 0], axis=-1),
    )


class _Problem:
    """Unknowns, in this order: cameras but the first, points, scales."""

    def __init__(
        self,
        frames: Sequence[PersonFrame],
        poses: np.ndarray,
        limb_scale_std: float,
    ):
        self._poses = poses
        self._scale_std = limb_scale_std
        self._frames = frames
        self._number = self._number_points()

        self._add_keypoints()
        self._add_limbs()
        self._first_point = _POSE * (len(poses) - 1)
        self._first_scale = self._first_point + 3 * self._point_count
        persons = [frame.person for frame in frames]
        self.size = self._first_scale + max(persons) + 1

    def _number_points(self) -> np.ndarray:
        """Number (F, 14) of each joint that two cameras see; -1: others."""
        count = np.array(
            [sum(one.seen for one in frame.sightings.values()) for frame in self._frames]
        )
        number = np.full((len(self._frames), KEYPOINT_COUNT), -1)
        several = count >= 2
        self._point_count = int(several.sum())
        number[several] = np.arange(self._point_count)
        return number

    def _add_keypoints(self) -> None:
        """Camera (K,), point (K,), ray (K, 2) and whitening matrix (K, 2, 2) of each keypoint."""
        camera = []
        point = []
        ray = []
        covariance = []
        for number, frame in zip(self._number, self._frames):
            for index, one in frame.sightings.items():
                used = one.seen & (number >= 0)
                noise = noise_of(one.ray_covariance, np.array(one.shift_std))
                camera.append(np.full(used.sum(), index))
                point.append(number[used])
                ray.append(one.rays[used])
                covariance.append(noise[used])

        self.camera = np.concatenate(camera)
        self.point = np.concatenate(point)
        self.ray = np.concatenate(ray)
        self.whiten = whiteners(np.concatenate(covariance))

    def _add_limbs(self) -> None:
        """Ends (L,), length (L,), standard deviation (L,) and person (L,) of each limb."""
        rows = []
        for number, frame in zip(self._number, self._frames):
            lengths, std = limb_prior(list(frame.sightings.values()))
            for limb, parent, child in SEEN_LIMBS:
                ends = (number[parent], number[child])
                if min(ends) >= 0 and np.isfinite(std[limb]):
                    rows.append((*ends, lengths[limb], std[limb], frame.person))

        table = np.array(rows).reshape(-1, 5)
        self._parent = table[:, 0].astype(int)
        self._child = table[:, 1].astype(int)
        self._length = table[:, 2]
        self._length_std = table[:, 3]
        self._person = table[:, 4].astype(int)

    def start(self) -> np.ndarray:
        """Unknowns (U,) at the given poses: the points are nearest to their rays."""
        poses = self._poses[self.camera]
        ones = np.ones((len(self.ray), 1))
        in_camera = np.concatenate([self.ray, ones], 1)
        along = poses[:, :3, :3] @ in_camera[..., None]
        along = along / np.linalg.norm(along, axis=1, keepdims=True)
        across = np.eye(3) - along @ along.swapaxes(-1, -2)
        right = across @ poses[:, :3, 3:]

        information = np.zeros((self._point_count, 3, 3))
        total = np.zeros((self._point_count, 3, 1))
        np.add.at(information, self.point, across)
        np.add.at(total, self.point, right)
        points = np.linalg.solve(information + 1e-9 * np.eye(3), total)

        state = np.zeros(self.size)
        cameras = state[: self._first_point].reshape(-1, _POSE)
        cameras[:, 3:] = self._poses[1:, :3, 3]
        state[self._first_point : self._first_scale] = points.ravel()
        return state

    def poses_of(self, state: np.ndarray) -> np.ndarray:
        """Poses (C, 4, 4)."""
        cameras = state[: self._first_point].reshape(-1, _POSE)
        turn = Rotation.from_rotvec(cameras[:, :3]).as_matrix()
        poses = self._poses.copy()
        poses[1:, :3, :3] = turn @ self._poses[1:, :3, :3]
        poses[1:, :3, 3] = cameras[:, 3:]
        return poses

    def reprojection_errors(self, state: np.ndarray) -> np.ndarray:
        """(K, 2) normalised coordinates."""
        poses = self.poses_of(state)[self.camera]
        points = self._points(state)[self.point]
        apart = points - poses[:, :3, 3]
        in_camera = (apart[:, None] @ poses[:, :3, :3])[:, 0]
        depth = np.maximum(in_camera[:, 2:], NEAR_M)
        return in_camera[:, :2] / depth - self.ray

    def residuals(self, state: np.ndarray) -> np.ndarray:
        """(R,) those of keypoints, limbs and scales."""
        error = self.reprojection_errors(state)
        whitened = self.whiten @ error[..., None]

        points = self._points(state)
        scale = state[self._first_scale :]
        found = np.linalg.norm(points[self._child] - points[self._parent], axis=1)
        expected = self._length * (1 + scale[self._person])
        limbs = (found - expected) / self._length_std
        return np.concatenate([whitened.ravel(), limbs, scale / self._scale_std])

    def sparsity(self) -> csc_array:
        """(R, U) 1 where a residual depends on an unknown."""
        keypoints = np.arange(len(self.camera))
        limbs = 2 * len(keypoints) + np.arange(len(self._parent))
        rows = []
        columns = []

        def add(row: np.ndarray, first_column: np.ndarray, count: int) -> None:
            rows.append(np.repeat(row, count))
            columns.append((first_column[:, None] + np.arange(count)).ravel())

        moving = self.camera > 0
        for axis in range(2):
            row = 2 * keypoints + axis
            add(row[moving], _POSE * (self.camera[moving] - 1), _POSE)
            add(row, self._first_point + 3 * self.point, 3)

        add(limbs, self._first_point + 3 * self._parent, 3)
        add(limbs, self._first_point + 3 * self._child, 3)
        add(limbs, self._first_scale + self._person, 1)
        scales = np.arange(self.size - self._first_scale)
        last = 2 * len(keypoints) + len(limbs)
        add(last + scales, self._first_scale + scales, 1)

        row = np.concatenate(rows)
        column = np.concatenate(columns)
        shape = (last + len(scales), self.size)
        return coo_array((np.ones(len(row)), (row, column)), shape).tocsc()

    def pose_covariance(self, result: object) -> np.ndarray:
        """(C - 1, 6, 6) of the cameras, from the robust Gauss-Newton matrix at the solution and the
        variance factor of the residuals."""
        jacobian = csc_array(result.jac)
        try:
            factors = splu((jacobian.T @ jacobian).tocsc())
        except RuntimeError as error:
            raise np.linalg.LinAlgError(str(error)) from None

        poses = np.eye(self.size)[:, : self._first_point]
        inverse = factors.solve(poses)[: self._first_point]
        blocks = inverse.reshape(-1, _POSE, len(self._poses) - 1, _POSE)
        camera = np.arange(len(self._poses) - 1)

        weight = 1 / (1 + (result.fun / LOSS_SCALE) ** 2)
        freedom = max(len(result.fun) - self.size, 1)
        factor = float(weight @ result.fun**2) / freedom
        return max(factor, 1.0) * blocks[camera, :, camera]

    def _points(self, state: np.ndarray) -> np.ndarray:
        return state[self._first_point : self._first_scale].reshape(-1, 3)
