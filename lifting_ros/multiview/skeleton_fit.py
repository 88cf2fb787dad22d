# SPDX-License-Identifier: Apache-2.0
"""One skeleton from a person's keypoints in several cameras: a robust least-squares problem.

Unknown are the 17 joints X_j in the common frame, a shift b_c of all rays of camera c, and the
scale s of the limb lengths. Each residual is divided by its standard deviation:

    keypoint k of joint j in camera c:   pi_c(X_j) + b_c - u_ck
    calibration of camera c:             b_c ~ N(0, (calibration_noise_px / f)^2)
    root of the skeleton of c alone:     X_0 - root_c
    its place between the hips:          X_0 - (X_1 + X_4) / 2 - offset_c
    pose of the skeleton of c alone:     X_j - X_0 - pose_cj
    limb from joint a to joint b:        |X_b - X_a| - L (1 + s),  s ~ N(0, limb_scale_std^2)

Nothing counts twice. A camera's own skeleton was made of the same keypoints, so of a joint that
camera c sees, its pose only says how deep the joint lies along the ray, which the keypoint leaves
open; of a joint that c does not see, it says everything. Of the root, which has no keypoint, it
says how deep it is and where it lies between the hips. The skeletons of C cameras, and the limb
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
from lifting_ros.multiview.residuals import POINTS, Groups, Residuals
from lifting_ros.multiview.sighting import Sighting
from lifting_ros.skeleton import JOINT_COUNT

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

_COLUMNS = np.arange(POINTS).reshape(JOINT_COUNT, 3)


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
    sightings: Sequence[Sighting],
    config: FusionConfig,
    near_m: np.ndarray | None = None,
) -> Fit:
    """The skeleton of a person whom the cameras of `sightings` see, one sighting each.

    near_m: (17, 3) joints to start from; None: the points nearest to the rays.
    """
    residuals = Residuals(sightings, config)
    stretches = STRETCHES if near_m is None else STRETCHES[-1:]
    first = residuals.start() if near_m is None else near_m
    state = residuals.state_of(first)

    for step in range(_STEPS):
        stretch = stretches[step] if step < len(stretches) else 1.0
        change = _change(residuals, state, stretch)
        state = state + change

        moved = np.abs(change[:POINTS]).max()
        if stretch == 1.0 and moved < _SMALL_STEP_M:
            break

    return _fit_at(residuals, state, config.inflation)


def _change(
    residuals: Residuals,
    state: np.ndarray,
    stretch: float,
) -> np.ndarray:
    """Gauss-Newton step (U,) with weights for standard deviations `stretch` times as large."""
    residual, jacobian = residuals.at(state)
    weight = _weights(residuals.groups, residual, stretch)
    weighted = (jacobian * weight[:, None]).T
    gradient = weighted @ residual
    change = -_solve(weighted @ jacobian, gradient)

    longest = np.abs(change[:POINTS]).max()
    if longest > _LARGE_STEP_M:
        change = change * (_LARGE_STEP_M / longest)
    return change


def _fit_at(
    residuals: Residuals,
    state: np.ndarray,
    inflation: float,
) -> Fit:
    """Joints, covariance and weights at a state."""
    residual, jacobian = residuals.at(state)
    weight = _weights(residuals.groups, residual, 1.0)

    weighted = (jacobian * weight[:, None]).T
    inverse = _solve(weighted @ jacobian, np.eye(residuals.size))

    # Variance factor of the keypoints
    rays = slice(0, residuals.ray_count)
    weight = weight[rays]
    of_rays = jacobian[rays]
    found = weight @ residual[rays] ** 2
    leverage = (of_rays @ inverse * of_rays).sum(1)
    freedom = 2 * residuals.seen.sum() - weight @ leverage
    expected = EXPECTED_SHARE * max(freedom, 0.0)
    factor = (FACTOR_FREEDOM + found) / (FACTOR_FREEDOM + expected)
    covariance = inflation * factor * inverse[:POINTS, :POINTS]

    # Joints of which nothing is known
    joints = state[:POINTS].reshape(JOINT_COUNT, 3).copy()
    unknown = ~residuals.known_joints
    rows = _COLUMNS[unknown].ravel()
    joints[unknown] = np.nan
    covariance[rows] = np.nan
    covariance[:, rows] = np.nan

    of_keypoints = weight[::2].reshape(residuals.seen.shape)
    return Fit(
        joints_m=joints,
        covariance_m2=covariance,
        weights=of_keypoints * residuals.seen,
        cost=_cost(residuals.groups, residual),
    )


def _weights(
    groups: Groups,
    residual: np.ndarray,
    stretch: float,
) -> np.ndarray:
    """Weights (R,) of the residuals, for standard deviations `stretch` times as large."""
    square = groups.squares(residual) / stretch**2
    freedom = FREEDOM + groups.size
    ratio = freedom / (FREEDOM + square)

    weight = np.where(groups.robust, np.minimum(ratio, 1.0), 1.0)
    shared = groups.share * weight
    return shared[groups.of_row]


def _cost(groups: Groups, residual: np.ndarray) -> float:
    """Robust cost of the residuals."""
    square = groups.squares(residual)
    inside = np.minimum(square, groups.size)
    beyond = np.maximum(square, groups.size)

    freedom = FREEDOM + groups.size
    tail = freedom * np.log((FREEDOM + beyond) / freedom)
    total = groups.share @ (inside + tail)
    return float(total) / 2


def _solve(
    matrix: np.ndarray,
    right: np.ndarray,
) -> np.ndarray:
    """Solution of a symmetric system. A joint of which nothing is known stays where it is."""
    diagonal = np.diagonal(matrix)
    filling = np.where(diagonal > 0, 1e-12 * diagonal, 1.0)
    return np.linalg.solve(matrix + np.diag(filling), right)
