# SPDX-License-Identifier: Apache-2.0
"""Resizing without torch gives torch's pixels."""

import numpy as np
import pytest
import torch

from lifting_ros.keypoints.resize import resized


@pytest.mark.parametrize(
    ("size", "new_size"),
    [
        ((640, 480), (320, 240)),
        ((500, 500), (192, 192)),
        ((77, 101), (192, 192)),
        ((501, 333), (256, 256)),
        ((192, 192), (192, 192)),
        ((1, 1), (64, 48)),
        ((1000, 3), (10, 1)),
    ],
)
def test_pixels_are_those_of_torch(size, new_size):
    width, height = size
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    planes = torch.from_numpy(image).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(
        planes, new_size[::-1], mode="bilinear", antialias=True
    )
    np.testing.assert_array_equal(resized(image, new_size), expected[0].permute(1, 2, 0).numpy())


def test_a_view_of_an_image_is_resized_like_a_copy():
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    view = image[5:50, 3:70, ::-1]
    np.testing.assert_array_equal(resized(view, (20, 30)), resized(view.copy(), (20, 30)))
