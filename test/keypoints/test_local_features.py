# SPDX-License-Identifier: Apache-2.0
"""The trunk's last layer at keypoints: bilinear between the centres of its cells."""

import numpy as np
import pytest

from lifting_ros.keypoints.local_features import at_keypoints

SIDE_PX, CELLS = 64, 4
CELL_PX = SIDE_PX / CELLS
MIDDLES = (np.arange(CELLS) + 0.5) * CELL_PX - 0.5
"""Of the cells, in pixels of the crop."""


def layer_of(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 3, CELLS, CELLS)).astype(np.float32)


def test_in_the_middle_of_a_cell_it_is_the_cell():
    layer = layer_of()
    points = np.array([[[MIDDLES[3], MIDDLES[1]], [MIDDLES[0], MIDDLES[3]]]] * 2)
    found = at_keypoints(layer, points, SIDE_PX)
    assert found.shape == (2, 2, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found[:, 0], layer[:, :, 1, 3], atol=1e-6)
    np.testing.assert_allclose(found[:, 1], layer[:, :, 3, 0], atol=1e-6)


def test_a_layer_that_is_linear_in_the_place_is_read_exactly():
    y, x = np.meshgrid(MIDDLES, MIDDLES, indexing="ij")
    layer = np.stack([x, y, x - 2 * y])[None]
    points = np.random.default_rng(1).uniform(MIDDLES[0], MIDDLES[-1], (1, 14, 2))
    column, row = points[0].T
    found = at_keypoints(layer, points, SIDE_PX)[0]
    np.testing.assert_allclose(found, np.stack([column, row, column - 2 * row], 1), atol=1e-4)


@pytest.mark.parametrize("far", [-1e4, -1.0, SIDE_PX + 1.0, 1e4])
def test_beyond_the_crop_it_is_the_nearest_cell(far):
    layer = layer_of(1)
    edge = 0 if far < 0 else CELLS - 1
    points = np.array([[[far, MIDDLES[2]], [MIDDLES[1], far]]])
    found = at_keypoints(layer, points, SIDE_PX)[0]
    np.testing.assert_allclose(found[0], layer[0, :, 2, edge], atol=1e-6)
    np.testing.assert_allclose(found[1], layer[0, :, edge, 1], atol=1e-6)


def test_people_do_not_mix():
    layer = layer_of(3)
    points = np.random.default_rng(2).uniform(0, SIDE_PX, (3, 14, 2))
    together = at_keypoints(layer, points, SIDE_PX)
    for n in range(3):
        alone = at_keypoints(layer[n : n + 1], points[n : n + 1], SIDE_PX)[0]
        np.testing.assert_array_equal(together[n], alone)
