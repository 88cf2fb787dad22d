# SPDX-License-Identifier: Apache-2.0
"""Covariances of a trained lifter: a head is trained on the errors of the lifter, and calibrated on
people who are not in the training set."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import chi2
from torch import Tensor

from lifting_ros.io.progress import Progress
from lifting_ros.lifting.residual_mlp import MLPLifter, ResidualMLP
from lifting_ros.research.datasets.mocap import Mocap
from lifting_ros.research.datasets.pictured import Disturbance, disturb
from lifting_ros.research.datasets.virtual_cameras import make_views
from lifting_ros.research.training.fit_prior import training_poses
from lifting_ros.research.training.mlp_trainer import PictureSource
from lifting_ros.skeleton import limb_lengths
from lifting_ros.types import JointStatus

CALIBRATION_SUBJECTS = ("cmu06", "cmu35", "cmu39")
"""Excluded from the training of learned lifters, to calibrate covariances; not used for
validation."""

_ROUNDS = 3
"""Rounds of the calibration."""
_RATE = 2e-3
"""Initial learning rate of the head."""
_SHARE = 0.8
"""Share of the errors that the covariances shall contain as a Gaussian does."""


def calibration_rows(mocap: Mocap) -> np.ndarray:
    """Boolean (N,): poses of CALIBRATION_SUBJECTS; of every seventh clip if the file has none of
    them; the last eighth if it has too few clips."""
    wanted = [i for i, name in enumerate(mocap.subjects) if name in CALIBRATION_SUBJECTS]
    rows = np.isin(mocap.subject_id, wanted)
    if rows.any():
        return rows

    every_seventh = np.unique(mocap.clip_id)[3::7]
    rows = np.isin(mocap.clip_id, every_seventh)
    if rows.any():
        return rows

    first = 7 * len(rows) // 8
    return np.arange(len(rows)) >= first


def fit_spread(
    network: ResidualMLP,
    source: PictureSource,
    steps: int,
    normalised: bool,
) -> None:
    """Train the covariance head on the errors of the network, whose other weights are frozen.

    In place; deterministic. In relative-depth training only this part is trained on 3D joints.
    """
    network.eval().spread.requires_grad_(True)
    optimiser = torch.optim.Adam(network.spread.parameters(), _RATE)

    for step in Progress(range(steps), desc="learning covariances", unit="step", delay=2):
        batch = source.make(source.config.steps + step)
        with torch.no_grad():
            features = network.layers(batch.encoded)
            outputs = network.pose(features).float().unflatten(-1, (network.joints, 3))
            joints = outputs * network.unit + network.middle
            truth = torch.from_numpy(batch.pictures.joints)
            missed = network.shape(joints, normalised) - truth

        for group in optimiser.param_groups:
            group["lr"] = _RATE * (1 - step / steps)

        factors = network.factors(features)
        loss = surprise(factors[:, 1:], missed[:, 1:]).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()


def surprise(factors: Tensor, missed: Tensor) -> Tensor:
    """Negative log density (...) of a Gaussian, without its constant.

    factors (..., 3, 3): lower triangular Cholesky factors of the covariances; missed (..., 3):
    errors.
    """
    x, y, z = missed.unbind(-1)
    first, second, third = factors.unbind(-2)  # rows of the Cholesky factor

    # Whitened errors, by forward substitution
    a = x / first[..., 0]
    b = (y - second[..., 0] * a) / second[..., 1]
    c = (z - third[..., 0] * a - third[..., 1] * b) / third[..., 2]
    square = a * a + b * b + c * c

    diagonal = factors.diagonal(dim1=-2, dim2=-1)
    log_determinant = diagonal.log().sum(-1)
    return log_determinant + 0.5 * square


def fit_inflation(
    lifter: MLPLifter,
    strangers: Mocap,
    seed: int,
    how: Disturbance,
    views: int = 3000,
    posed: float = 0.0,
) -> None:
    """Scale the covariances of inferred joints, observed joints and the root, in place, to match
    the errors on `strangers`: people who are not in the training set.

    Scaled so that the 80th percentile of the squared Mahalanobis distance matches the chi-square
    quantile. The mean is not robust: some recordings place the spine elsewhere, and with the mean
    the covariances of all inferred joints were four times too wide.

    Rare poses get more weight. The strangers are few and of few sizes, so they are rescaled to
    sizes drawn from the lifter's stature prior. The part of a covariance that comes from the
    unknown size is not scaled. posed: share of generated poses, which borrow from the strangers.
    """
    # Poses of random sizes
    rng = np.random.default_rng((seed, 9))
    known, weight, _ = training_poses(strangers, posed, seed)
    chosen = rng.choice(len(weight), views, p=weight / weight.sum())
    poses = known.positions_m[chosen]
    size = np.sqrt((limb_lengths(poses) ** 2).sum(-1))
    rescale = rng.normal(*lifter.size, views) / size
    seen = make_views(poses * rescale[:, None, None], 1, (seed, 9))
    truth = seen.joints_m

    # Their keypoints
    rays = truth[..., :2] / truth[..., 2:]
    about = disturb(rays, rng, how)
    keypoints = seen.camera.to_pixels(about.points)
    confidence = about.visible.astype(float)
    variance = (about.deviation * seen.camera.focal_px) ** 2
    covariance = variance[..., None, None] * np.eye(2)

    # Several rounds: the part of a covariance that comes from the size is not scaled
    for _ in range(_ROUNDS):
        lifted = lifter.lift(keypoints, confidence, covariance, seen.camera, seen.up)
        joints = lifted.joints_m - lifted.root_m[:, None]
        error = joints - truth + truth[:, :1]

        # Joints
        inferred = lifted.status == JointStatus.INFERRED
        observed = lifted.status == JointStatus.OBSERVED
        inferred[:, 0] = False
        factors = []
        for rows in (inferred, observed):
            factors.append(inflation_of(error[rows], lifted.covariance_m2[rows]))

        # Root
        placed = lifted.status[:, 0] > 0
        root_error = lifted.root_m - truth[:, 0]
        root_factor = inflation_of(root_error[placed], lifted.root_covariance_m2[placed])
        factors.append(root_factor)

        lifter.network.inflation *= torch.tensor(factors, dtype=torch.float32)


def inflation_of(error: np.ndarray, covariance: np.ndarray) -> float:
    """Factor in [0.1, 10] by which covariances (n, 3, 3) match errors (n, 3); 1 for fewer than 30
    errors."""
    if len(error) < 30:
        return 1.0

    regular = covariance + 1e-12 * np.eye(3)
    solved = np.linalg.solve(regular, error[..., None])[..., 0]
    square = (error * solved).sum(-1)

    factor = np.quantile(square, _SHARE) / chi2.ppf(_SHARE, 3)
    return float(np.clip(factor, 0.1, 10.0))
