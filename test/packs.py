# SPDX-License-Identifier: Apache-2.0
"""A pack of windows that the tests draw, and ways to crop them."""

import dataclasses

import numpy as np

from lifting_ros.research.datasets.pack import Pack
from lifting_ros.research.training.augmentation import AugmentationConfig

PLAIN = AugmentationConfig(occlusion=0, cut=0, neighbour=0, colour=0, blur=0, camera=0, anonymous=0)
"""Crops that move and change nothing else."""

STILL = dataclasses.replace(PLAIN, mirror=0, rotation_deg=0, log_scale=0, shift=0)
"""Crops of the true box."""


def make_pack(count: int = 12) -> Pack:
    """Windows with a bright square at every labelled keypoint."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (count, 64, 64, 3), np.uint8)
    keypoints = np.concatenate(
        [rng.uniform(16, 48, (count, 14, 2)), np.ones((count, 14, 1))], -1
    ).astype(np.float32)
    keypoints[:, 5, 2] = 0
    for image, person in zip(images, keypoints, strict=True):
        for k, (x, y, _) in enumerate(person.astype(int)):
            image[y - 1 : y + 2, x - 1 : x + 2] = 40 + 15 * k
    return Pack("street", images, keypoints, np.arange(count) >= 10)
