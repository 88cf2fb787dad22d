# SPDX-License-Identifier: Apache-2.0
"""The residuals of a person's joints in several cameras, and their derivatives; `skeleton_fit` has
the model.

C cameras, U unknowns: 51 coordinates of the joints, 2 C shifts, and the scale of the limbs. The R
residuals are, in this order: two for each keypoint of each camera; linear ones, of which one to
three belong together; one for each limb.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lifting_ros.geometry.rotations import outer
from lifting_ros.multiview.fusion_config import FusionConfig
from lifting_ros.multiview.sighting import NEAR_M, Sighting, projection
from lifting_ros.skeleton import (
    JOINT_COUNT,
    JOINT_NAMES,
    KEYPOINT_COUNT,
    KEYPOINT_TO_JOINT,
    LIMBS,
    ROOT,
)

TINY_M2 = 1e-8
"""Added to the variances of prior skeletons, of which that of the root relative to itself is 0."""

POINTS = 3 * JOINT_COUNT
"""Number of coordinates of the joints."""

_LIMB_COUNT = len(LIMBS)
_JOINT_OF = np.array(KEYPOINT_TO_JOINT)
_OTHERS = np.arange(1, JOINT_COUNT)
_HIPS = [JOINT_NAMES.index(name) for name in ("right_hip", "left_hip")]
_PARENTS, _CHILDREN = np.array(LIMBS).T
_COLUMNS = np.arange(POINTS).reshape(JOINT_COUNT, 3)
_EYE = np.eye(3)


class Groups(NamedTuple):
    """G groups of residuals; those of a group are lost or kept together."""

    of_row: np.ndarray
    """(R,) group of each residual."""
    size: np.ndarray
    """(G,) number of residuals."""
    share: np.ndarray
    """(G,) share of the information that counts."""
    robust: np.ndarray
    """(G,) bool: whether it can be an outlier."""

    def squares(self, residual: np.ndarray) -> np.ndarray:
        """Squared distance (G,) of each group."""
        return np.bincount(
            self.of_row,
            weights=residual**2,
            minlength=len(self.size),
        )


class Poses(NamedTuple):
    """The skeletons that C cameras give, each alone."""

    joints: np.ndarray
    """(C, 17, 3) m."""
    root: np.ndarray
    """(C, 3) m."""
    covariance: np.ndarray
    """(C, 17, 3, 3) m^2, relative to the root."""
    root_covariance: np.ndarray
    """(C, 3, 3) m^2."""

    @classmethod
    def of(cls, sightings: Sequence[Sighting]) -> Poses:
        poses = [one.person.skeleton_3d for one in sightings]
        return cls(
            joints=np.stack([pose.joints_m for pose in poses]),
            root=np.stack([pose.root_m for pose in poses]),
            covariance=np.stack([pose.covariance_m2 for pose in poses]),
            root_covariance=np.stack([pose.root_covariance_m2 for pose in poses]),
        )

    @property
    def known(self) -> np.ndarray:
        """(C, 17) bool: joints with a place and a covariance."""
        placed = np.isfinite(self.joints).all(-1)
        spread = np.isfinite(self.covariance).all((-1, -2))
        return placed & spread


class Residuals:
    """The residuals of one person."""

    def __init__(
        self,
        sightings: Sequence[Sighting],
        config: FusionConfig,
    ):
        self.count = len(sightings)
        self.size = POINTS + 2 * self.count + 1
        self.seen = np.stack([one.seen for one in sightings])

        self._poses = Poses.of(sightings)

        # Keypoints
        self._rotation = np.stack([one.rotation for one in sightings])
        self._origin = np.stack([one.origin for one in sightings])
        self._rays = np.stack([one.rays for one in sightings])
        self._variance = np.stack([one.mean_variance for one in sightings])
        noise = np.stack([one.ray_covariance for one in sightings])
        self._shift_std = np.array([one.shift_std for one in sightings])
        self._scale_std = config.limb_scale_std

        used = self.seen[..., None, None]
        self._whiten = whiteners(noise) * used
        self._ray_rows = self._make_ray_rows()

        # What does not depend on the state
        self._joint_seen = np.zeros((self.count, JOINT_COUNT), bool)
        self._joint_seen[:, _JOINT_OF] = self.seen
        self._direction = np.zeros((self.count, JOINT_COUNT, 3))
        for camera, one in enumerate(sightings):
            self._direction[camera, _JOINT_OF] = one.directions

        matrix, target = self._make_linear_rows()
        used = np.any(matrix, axis=1)
        self._linear = matrix[used]
        self._target = target[used]
        self.groups = self._make_groups(np.flatnonzero(used) // 3)
        self._lengths, self._length_std = limb_prior(sightings)

    @property
    def known_joints(self) -> np.ndarray:
        """(17,) bool: seen by a camera, or known from its own skeleton."""
        known = self._poses.known | self._joint_seen

        return np.any(known, axis=0)

    @property
    def ray_count(self) -> int:
        """Number of residuals of keypoints, which come first."""
        return 2 * self.seen.size

    def start(self) -> np.ndarray:
        """Joints (17, 3) nearest to the rays and to the cameras' own skeletons."""
        # Information across the rays
        poses = self._poses
        apart = poses.joints - self._origin[:, None]
        distance = np.linalg.norm(apart, axis=-1)
        distance = np.maximum(distance, NEAR_M)
        variance = np.ones((self.count, JOINT_COUNT))
        variance[:, _JOINT_OF] = self._variance
        sharpness = self._joint_seen / (variance * distance**2)
        along = outer(self._direction)
        of_rays = sharpness[..., None, None] * (_EYE - along)

        # Information of the skeletons
        known = poses.known[..., None, None]
        root_covariance = poses.root_covariance[:, None]
        absolute = poses.covariance + root_covariance
        filled = np.where(known, absolute, _EYE)
        inverse = np.linalg.inv(filled + TINY_M2 * _EYE)
        of_poses = np.where(known, inverse / self.count, 0.0)

        joints = np.nan_to_num(poses.joints)
        from_rays = of_rays @ self._origin[:, None, :, None]
        from_poses = of_poses @ joints[..., None]
        right = (from_rays + from_poses).sum(0)
        information = (of_rays + of_poses).sum(0)
        points = np.linalg.solve(information + 1e-9 * _EYE, right)
        return points[..., 0]

    def state_of(self, joints_m: np.ndarray) -> np.ndarray:
        """State (U,) with joints (17, 3), and neither shifts nor scale."""
        state = np.zeros(self.size)
        known = np.nan_to_num(joints_m)
        state[:POINTS] = known.ravel()
        return state

    def at(self, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residuals (R,) at a state and their derivatives (R, U)."""
        joints = state[:POINTS].reshape(JOINT_COUNT, 3)
        shifts = state[POINTS:-1].reshape(self.count, 2)

        rays = self._at_rays(joints, shifts)
        linear = self._linear @ state
        limbs, limb_rows = self._at_limbs(joints, state[-1])

        ray_rows = self._ray_rows.reshape(-1, self.size)
        residual = np.concatenate([rays, linear - self._target, limbs])
        jacobian = np.concatenate([ray_rows, self._linear, limb_rows])

        return residual, jacobian

    def _make_groups(self, triples: np.ndarray) -> Groups:
        """triples: (L,) which three of all linear rows each of those that are left belongs to."""
        own = self._own_rows // 3
        inner, linear = np.unique(triples, return_inverse=True)
        rays = np.repeat(np.arange(self.seen.size), 2)
        limbs = np.arange(_LIMB_COUNT)

        # One after the other
        first_linear = self.seen.size
        first_limb = first_linear + len(inner)
        of_row = np.concatenate([rays, linear + first_linear, limbs + first_limb])
        count = first_limb + _LIMB_COUNT

        # What the cameras have in common is shared; calibration and scale are no measurements
        share = np.ones(count)
        share[first_linear : first_limb - own] = 1 / self.count
        robust = np.ones(count, bool)
        robust[first_limb - own : first_limb] = False
        return Groups(of_row, np.bincount(of_row, minlength=count), share, robust)

    def _at_rays(
        self,
        joints: np.ndarray,
        shifts: np.ndarray,
    ) -> np.ndarray:
        """Residuals of the keypoints; their derivatives go into `_ray_rows`."""
        apart = joints[_JOINT_OF] - self._origin[:, None]
        in_camera = apart @ self._rotation.swapaxes(-1, -2)  # C, 14, 3
        projected, derivative = projection(in_camera)
        by_joint = derivative @ self._rotation[:, None]
        self._ray_rows[self._ray_index] = self._whiten @ by_joint

        off = projected + shifts[:, None] - self._rays
        whitened = self._whiten @ off[..., None]
        return whitened.ravel()

    def _at_limbs(
        self,
        joints: np.ndarray,
        scale: float,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Residuals (16,) of the limbs' lengths and their derivatives (16, U)."""
        along = joints[_CHILDREN] - joints[_PARENTS]
        length = np.linalg.norm(along, axis=1)
        expected = self._lengths * (1 + scale)
        residual = (length - expected) / self._length_std

        divisor = np.maximum(length, 1e-6) * self._length_std
        direction = along / divisor[:, None]

        limb = np.arange(_LIMB_COUNT)[:, None]
        rows = np.zeros((_LIMB_COUNT, self.size))
        rows[limb, _COLUMNS[_CHILDREN]] = direction
        rows[limb, _COLUMNS[_PARENTS]] = -direction
        rows[:, -1] = -self._lengths / self._length_std

        return residual, rows

    def _make_ray_rows(self) -> np.ndarray:
        """Derivatives (C, 14, 2, U) of the keypoints' residuals, those by the shifts filled in."""
        self._ray_index = np.ix_(
            np.arange(self.count),
            np.arange(KEYPOINT_COUNT),
            np.arange(2),
            np.arange(3),
        )
        columns = _COLUMNS[_JOINT_OF]
        self._ray_index = (*self._ray_index[:3], columns[None, :, None])

        rows = np.zeros((self.count, KEYPOINT_COUNT, 2, self.size))
        for camera in range(self.count):
            first = POINTS + 2 * camera
            rows[camera, :, :, first : first + 2] = self._whiten[camera]
        return rows

    def _make_linear_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Matrix (L, U) and target (L,) of the residuals that are linear: roots, hips, poses, and
        at the end calibration and scale."""
        # Calibration and scale, filled up to a multiple of 3
        std = np.append(np.repeat(self._shift_std, 2), self._scale_std)
        self._own_rows = -(-len(std) // 3) * 3
        index = np.arange(len(std))
        own = np.zeros((self._own_rows, self.size))
        own[index, POINTS + index] = 1 / std

        roots, root_target = self._make_root_rows()
        hips, hip_target = self._make_hip_rows()
        poses, pose_target = self._make_pose_rows()
        parts = (
            roots.reshape(-1, self.size),
            hips.reshape(-1, self.size),
            poses.reshape(-1, self.size),
            own,
        )
        targets = (
            root_target.ravel(),
            hip_target.ravel(),
            pose_target.ravel(),
            np.zeros(self._own_rows),
        )
        return np.concatenate(parts), np.concatenate(targets)

    def _make_root_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows (C, 3, U) and target (C, 3) of the roots: of a camera that sees both hips, which
        tell where across the ray the root is, the depth alone."""
        root = self._poses.root
        covariance = self._poses.root_covariance + TINY_M2 * _EYE
        apart = root - self._origin
        distance = np.linalg.norm(apart, axis=1, keepdims=True)
        direction = apart / np.maximum(distance, NEAR_M)

        seen = np.all(self._joint_seen[:, _HIPS], axis=1)
        depth = _depth_whiteners(direction, covariance)
        whiten = np.where(seen[:, None, None], depth, whiteners(covariance))

        rows = np.zeros((self.count, 3, self.size))
        rows[..., _COLUMNS[ROOT]] = whiten
        target = whiten @ root[..., None]
        return rows, target[..., 0]

    def _make_hip_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows (C, 3, U) and target (C, 3) of the root relative to the middle of the hips. The
        errors of both hips are taken to be independent."""
        poses = self._poses
        both_known = np.all(poses.known[:, _HIPS], axis=1)
        known = both_known[:, None, None]
        covariance = poses.covariance[:, _HIPS].sum(1) / 4
        covariance = np.where(known, covariance + TINY_M2 * _EYE, _EYE)
        whiten = whiteners(covariance) * known

        rows = np.zeros((self.count, 3, self.size))
        rows[..., _COLUMNS[ROOT]] = whiten
        for hip in _HIPS:
            rows[..., _COLUMNS[hip]] = -whiten / 2

        middle = poses.joints[:, _HIPS].mean(1)
        offset = np.nan_to_num(poses.root - middle)
        target = whiten @ offset[..., None]
        return rows, target[..., 0]

    def _make_pose_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows (C, 16, 3, U) and target (C, 16, 3) of the joints relative to the root."""
        poses = self._poses
        known = poses.known[:, _OTHERS, None, None]

        relative = poses.joints - poses.root[:, None]
        covariance = poses.covariance + TINY_M2 * _EYE
        covariance = np.where(known, covariance[:, _OTHERS], _EYE)

        # Of what the camera sees, the depth alone
        depth = _depth_whiteners(self._direction[:, _OTHERS], covariance)

        seen = self._joint_seen[:, _OTHERS, None, None]
        whiten = np.where(seen, depth, whiteners(covariance)) * known

        joint = np.arange(len(_OTHERS))[:, None, None]
        axis = np.arange(3)[:, None]
        columns = _COLUMNS[_OTHERS][:, None]
        rows = np.zeros((*whiten.shape[:3], self.size))
        rows[:, joint, axis, columns] = whiten
        rows[..., _COLUMNS[ROOT]] = -whiten

        filled = np.nan_to_num(relative[:, _OTHERS])
        target = whiten @ filled[..., None]
        return rows, target[..., 0]


def whiteners(covariance: np.ndarray) -> np.ndarray:
    """W (..., D, D) with W' W the inverse of a covariance."""
    factor = np.linalg.cholesky(covariance)
    return np.linalg.inv(factor)


def _depth_whiteners(direction: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """(..., 3, 3) that divide what lies along directions (..., 3) by its standard deviation, and
    leave the rest out."""
    row = direction[..., None, :]
    variance = row @ covariance @ row.swapaxes(-1, -2)
    std = np.sqrt(np.maximum(variance, TINY_M2))

    whiten = np.zeros_like(covariance)
    whiten[..., :1, :] = row / std
    return whiten


def limb_prior(sightings: Sequence[Sighting]) -> tuple[np.ndarray, np.ndarray]:
    """Lengths (16,) of the limbs and their standard deviations by covariance intersection; 0 and
    infinity where no track knows them."""
    persons = [one.person for one in sightings]
    lengths = np.stack([person.bone_lengths_m for person in persons])
    std = np.stack([person.bone_lengths_std_m for person in persons])
    known = np.isfinite(lengths) & np.isfinite(std)

    variance = np.maximum(std, 1e-3) ** 2
    information = np.where(known, 1 / variance, 0.0)
    weighted = information * np.nan_to_num(lengths)
    count = known.sum(0)
    is_known = count > 0
    divisor = np.where(is_known, information.sum(0), 1.0)

    mean = weighted.sum(0) / divisor
    spread = np.where(is_known, count / divisor, np.inf)
    return mean, np.sqrt(spread)
