# SPDX-License-Identifier: Apache-2.0
"""Procrustes alignment undoes any similarity, and takes the covariances along."""

import numpy as np
from people import make_poses

from lifting_ros.research.evaluation.calibration import mahalanobis
from lifting_ros.research.evaluation.procrustes import align

POSES = make_poses(10, seed=5)
TURN = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
TURN *= np.sign(np.linalg.det(TURN))


def seen(joints: np.ndarray) -> np.ndarray:
    """The same in another frame and unit."""
    return 2.5 * joints @ TURN.T + [1.0, 2.0, 3.0]


def test_a_similarity_is_found():
    aligned = align(POSES, seen(POSES))
    np.testing.assert_allclose(aligned.joints, seen(POSES), atol=1e-9)
    np.testing.assert_allclose(aligned.scale, 2.5)
    np.testing.assert_allclose(aligned.rotation, np.tile(TURN, (10, 1, 1)), atol=1e-9)


def test_mirror_images_are_not_aligned():
    mirrored = align(POSES * [-1.0, 1, 1], POSES)
    np.testing.assert_allclose(np.linalg.det(mirrored.rotation), 1)
    assert np.linalg.norm(mirrored.joints - POSES, axis=-1).mean() > 0.05


def test_covariance_turns_and_scales_with_the_joints():
    """In the frame of the truth an error is as many standard deviations as in its own."""
    rng = np.random.default_rng(0)
    shape = rng.standard_normal((10, 17, 3, 3))
    covariance = shape @ np.swapaxes(shape, -1, -2) + np.eye(3)
    error = rng.standard_normal((10, 17, 3))
    aligned = align(POSES, seen(POSES))
    there = aligned.covariance(covariance)
    np.testing.assert_allclose(
        mahalanobis(2.5 * error @ TURN.T, there), mahalanobis(error, covariance), rtol=1e-6
    )
    np.testing.assert_allclose(there, np.swapaxes(there, -1, -2))
