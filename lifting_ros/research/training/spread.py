# SPDX-License-Identifier: Apache-2.0
"""Covariances of a trained lifter: a head that learns the deviations of its errors, made honest on
people whom the training did not see."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import chi2
from torch import Tensor
from tqdm import tqdm

from lifting_ros.lifting.residual_mlp import MLPLifter, ResidualMLP
from lifting_ros.research.datasets.mocap import Mocap
from lifting_ros.research.datasets.pictured import disturb
from lifting_ros.research.datasets.virtual_cameras import make_views
from lifting_ros.research.training.fit_prior import balanced_weights
from lifting_ros.research.training.mlp_trainer import PictureSource
from lifting_ros.skeleton import limb_lengths
from lifting_ros.types import JointStatus

CALIBRATION_SUBJECTS = ("cmu06", "cmu35", "cmu39")
"""Held back from the training of learned lifters, and no validation subjects: their errors are
those of strangers."""

_ROUNDS = 3
_RATE = 2e-3
_SHARE = 0.8


def calibration_rows(mocap: Mocap) -> np.ndarray:
    """Boolean (N,): poses of CALIBRATION_SUBJECTS; of a file without them every seventh clip, of
    one clip its last eighth."""
    wanted = [i for i, name in enumerate(mocap.subjects) if name in CALIBRATION_SUBJECTS]
    rows = np.isin(mocap.subject_id, wanted)
    if not rows.any():
        rows = np.isin(mocap.clip_id, np.unique(mocap.clip_id)[3::7])
    return rows if rows.any() else np.arange(len(rows)) >= 7 * len(rows) // 8


def fit_spread(network: ResidualMLP, source: PictureSource, steps: int, normalised: bool) -> None:
    """Teach the head of the covariances the errors of the rest, which stays as it is; in place, the
    same for the same seed.

    It is the only part that learns from joints in 3D where the network itself has seen none.
    """
    network.eval().spread.requires_grad_(True)
    optimiser = torch.optim.Adam(network.spread.parameters(), _RATE)
    for step in tqdm(range(steps), desc="learning covariances", unit="step", delay=2):
        batch = source.make(source.config.steps + step)
        with torch.no_grad():
            features = network.layers(batch.encoded)
            joints = (
                network.pose(features).float().unflatten(-1, (network.joints, 3)) * network.unit
                + network.middle
            )
            missed = network.shape(joints, normalised) - torch.from_numpy(batch.pictures.joints)
        for group in optimiser.param_groups:
            group["lr"] = _RATE * (1 - step / steps)
        loss = surprise(network.factors(features)[:, 1:], missed[:, 1:]).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()


def surprise(factors: Tensor, missed: Tensor) -> Tensor:
    """Negative logarithm of a Gaussian's density (...) but for a constant: lower triangular factors
    (..., 3, 3), errors (..., 3)."""
    a = missed[..., 0] / factors[..., 0, 0]
    b = (missed[..., 1] - factors[..., 1, 0] * a) / factors[..., 1, 1]
    c = (missed[..., 2] - factors[..., 2, 0] * a - factors[..., 2, 1] * b) / factors[..., 2, 2]
    return factors.diagonal(dim1=-2, dim2=-1).log().sum(-1) + 0.5 * (a * a + b * b + c * c)


def fit_inflation(
    lifter: MLPLifter, strangers: Mocap, seed: int, noise_px: float, missing: int, views: int = 3000
) -> None:
    """Scale the covariances of inferred joints, observed joints and the root until errors on
    `strangers` are as large as they say.

    As large: four fifths of the squared Mahalanobis distances are as small as a Gaussian's are. Not
    the mean: the spine is elsewhere in the skeletons of some recordings, which made whatever is
    inferred of anybody four times as wide. Rare poses count more than their number. Strangers are
    few and of few sizes; they are scaled to sizes as the lifter expects them: what the size brings
    is not scaled here. In place.
    """
    rng = np.random.default_rng((seed, 9))
    weight = balanced_weights(strangers, seed)
    chosen = rng.choice(len(weight), views, p=weight / weight.sum())
    poses = strangers.positions_m[chosen]
    size = np.sqrt((limb_lengths(poses) ** 2).sum(-1))
    seen = make_views(poses * (rng.normal(*lifter.size, views) / size)[:, None, None], 1, (seed, 9))
    about = disturb(seen.joints_m[..., :2] / seen.joints_m[..., 2:], rng, 0.33, noise_px, missing)
    keypoints = seen.camera.to_pixels(about.points)
    variance = (about.deviation * seen.camera.focal_px) ** 2
    covariance = variance[..., None, None] * np.eye(2)
    for _ in range(
        _ROUNDS
    ):  # the size's own share of a covariance is not scaled, so that one round is not enough
        poses = lifter.lift(
            keypoints, about.visible.astype(float), covariance, seen.camera, seen.up
        )
        error = poses.joints_m - poses.root_m[:, None] - seen.joints_m + seen.joints_m[:, :1]
        kinds = [poses.status == kind for kind in (JointStatus.INFERRED, JointStatus.OBSERVED)]
        kinds[0][:, 0] = False
        factors = [inflation_of(error[kind], poses.covariance_m2[kind]) for kind in kinds]
        placed = poses.status[:, 0] > 0
        factors.append(
            inflation_of(
                (poses.root_m - seen.joints_m[:, 0])[placed], poses.root_covariance_m2[placed]
            )
        )
        lifter.network.inflation *= torch.tensor(factors, dtype=torch.float32)


def inflation_of(error: np.ndarray, covariance: np.ndarray) -> float:
    """Factor on covariances (n, 3, 3) that makes errors (n, 3) as large as they say; within a tenth
    and ten."""
    if len(error) < 30:
        return 1.0
    square = (
        error * np.linalg.solve(covariance + 1e-12 * np.eye(3), error[..., None])[..., 0]
    ).sum(-1)
    return float(np.clip(np.quantile(square, _SHARE) / chi2.ppf(_SHARE, 3), 0.1, 10.0))
