# SPDX-License-Identifier: Apache-2.0
"""Noisy pictures are smoothed, others stay as they are."""

import numpy as np
import pytest

from lifting_ros.keypoints.denoise import (
    NOISY,
    RANGE,
    REACH_PX,
    STD_PX,
    noise_level,
    smoothed,
    without_noise,
)


def picture(std: float, height: int = 240, width: int = 320) -> np.ndarray:
    """A bright square on a dark ground, with noise of that standard deviation."""
    clean = np.full((height, width, 3), 70.0)
    clean[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 180
    noise = np.random.default_rng(0).normal(0, std, clean.shape)
    return np.clip(clean + noise, 0, 255).round().astype(np.uint8)


@pytest.mark.parametrize("std", [3, 8, 16, 25])
@pytest.mark.parametrize("height", [60, 240, 700])
def test_the_noise_is_measured(std, height):
    assert noise_level(picture(std, height)) == pytest.approx(std, rel=0.12)


def test_edges_are_not_noise():
    stripes = np.zeros((100, 100, 3), np.uint8)
    stripes[:, ::10] = 255
    assert noise_level(stripes) == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (50, 2), (2, 50)])
def test_tiny_pictures_are_no_problem(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert without_noise(image).shape == image.shape
    assert smoothed(image, 30.0).shape == image.shape


def test_a_clear_picture_is_returned_itself():
    image = picture(0.8 * NOISY)
    assert without_noise(image) is image


def test_a_noisy_picture_loses_its_noise_and_keeps_its_edges():
    clean = picture(0).astype(float)
    noisy = picture(25)
    before = noisy.copy()
    clear = without_noise(noisy)
    assert clear.dtype == np.uint8
    np.testing.assert_array_equal(noisy, before)

    error = np.abs(clear - clean)
    assert error.mean() < 0.4 * np.abs(noisy - clean).mean()
    edge = slice(75, 85)  # of the square, at column 80
    assert np.abs(clear[100:140, edge] - clean[100:140, edge]).mean() < 12


def test_the_filter_is_the_bilateral_one():
    """Against its definition, at single pixels."""
    image = picture(25)
    range_std = RANGE * 25
    ours = smoothed(image, range_std)

    kernel = np.array([1, 2, 1])
    around = np.arange(-REACH_PX, REACH_PX + 1)
    y, x = np.meshgrid(around, around, indexing="ij")
    near = np.where(x**2 + y**2 <= REACH_PX**2, np.exp(-(x**2 + y**2) / (2 * STD_PX**2)), 0)
    for row, column in ((120, 80), (60, 240), (30, 40)):
        reach = REACH_PX + 1
        window = image[row - reach : row + reach + 1, column - reach : column + reach + 1]
        window = window.astype(int)
        rows = window[:-2] * kernel[0] + window[1:-1] * kernel[1] + window[2:] * kernel[2]
        both = rows[:, :-2] * kernel[0] + rows[:, 1:-1] * kernel[1] + rows[:, 2:] * kernel[2]
        blurred = np.floor(both / 16 + 0.5)
        gap = np.abs(blurred - blurred[REACH_PX, REACH_PX]).sum(-1)
        weight = near * np.exp(-((gap / range_std) ** 2) / 2)
        expected = (weight[..., None] * blurred).sum((0, 1)) / weight.sum()
        np.testing.assert_allclose(ours[row, column], expected, atol=0.51)


def test_a_picture_that_cannot_be_written_is_smoothed_as_well():
    image = picture(25)
    expected = without_noise(image)
    image.flags.writeable = False
    np.testing.assert_array_equal(without_noise(image), expected)
