# SPDX-License-Identifier: Apache-2.0
"""One skeleton from a person's keypoints in several cameras: a robust least-squares problem.

Unknown are the 17 joints X_j in the common frame, a shift b_c of all rays of camera c, and the
scale s of the limb lengths. Each residual is divided by its standard deviation:

    keypoint k of joint j in camera c:   pi_c(X_j) + b_c - u_ck
    calibration of camera c:             b_c ~ N(0, (calibration_noise_px / f)^2)
    root of the skeleton of c alone:     X_0 - root_c
    pose of the skeleton of c alone:     X_j - X_0 - pose_cj
    limb from joint a to joint b:        |X_b - X_a| - L (1 + s),  s ~ N(0, limb_scale_std^2)

Nothing counts twice. A camera's own skeleton was made of the same keypoints, so of a joint that
camera c sees, its pose only says how deep the joint lies along the ray, which the keypoint leaves
open; of a joint that c does not see, it says everything. The skeletons of C cameras, and the limb
lengths that they measured, depend on the same pose prior and stature. Their information is divided
by C (covariance intersection), so that C cameras that agree are not surer than one of them.

Robust: a residual of D numbers with the squared Mahalanobis distance q has the weight
min(1, (FREEDOM + D) / (FREEDOM + q)), which is that of a Gaussian in the middle and that of a t
distribution in the tails. The weights start with wide tails, so that an outlier does not choose the
minimum. The covariance is the inverse of the weighted Gauss-Newton matrix J'WJ, times the variance
factor (FACTOR_FREEDOM + sum of w q) / (FACTOR_FREEDOM + its expectation) of the keypoints: people
whose rays meet better than their covariances say are known better.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lifting_ros.multiview.fusion_config import FusionConfig
from lifting_ros.multiview.sighting import Sighting
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT, KEYPOINT_TO_JOINT, LIMBS, ROOT

FREEDOM = 4.0
"""Degrees of freedom of the t distribution in the tails."""

FACTOR_FREEDOM = 3.0
"""Weight of the variance factor 1 against the residuals."""

EXPECTED_SHARE = 0.789
"""Mean of w q divided by that of q, for the two numbers of a keypoint whose errors are Gaussian."""

STRETCHES = (6.0, 2.5)
"""Factors on all standard deviations in the first steps."""

_STEPS = 20
"""Most Gauss-Newton steps."""

_SMALL_STEP_M = 3e-4
"""A step in which no joint moves further than this is the last."""

_LARGE_STEP_M = 0.5
"""Longest move of a joint in one step."""

_NEAR_M = 0.1
"""Joints are not taken to be nearer to a camera's plane than this."""

_TINY_M2 = 1e-8
"""Added to the variances of prior skeletons, of which that of the root relative to itself is 0."""

_POINTS = 3 * JOINT_COUNT
_JOINT_OF = np.array(KEYPOINT_TO_JOINT)
_OTHERS = np.flatnonzero(np.arange(JOINT_COUNT) != ROOT)
_PARENTS, _CHILDREN = np.array(LIMBS).T
_LIMB_ROWS = np.arange(len(LIMBS))
_COLUMNS = np.arange(_POINTS).reshape(JOINT_COUNT, 3)


class Fit(NamedTuple):
    """The skeleton that fits best."""

    joints_m: np.ndarray
    """(17, 3) in the common frame; NaN where nothing is known."""
    covariance_m2: np.ndarray
    """(51, 51) of `joints_m`."""
    weights: np.ndarray
    """(C, 14) of the keypoints: 1 for those that fit, near 0 for outliers, 0 where not seen."""
    cost: float
    """Robust cost, half a squared distance where everything fits."""


def fit_skeleton(
    sightings: Sequence[Sighting], config: FusionConfig, near_m: np.ndarray | None = None
) -> Fit:
    """The skeleton of a person whom the cameras of `sightings` see, one sighting each.

    near_m: (17, 3) joints to start from; None: the points nearest to the rays.
    """
    problem = _Problem(sightings, config)
    state = problem.start() if near_m is None else problem.state_of(near_m)
    stretches = STRETCHES if near_m is None else STRETCHES[-1:]

    for step in range(_STEPS):
        stretch = stretches[step] if step < len(stretches) else 1.0
        change = problem.step(state, stretch)
        state = state + change
        moved = np.abs(change[:_POINTS]).max()
        if stretch == 1.0 and moved < _SMALL_STEP_M:
            break

    return problem.result(state)


class _Problem:
    """The residuals of one person; C cameras, U unknowns."""

    def __init__(self, sightings: Sequence[Sighting], config: FusionConfig):
        self._count = len(sightings)
        self._size = _POINTS + 2 * self._count + 1
        self._sightings = sightings
        self._inflation = config.inflation

        # Keypoints
        self._rotation = np.stack([one.rotation for one in sightings])
        self._origin = np.stack([one.origin for one in sightings])
        self._rays = np.stack([one.rays for one in sightings])
        self._seen = np.stack([one.seen for one in sightings])
        noise = np.stack([one.ray_covariance for one in sightings])
        self._whiten = _whiteners(noise) * self._seen[..., None, None]
        self._jacobian_of_rays = self._empty_ray_rows()

        # Skeletons of the cameras, calibration and scale: linear, in blocks of 3 rows
        self._pose_of(sightings)
        self._linear, self._target, self._share = self._linear_rows(config)

        self._lengths, self._length_std = _limb_prior(sightings)

    def start(self) -> np.ndarray:
        """State (U,) of the points nearest to the rays and to the cameras' own skeletons."""
        apart = self._joints - self._origin[:, None]
        distance = np.linalg.norm(apart, axis=-1)  # C, 17
        direction = self._directions()
        along = direction[..., :, None] * direction[..., None, :]
        variance = np.stack([_mean_variance(one) for one in self._sightings])
        sharpness = self._joint_seen / (variance * np.maximum(distance, _NEAR_M) ** 2)
        of_rays = sharpness[..., None, None] * (np.eye(3) - along)

        absolute = self._covariance + self._root_covariance[:, None]
        known = np.isfinite(absolute).all((-1, -2)) & np.isfinite(self._joints).all(-1)
        filled = np.where(known[..., None, None], absolute, np.eye(3))
        of_poses = np.linalg.inv(filled + _TINY_M2 * np.eye(3)) / self._count
        of_poses = np.where(known[..., None, None], of_poses, 0.0)

        joints = np.nan_to_num(self._joints)
        information = (of_rays + of_poses).sum(0) + 1e-9 * np.eye(3)
        from_rays = np.einsum("cjab,cb->ja", of_rays, self._origin)
        from_poses = np.einsum("cjab,cjb->ja", of_poses, joints)
        points = np.linalg.solve(information, (from_rays + from_poses)[..., None])[..., 0]

        return self.state_of(points)

    def state_of(self, joints_m: np.ndarray) -> np.ndarray:
        """State (U,) with joints (17, 3), and neither shifts nor scale."""
        state = np.zeros(self._size)
        state[:_POINTS] = np.nan_to_num(joints_m).ravel()
        return state

    def step(self, state: np.ndarray, stretch: float) -> np.ndarray:
        """Gauss-Newton step (U,) with weights for standard deviations `stretch` times as large."""
        residual, jacobian = self._residuals(state)
        weight = self._row_weights(residual, stretch)
        weighted = jacobian * weight[:, None]
        change = -_solve(weighted.T @ jacobian, weighted.T @ residual)

        longest = np.abs(change[:_POINTS]).max()
        return change * min(1.0, _LARGE_STEP_M / max(longest, 1e-12))

    def result(self, state: np.ndarray) -> Fit:
        """Joints, covariance and weights at a state."""
        residual, jacobian = self._residuals(state)
        weight = self._row_weights(residual, 1.0)
        matrix = (jacobian * weight[:, None]).T @ jacobian
        inverse = _solve(matrix, np.eye(self._size))
        factor = self._variance_factor(residual, jacobian, weight, inverse)
        covariance = self._inflation * factor * inverse[:_POINTS, :_POINTS]

        joints = state[:_POINTS].reshape(JOINT_COUNT, 3).copy()
        unknown = ~self._known_joints()
        joints[unknown] = np.nan
        rows = _COLUMNS[unknown].ravel()
        covariance[rows] = np.nan
        covariance[:, rows] = np.nan

        shape = (self._count, KEYPOINT_COUNT)
        of_keypoints = weight[: 2 * self._seen.size : 2].reshape(shape) * self._seen
        return Fit(joints, covariance, of_keypoints, self._cost(residual))

    def _variance_factor(
        self, residual: np.ndarray, jacobian: np.ndarray, weight: np.ndarray, inverse: np.ndarray
    ) -> float:
        """Squared residuals of the keypoints, divided by what their covariances let expect."""
        rays = slice(0, 2 * self._seen.size)
        found = (weight[rays] * residual[rays] ** 2).sum()
        explained = (jacobian[rays] @ inverse * jacobian[rays]).sum(1) @ weight[rays]
        expected = EXPECTED_SHARE * max(2 * self._seen.sum() - explained, 0.0)
        return float((FACTOR_FREEDOM + found) / (FACTOR_FREEDOM + expected))

    def _residuals(self, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residuals (R,) and their derivatives (R, U): keypoints, linear rows, limbs."""
        joints = state[:_POINTS].reshape(JOINT_COUNT, 3)
        shifts = state[_POINTS:-1].reshape(self._count, 1, 2)

        # Keypoints
        seen_joints = joints[_JOINT_OF]
        apart = seen_joints - self._origin[:, None]
        in_camera = apart @ self._rotation.swapaxes(-1, -2)  # C, 14, 3
        depth = np.maximum(in_camera[..., 2:], _NEAR_M)
        projected = in_camera[..., :2] / depth
        off = projected + shifts - self._rays
        ray_residual = (self._whiten @ off[..., None]).ravel()

        derivative = np.zeros((*projected.shape, 3))
        derivative[..., 0, 0] = 1.0
        derivative[..., 1, 1] = 1.0
        derivative[..., 2] = -projected
        derivative /= depth[..., None]
        by_joint = self._whiten @ (derivative @ self._rotation[:, None])
        ray_jacobian = self._jacobian_of_rays
        ray_jacobian[self._ray_index] = by_joint

        # Limbs
        along = joints[_CHILDREN] - joints[_PARENTS]
        length = np.linalg.norm(along, axis=1)
        direction = along / np.maximum(length, 1e-6)[:, None] / self._length_std[:, None]
        scale = 1 + state[-1]
        limb_residual = (length - self._lengths * scale) / self._length_std
        limb_jacobian = np.zeros((len(LIMBS), self._size))
        limb_jacobian[_LIMB_ROWS[:, None], _COLUMNS[_CHILDREN]] = direction
        limb_jacobian[_LIMB_ROWS[:, None], _COLUMNS[_PARENTS]] = -direction
        limb_jacobian[:, -1] = -self._lengths / self._length_std

        linear_residual = self._linear @ state - self._target
        residual = np.concatenate([ray_residual, linear_residual, limb_residual])
        flat = ray_jacobian.reshape(-1, self._size)
        return residual, np.concatenate([flat, self._linear, limb_jacobian])

    def _row_weights(self, residual: np.ndarray, stretch: float) -> np.ndarray:
        """Weights (R,) of the residuals, the same within a group."""
        groups = self._groups(residual)
        weights = []
        for group, (size, share) in zip(groups, self._sizes()):
            square = (group * group).sum(1) / stretch**2
            weight = np.minimum(1.0, (FREEDOM + size) / (FREEDOM + square))
            weights.append(np.repeat(share * weight, size))

        # The unknowns' own: calibration and scale are Gaussian
        weights[1][-self._own_rows :] = 1.0
        return np.concatenate(weights)

    def _cost(self, residual: np.ndarray) -> float:
        total = 0.0
        for group, (size, share) in zip(self._groups(residual), self._sizes()):
            square = (group * group).sum(1)
            beyond = np.maximum(square, size)
            tail = (FREEDOM + size) * np.log((FREEDOM + beyond) / (FREEDOM + size))
            cost = np.minimum(square, size) + tail
            total += float((share * cost).sum()) / 2
        return total

    def _groups(self, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The residuals of keypoints (.., 2), linear rows (.., 3) and limbs (.., 1)."""
        rays = 2 * self._seen.size
        limbs = len(residual) - len(LIMBS)
        return (
            residual[:rays].reshape(-1, 2),
            residual[rays:limbs].reshape(-1, 3),
            residual[limbs:].reshape(-1, 1),
        )

    def _sizes(self) -> tuple[tuple[int, np.ndarray | float], ...]:
        """Numbers of a group, and the share of its information that counts."""
        return (2, 1.0), (3, self._share), (1, 1.0)

    def _empty_ray_rows(self) -> np.ndarray:
        """Derivatives (C, 14, 2, U) of the keypoints' residuals, those by the shifts filled in."""
        cameras = np.arange(self._count)
        keypoints = np.arange(KEYPOINT_COUNT)
        self._ray_index = (
            cameras[:, None, None, None],
            keypoints[None, :, None, None],
            np.arange(2)[None, None, :, None],
            _COLUMNS[_JOINT_OF][None, :, None, :],
        )

        rows = np.zeros((self._count, KEYPOINT_COUNT, 2, self._size))
        for camera in cameras:
            first = _POINTS + 2 * camera
            rows[camera, :, :, first : first + 2] = self._whiten[camera]
        return rows

    def _pose_of(self, sightings: Sequence[Sighting]) -> None:
        """Collect the skeletons of the cameras."""
        poses = [one.person.skeleton_3d for one in sightings]
        self._joints = np.stack([pose.joints_m for pose in poses])
        self._root = np.stack([pose.root_m for pose in poses])
        self._covariance = np.stack([pose.covariance_m2 for pose in poses])
        self._root_covariance = np.stack([pose.root_covariance_m2 for pose in poses])
        self._joint_seen = np.zeros((self._count, JOINT_COUNT), bool)
        self._joint_seen[:, _JOINT_OF] = self._seen

    def _directions(self) -> np.ndarray:
        """(C, 17, 3) unit vectors from the cameras to the joints along the rays; 0 where not
        seen."""
        directions = np.zeros((self._count, JOINT_COUNT, 3))
        for camera, one in enumerate(self._sightings):
            directions[camera, _JOINT_OF] = one.directions * one.seen[:, None]
        return directions

    def _linear_rows(self, config: FusionConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Matrix (L, U), target (L,) and share (L / 3,) of the residuals that are linear: roots,
        poses, and at the end calibration and scale."""
        poses, pose_target = self._pose_rows()
        roots = np.zeros((self._count, 3, self._size))
        roots[..., _COLUMNS[ROOT]] = _whiteners(self._root_covariance + _TINY_M2 * np.eye(3))
        root_target = (roots[..., _COLUMNS[ROOT]] @ self._root[..., None])[..., 0]

        # Calibration and scale, filled up to a multiple of 3
        own = np.zeros((self._size - _POINTS + 2) // 3 * 3)
        shift_std = [one.shift_std for one in self._sightings for _ in range(2)]
        std = np.array([*shift_std, config.limb_scale_std])
        own_rows = np.zeros((len(own), self._size))
        own_rows[np.arange(len(std)), _POINTS + np.arange(len(std))] = 1 / std
        self._own_rows = len(own)

        matrix = np.concatenate(
            [roots.reshape(-1, self._size), poses.reshape(-1, self._size), own_rows]
        )
        target = np.concatenate([root_target.ravel(), pose_target.ravel(), own])
        share = np.full(len(target) // 3, 1 / self._count)
        share[-len(own) // 3 :] = 1.0
        return matrix, target, share

    def _pose_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows (C, 16, 3, U) and target (C, 16, 3) of the joints relative to the root."""
        relative = (self._joints - self._root[:, None])[:, _OTHERS]
        covariance = self._covariance[:, _OTHERS] + _TINY_M2 * np.eye(3)
        known = np.isfinite(relative).all(-1) & np.isfinite(covariance).all((-1, -2))
        covariance = np.where(known[..., None, None], covariance, np.eye(3))
        whiten = _whiteners(covariance)

        # Of what the camera sees, the depth alone
        direction = self._directions()[:, _OTHERS]
        variance = np.einsum("cja,cjab,cjb->cj", direction, covariance, direction)
        depth = np.zeros_like(whiten)
        depth[..., 0, :] = direction / np.sqrt(np.maximum(variance, _TINY_M2))[..., None]
        seen = self._joint_seen[:, _OTHERS]
        whiten = np.where(seen[..., None, None], depth, whiten) * known[..., None, None]

        rows = np.zeros((*whiten.shape[:3], self._size))
        index = np.arange(len(_OTHERS))[:, None, None]
        rows[:, index, np.arange(3)[None, :, None], _COLUMNS[_OTHERS][:, None, :]] = whiten
        rows[..., _COLUMNS[ROOT]] = -whiten
        target = whiten @ np.nan_to_num(relative)[..., None]
        return rows, target[..., 0]

    def _known_joints(self) -> np.ndarray:
        """(17,) bool: seen by a camera, or known from its own skeleton."""
        known = np.isfinite(self._joints).all(-1) & np.isfinite(self._covariance).all((-1, -2))
        return (known | self._joint_seen).any(0)


def _whiteners(covariance: np.ndarray) -> np.ndarray:
    """W (..., D, D) with W' W the inverse of a covariance."""
    return np.linalg.inv(np.linalg.cholesky(covariance))


def _mean_variance(sighting: Sighting) -> np.ndarray:
    """(17,) mean variance of the rays to the joints, the calibration's included."""
    variance = np.ones(JOINT_COUNT)
    trace = np.trace(sighting.ray_covariance, axis1=1, axis2=2)
    variance[_JOINT_OF] = trace / 2 + sighting.shift_std**2
    return variance


def _limb_prior(sightings: Sequence[Sighting]) -> tuple[np.ndarray, np.ndarray]:
    """Lengths (16,) of the limbs and their standard deviations by covariance intersection; 0 and
    infinity where no track knows them."""
    lengths = np.stack([one.person.bone_lengths_m for one in sightings])
    std = np.stack([one.person.bone_lengths_std_m for one in sightings])
    known = np.isfinite(lengths) & np.isfinite(std)
    information = np.where(known, 1 / np.maximum(std, 1e-3) ** 2, 0.0)

    total = information.sum(0)
    weighted = (information * np.nan_to_num(lengths)).sum(0)
    count = known.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(count > 0, weighted / total, 0.0)
        spread = np.where(count > 0, np.sqrt(count / total), np.inf)
    return mean, spread


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solution of a symmetric system. A joint of which nothing is known stays where it is."""
    diagonal = np.diagonal(matrix)
    filling = np.where(diagonal > 0, 1e-12 * diagonal, 1.0)
    return np.linalg.solve(matrix + np.diag(filling), right)
