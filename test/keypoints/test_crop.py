# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from lifting_ros.keypoints.crop import crop_around, cut


def test_pixels_there_and_back():
    crop = crop_around(np.array([10.0, 20, 110, 260]), 128)
    points = np.random.default_rng(0).uniform(0, 300, (20, 2))
    np.testing.assert_allclose(crop.to_image(crop.from_image(points)), points)


def test_the_box_is_in_the_middle():
    crop = crop_around(np.array([10.0, 20, 110, 260]), 128)
    assert np.abs(crop.from_image(np.array([60.0, 140])) - 63.5).max() < 0.6


@pytest.mark.parametrize("side", [40, 128, 400])
def test_a_bright_spot_is_where_the_geometry_says(side):
    """The resizing of `cut` and the arithmetic of `Crop` agree to a fraction of a pixel."""
    image = np.zeros((500, 500, 3), np.uint8)
    y, x = np.mgrid[:500, :500]
    spot = 250 + np.array([-0.15, 0.1]) * side
    image[:] = (255 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * (side / 16) ** 2)))[
        ..., None
    ]
    crop = crop_around(
        np.array([250 - side / 2.5, 250 - side / 2.5, 250 + side / 2.5, 250 + side / 2.5]), 128
    )
    light = cut(image, crop)[..., 0] / 255
    rows, columns = np.mgrid[:128, :128]
    centre = np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum()
    np.testing.assert_allclose(centre, crop.from_image(spot), atol=0.35)


def test_beyond_the_border_is_grey_and_nothing_fails():
    image = np.zeros((60, 80, 3), np.uint8)
    for box in (
        [-200.0, -200, -100, -100],
        [-30, -30, 30, 30],
        [70, 50, 300, 300],
        [40, 30, 40, 30],
    ):
        crop = cut(image, crop_around(np.array(box), 64))
        assert crop.shape == (64, 64, 3)
    assert (cut(image, crop_around(np.array([-200.0, -200, -100, -100]), 64)) == 128).all()
