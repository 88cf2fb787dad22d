# SPDX-License-Identifier: Apache-2.0
"""Pixels to rays: covariances agree with those of many noisy pixels."""

import numpy as np
import pytest

from lifting_ros.geometry.camera import Camera
from lifting_ros.lifting.observation import to_rays

K = np.array([[300.0, 2.0, 400], [0, 280, 390], [0, 0, 1]])
CAMERAS = {
    "pinhole": Camera(K),
    "plumb_bob": Camera(K, np.array([-0.2, 0.05, 0.001, -0.002])),
    "fisheye": Camera(K, np.array([0.02, -0.01, 0.002, 0.0]), "equidistant"),
}


@pytest.mark.parametrize("name", CAMERAS)
def test_covariances_of_rays_are_those_of_many_noisy_pixels(name):
    camera, rng = CAMERAS[name], np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    pixels = camera.project(np.stack([0.9 * np.cos(angle), 0.9 * np.sin(angle), np.ones(14)], -1))
    noise = np.array([[0.3, 0.1], [0.1, 0.2]])
    seen = to_rays(
        pixels[None], np.ones((1, 14)), np.tile(noise, (1, 14, 1, 1)), camera, 0.015, 0.0
    )
    drawn = camera.rays(pixels + rng.multivariate_normal(np.zeros(2), noise, (20_000, 14)))
    for k in range(14):
        xx, xy, yy = seen.noise[0, k]
        np.testing.assert_allclose(
            [[xx, xy], [xy, yy]], np.cov(drawn[:, k].T), atol=0.05 * np.sqrt(xx * yy)
        )


def test_confidence_scales_the_noise_without_a_covariance():
    pixels = np.random.default_rng(0).uniform(100, 400, (1, 14, 2))
    sure, half = np.ones((1, 14)), np.full((1, 14), 0.5)
    given = np.tile(9 * np.eye(2), (1, 14, 1, 1))
    for covariance, factor in ((given, 1), (None, 2)):
        noise = [
            to_rays(pixels, confidence, covariance, CAMERAS["pinhole"], 0.015, 0.5).noise
            for confidence in (sure, half)
        ]
        np.testing.assert_allclose(noise[1], factor * noise[0])


def test_keypoints_far_below_the_best_confidence_are_not_seen():
    pixels = np.random.default_rng(1).uniform(100, 500, (1, 14, 2))
    confidence = np.full((1, 14), 0.8)
    confidence[0, [3, 5]] = 1e-9, 0.0
    seen = to_rays(pixels, confidence, None, CAMERAS["pinhole"], 0.015, 0.5).seen[0]
    assert seen.sum() == 12 and not seen[3] and not seen[5]
