# SPDX-License-Identifier: Apache-2.0
"""What a training and its validation are shown is what the estimator will cut."""

import numpy as np

from lifting_ros.keypoints.crop import crop_around
from lifting_ros.research.datasets.crops import true_crop
from lifting_ros.research.datasets.keypoints2d import keypoint_box


def test_the_crop_of_the_training_is_that_of_the_estimator():
    """The same scale and place, but for the whole pixels on which the estimator cuts: they lie as
    often on the one side as on the other."""
    rng, gaps = np.random.default_rng(0), []
    for _ in range(300):
        low, extent = rng.uniform(0, 60, 2), rng.uniform(20, 120, 2)
        keypoints = np.column_stack([low + rng.uniform(0, 1, (14, 2)) * extent, np.ones(14)])
        area, (_, moved) = (
            crop_around(keypoint_box(keypoints), 64),
            true_crop(np.zeros((9, 9, 3), np.uint8), keypoints, 64),
        )
        gaps.append((moved[:, :2] - area.from_image(keypoints[:, :2])) * area.scale)
    assert np.abs(gaps).max() < 1.1  # pixels of the image
    assert np.abs(np.mean(gaps, (0, 1))).max() < 0.08
