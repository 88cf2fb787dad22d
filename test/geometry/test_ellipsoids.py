# SPDX-License-Identifier: Apache-2.0
"""Ellipses and ellipsoids are those of the covariance."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lifting_ros.geometry.ellipsoids import ellipse_of, ellipsoid_of


def test_ellipse_is_that_of_the_covariance():
    rng = np.random.default_rng(0)
    samples = rng.multivariate_normal([0, 0], [[4.0, 1.5], [1.5, 1.0]], 20000)
    (width, height), angle = ellipse_of(np.cov(samples.T))

    c = np.cos(np.radians(angle))
    s = np.sin(np.radians(angle))
    turned = samples @ np.array([[c, -s], [s, c]])
    np.testing.assert_allclose(turned.std(0), [width / 2, height / 2], rtol=1e-3)


def test_ellipsoid_gives_the_covariance_back():
    rng = np.random.default_rng(1)
    for _ in range(20):
        factor = rng.normal(size=(3, 3))
        covariance = factor @ factor.T
        std, quaternion = ellipsoid_of(covariance)

        assert np.linalg.norm(quaternion) == pytest.approx(1)
        axes = Rotation.from_quat(quaternion).as_matrix()
        np.testing.assert_allclose(axes @ np.diag(std**2) @ axes.T, covariance, atol=1e-12)


def test_unknown_covariance_has_no_shape():
    assert ellipse_of(np.full((2, 2), np.nan)) is None
    assert ellipsoid_of(np.full((3, 3), np.nan)) is None
    assert ellipsoid_of(np.zeros((3, 3))) is None
