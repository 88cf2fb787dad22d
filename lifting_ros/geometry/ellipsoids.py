# SPDX-License-Identifier: Apache-2.0
"""Covariances as ellipses and ellipsoids, for everything that draws them."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation


def ellipse_of(covariance: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Both diameters and the angle (degrees) of a (2, 2) covariance's ellipse; None if it is not
    finite."""
    if not np.isfinite(covariance).all():
        return None

    variances, axes = np.linalg.eigh(covariance)
    diameters = 2 * np.sqrt(np.maximum(variances, 0))
    angle = np.degrees(np.arctan2(axes[1, 0], axes[0, 0]))
    return diameters, float(angle)


def ellipsoid_of(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Standard deviations (3,) along the principal axes of a covariance (3, 3), and the axes'
    quaternion x, y, z, w (4,).

    None for a covariance that is not finite or is zero.
    """
    if not np.isfinite(covariance).all() or not np.any(covariance):
        return None

    variances, axes = np.linalg.eigh(covariance)
    axes[:, 0] *= np.sign(np.linalg.det(axes))  # a mirrored frame is not a rotation
    std = np.sqrt(np.maximum(variances, 0.0))
    return std, Rotation.from_matrix(axes).as_quat()
