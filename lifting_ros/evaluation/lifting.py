# SPDX-License-Identifier: Apache-2.0
"""Measures of the lifting under the virtual-camera protocol: errors over 17 joints, and whether the covariances tell the truth."""
from __future__ import annotations

import time

import numpy as np
from scipy.stats import chi2
from tqdm import tqdm

from lifting_ros.core.lifting import Lifter
from lifting_ros.core.poses import JointStatus
from lifting_ros.evaluation.metrics import mpjpe, n_mpjpe, pa_mpjpe
from lifting_ros.evaluation.virtual_cameras import Views, disturb

PROTOCOLS = {"exact": (0.0, 0), "5 px noise": (5.0, 0), "3 missing": (0.0, 3)}
"""Name: noise of the keypoints in px, keypoints taken away."""

MODEL_NOISE_PX = 2.0
"""Keypoint deviation told to the lifter where the keypoints are exact."""


def evaluate_lifting(lifter: Lifter, views: Views, noise_px: float, missing: int) -> dict[str, float]:
    """Errors in mm, coverage of the 50 and 90 % ellipsoids, NEES a degree of freedom, and poses a second."""
    keypoints, confidence = disturb(views, noise_px, missing)
    covariance = np.broadcast_to(max(noise_px, MODEL_NOISE_PX) ** 2 * np.eye(2), (*keypoints.shape, 2))
    start = time.perf_counter()
    parts = [
        lifter.lift(keypoints[r], confidence[r], covariance[r], views.camera, views.up[r])
        for r in tqdm(np.array_split(np.arange(len(keypoints)), max(1, len(keypoints) // 64)), desc="lifting", delay=2, leave=False)
    ]
    seconds = time.perf_counter() - start
    joints, root, cov, root_cov, status = (
        np.concatenate([getattr(p, n) for p in parts]) for n in ("joints_m", "root_m", "covariance_m2", "root_covariance_m2", "status")
    )
    relative, truth = joints - root[:, None], views.joints_m - views.joints_m[:, :1]
    errors = {n: 1e3 * float(f(relative, truth).mean()) for n, f in (("MPJPE", mpjpe), ("N-MPJPE", n_mpjpe), ("PA-MPJPE", pa_mpjpe))}
    distance = mahalanobis((relative - truth)[:, 1:], cov[:, 1:])
    root_distance = mahalanobis(root - views.joints_m[:, 0], root_cov)
    errors |= _coverage("observed", distance[status[:, 1:] == JointStatus.OBSERVED])
    errors |= _coverage("inferred", distance[status[:, 1:] == JointStatus.INFERRED]) | _coverage("root", root_distance)
    return errors | {"NEES": float(distance.mean() / 3), "poses/s": len(keypoints) / seconds}


def mahalanobis(error: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Squared Mahalanobis distances (...) of errors (..., 3) under covariances (..., 3, 3)."""
    solved = np.linalg.solve(covariance + 1e-12 * np.eye(3), error[..., None])[..., 0]
    return (error * solved).sum(-1)


def _coverage(name: str, distance: np.ndarray) -> dict[str, float]:
    return {f"{name} {level} %": 100 * float((distance <= chi2.ppf(level / 100, 3)).mean()) for level in (50, 90)}
