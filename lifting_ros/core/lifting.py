# SPDX-License-Identifier: Apache-2.0
"""Lifting of keypoints to 3D with the prior (section 5.3): a posterior over pose, rotation and place, not only its best point.

Everything happens in units of the person's size (root of the sum of squared limb lengths), in the optical frame. A pose x (51 numbers in
model axes), a rotation R and a place t are seen as the rays R x_j + t; keypoint noise is Gaussian in the image. Step one scores every
component in every sampled rotation with x and t integrated out (linear, since a ray r sees [I, -r] (R x_j + t) = 0). Step two
refines the best modes under the true perspective by an iterated Kalman update over x, t and a small rotation. Step three turns the
modes into metres with the stature prior.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lifting_ros.core.camera import Camera
from lifting_ros.core.candidates import CandidateTable
from lifting_ros.core.poses import JointStatus, Skeleton3D
from lifting_ros.core.posterior import Posterior, refine, score_candidates, select_modes
from lifting_ros.core.ppca import MixturePPCA
from lifting_ros.core.skeleton import JOINT_COUNT, KEYPOINT_COUNT, KEYPOINT_TO_JOINT

UP = (0.0, -1.0, 0.0)
"""Up in the optical frame of a level camera."""

ORTHOGRAPHIC_DISTANCE = 20.0
"""Distance, in heights of the person in the image, at which a person without a camera is put: near enough to an orthographic view."""

MAX_RAY = 20.0
"""Rays further out than this (87 degrees) are not used: no pinhole camera sees them."""

_CHUNK = 4


@dataclass(frozen=True)
class LifterConfig:
    """Parameters of the lifting."""

    rotations: int = field(default=80, metadata={"description": "sampled rotations about the vertical", "range": (8, 720)})
    modes: int = field(default=8, metadata={"description": "modes that are refined and kept as hypotheses", "range": (1, 16)})
    iterations: int = field(default=4, metadata={"description": "perspective refinement steps", "range": (1, 20)})
    keypoint_noise: float = field(
        default=0.015,
        metadata={"description": "deviation of a keypoint without a covariance, over the person's extent", "range": (1e-4, 0.5)},
    )
    noise_floor_px: float = field(
        default=0.5, metadata={"description": "least standard deviation of a keypoint", "unit": "px", "range": (0.01, 100.0)}
    )
    tilt_std_deg: float = field(default=3.0, metadata={"description": "uncertainty of the vertical", "unit": "deg", "range": (0.0, 45.0)})
    prior_scale: float = field(
        default=1.25, metadata={"description": "factor on the prior's deviations: people it has not seen", "range": (0.1, 10.0)}
    )
    limb_scale: float = field(
        default=5.0, metadata={"description": "factor on the deviations of limb lengths: a hint, not a fetter", "range": (0.1, 100.0)}
    )
    stature_m: float = field(
        default=0.0, metadata={"description": "known body height of the person; 0: the prior's", "unit": "m", "range": (0.0, 2.6)}
    )
    stature_std_m: float = field(
        default=0.0, metadata={"description": "its standard deviation; 0: the prior's", "unit": "m", "range": (0.0, 1.0)}
    )


HEIGHT_OVER_SIZE = 1.55
"""Standing body height over the root of the sum of squared limb lengths."""


@dataclass(frozen=True)
class LiftedPoses:
    """A batch of lifted persons; shapes as in `Skeleton3D` with N in front."""

    joints_m: np.ndarray
    root_m: np.ndarray
    covariance_m2: np.ndarray
    root_covariance_m2: np.ndarray
    status: np.ndarray
    log_likelihood: np.ndarray
    hypotheses_m: np.ndarray
    hypothesis_weight: np.ndarray

    def skeleton(self, index: int, confidence: np.ndarray, metric: bool) -> Skeleton3D:
        """Person `index`; confidence (14,) of its keypoints."""
        joints = np.zeros(JOINT_COUNT)
        joints[list(KEYPOINT_TO_JOINT)] = np.nan_to_num(confidence)
        joints[self.status[index] != JointStatus.OBSERVED] = 0
        return Skeleton3D(
            self.joints_m[index], self.root_m[index], self.covariance_m2[index], self.root_covariance_m2[index], joints,
            self.status[index], float(self.log_likelihood[index]), metric and bool(self.status[index].any()),
            self.hypotheses_m[index], self.hypothesis_weight[index],
        )  # fmt: skip


class Lifter:
    """Keypoints and confidences to joints, covariances and hypotheses."""

    def __init__(self, prior: MixturePPCA, config: LifterConfig = LifterConfig()):
        self.prior, self.config = prior, config
        self._table = CandidateTable(prior, config.rotations)
        self._means = torch.from_numpy(prior.means_.reshape(len(prior.means_), -1))  # (C, 51)
        self._covariances = torch.from_numpy(prior.covariances()) * config.prior_scale**2  # (C, 51, 51)
        self._limbs = torch.from_numpy(prior.limbs_[:, 0].copy())
        self._limb_noise = torch.from_numpy(prior.limbs_[:, 1] * config.limb_scale)
        self.size_m = config.stature_m / HEIGHT_OVER_SIZE or prior.stature_m_
        self.size_std_m = config.stature_std_m / HEIGHT_OVER_SIZE or prior.stature_std_m_ * self.size_m / prior.stature_m_

    def lift(
        self, keypoints_px: np.ndarray, confidence: np.ndarray, covariance_px2: np.ndarray | None = None,
        camera: Camera | None = None, up: Sequence[float] | np.ndarray = UP,
    ) -> LiftedPoses:  # fmt: skip
        """Lift N persons.

        keypoints_px (N, 14, 2), NaN allowed where confidence (N, 14) is 0; covariance_px2 (N, 14, 2, 2) or None; up (3,) or (N, 3) in the
        optical frame, NaN where unknown. With a camera the result is absolute, in its optical frame, in metres; without one the root is
        the origin and the size is the prior's. Persons with fewer than two usable keypoints come back INVALID. Raises ValueError in one
        line for arrays of a wrong shape.
        """
        count = _check(keypoints_px, confidence, covariance_px2)
        up = np.broadcast_to(np.asarray(up, np.float64), (count, 3))
        rays, noise, visible = self._observe(keypoints_px, confidence, covariance_px2, camera)
        poses = _nothing(count, self.config.modes)
        usable = np.flatnonzero(visible.sum(1) >= 2)
        for direction in np.unique(np.nan_to_num(up[usable], nan=0.0).round(4), axis=0):
            rows = usable[(np.nan_to_num(up[usable], nan=0.0).round(4) == direction).all(1)]
            for chunk in np.array_split(rows, max(1, -(-len(rows) // _CHUNK))):
                self._lift_rows(poses, chunk, rays[chunk], noise[chunk], visible[chunk], direction, camera is not None)
        return poses

    def _observe(self, keypoints_px, confidence, covariance_px2, camera):
        """Rays (N, 14, 2), their covariances (N, 14, 2, 2) and which count (N, 14)."""
        pixels = np.asarray(keypoints_px, np.float64)
        weight = np.nan_to_num(np.clip(np.asarray(confidence, np.float64), 0, 1))
        visible = (weight > 0) & np.isfinite(pixels).all(-1) & (np.abs(pixels) < 1e7).all(-1)
        pixels = np.where(visible[..., None], pixels, 0.0)
        extent = _extent(pixels, visible)  # (N,)
        covariance = self._keypoint_covariance(covariance_px2, extent, visible) / np.where(visible, weight, 1)[..., None, None]
        if camera is None:
            centre, focal = _centre(pixels, visible), ORTHOGRAPHIC_DISTANCE * extent
            rays = (pixels - centre[:, None]) / focal[:, None, None]
            inverse = np.eye(2) / focal[:, None, None, None]
        else:
            rays, inverse = camera.rays(pixels), np.linalg.inv(camera.matrix[:2, :2])
        visible = visible & np.isfinite(rays).all(-1) & (np.abs(np.nan_to_num(rays, nan=np.inf)) < MAX_RAY).all(-1)
        noise = inverse @ covariance @ np.swapaxes(inverse, -1, -2)
        return np.where(visible[..., None], rays, 0.0), np.where(visible[..., None, None], noise, np.eye(2)), visible

    def _keypoint_covariance(self, covariance_px2, extent, visible) -> np.ndarray:
        default = np.maximum(self.config.keypoint_noise * extent, self.config.noise_floor_px) ** 2
        default = default[:, None, None, None] * np.eye(2) * np.ones((1, KEYPOINT_COUNT, 1, 1))  # (N, 14, 2, 2)
        if covariance_px2 is None:
            return default
        given = np.asarray(covariance_px2, np.float64)
        usable = np.isfinite(given).all((-1, -2)) & visible
        usable &= (np.linalg.eigvalsh(np.where(usable[..., None, None], given, np.eye(2))) >= 0).all(-1)
        floor = self.config.noise_floor_px**2 * np.eye(2)
        return np.where(usable[..., None, None], given + floor, default)

    def _lift_rows(self, poses: LiftedPoses, rows, rays, noise, visible, up, metric: bool) -> None:
        r, n, v = torch.from_numpy(rays), torch.from_numpy(noise), torch.from_numpy(visible)
        candidates = self._table(up if np.any(up) else np.full(3, np.nan))
        scores, depth = score_candidates(candidates, r, n, v, self.config.prior_scale)
        chosen = select_modes(candidates, scores, self.config.modes)  # (n, M)
        known = bool(np.any(up))
        tilt = np.radians(self.config.tilt_std_deg if known else 20.0)
        component = candidates.component[chosen]
        posterior = refine(
            self._means[component], self._covariances[component], candidates.rotation[chosen],
            candidates.log_prior[chosen], depth.gather(1, chosen), r, n, v, up_spread=tilt, iterations=self.config.iterations,
            up=torch.from_numpy(np.asarray(up if known else UP)), limbs=self._limbs, limb_noise=self._limb_noise,
        )  # fmt: skip
        self._write(poses, rows, posterior, visible, metric)

    def _write(self, poses: LiftedPoses, rows, posterior: Posterior, visible, metric: bool) -> None:
        """Modes to metres: the best mode is the answer, the others count in its covariance and stay as hypotheses."""
        weight = torch.softmax(posterior.log_evidence, 1)  # (n, M)
        order = weight.argsort(1, descending=True)
        weight = weight.gather(1, order)
        joints = _pick(posterior.joints, order)  # (n, M, 17, 3)
        relative = joints - joints[:, :, :1]
        s, var = self.size_m, self.size_std_m**2
        own = torch.einsum("nm,nmjab->njab", weight, _pick(posterior.relative_covariance, order))
        covariance = (s * s + var) * (own + _second_moment(weight, relative)) + var * _outer(relative[:, 0])
        root = joints[:, :, :1]
        root_own = torch.einsum("nm,nmjab->njab", weight, _pick(posterior.root_covariance, order)[:, :, None])
        root_covariance = (s * s + var) * (root_own + _second_moment(weight, root)) + var * _outer(root[:, 0])
        origin = 0.0 if metric else joints[:, :1, :1]
        poses.joints_m[rows] = (s * (joints[:, :1] - origin))[:, 0].numpy()
        poses.root_m[rows] = poses.joints_m[rows, 0]
        poses.covariance_m2[rows] = covariance.numpy()
        poses.root_covariance_m2[rows] = root_covariance[:, 0].numpy() if metric else np.nan
        poses.hypotheses_m[rows] = (s * (joints - (0.0 if metric else joints[:, :, :1]))).numpy()
        poses.hypothesis_weight[rows] = weight.numpy()
        poses.log_likelihood[rows] = torch.logsumexp(posterior.log_evidence, 1).numpy()
        status = np.full((len(rows), JOINT_COUNT), JointStatus.INFERRED, np.uint8)
        status[:, list(KEYPOINT_TO_JOINT)] = np.where(visible, JointStatus.OBSERVED, JointStatus.INFERRED)
        poses.status[rows] = status


def _check(keypoints_px, confidence, covariance_px2) -> int:
    shape = np.shape(keypoints_px)
    if len(shape) != 3 or shape[1:] != (KEYPOINT_COUNT, 2):
        raise ValueError(f"keypoints_px: expected (N, {KEYPOINT_COUNT}, 2), got {shape}")
    if np.shape(confidence) != shape[:2]:
        raise ValueError(f"confidence: expected {shape[:2]}, got {np.shape(confidence)}")
    if covariance_px2 is not None and np.shape(covariance_px2) != (*shape, 2):
        raise ValueError(f"keypoint_covariance_px2: expected {(*shape, 2)}, got {np.shape(covariance_px2)}")
    return shape[0]


def _nothing(count: int, modes: int) -> LiftedPoses:
    nan = lambda *shape: np.full((count, *shape), np.nan)  # noqa: E731
    j = JOINT_COUNT
    return LiftedPoses(nan(j, 3), nan(3), nan(j, 3, 3), nan(3, 3), np.zeros((count, j), np.uint8), nan(), nan(modes, j, 3), nan(modes))


def _extent(pixels: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Longer side of each person's box (N,), at least one pixel."""
    low = np.where(visible[..., None], pixels, np.inf).min(1)
    high = np.where(visible[..., None], pixels, -np.inf).max(1)
    return np.maximum(np.nan_to_num((high - low).max(-1), neginf=1.0, posinf=1.0), 1.0)


def _centre(pixels: np.ndarray, visible: np.ndarray) -> np.ndarray:
    return (pixels * visible[..., None]).sum(1) / np.maximum(visible.sum(1), 1)[:, None]


def _pick(values: Tensor, order: Tensor) -> Tensor:
    return torch.stack([v[o] for v, o in zip(values, order)])


def _outer(x: Tensor) -> Tensor:
    return x[..., :, None] * x[..., None, :]


def _second_moment(weight: Tensor, values: Tensor) -> Tensor:
    """Second moment (n, J, 3, 3) of the modes (n, M, J, 3) about the first."""
    return torch.einsum("nm,nmjab->njab", weight, _outer(values - values[:, :1]))
