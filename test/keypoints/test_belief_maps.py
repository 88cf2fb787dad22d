# SPDX-License-Identifier: Apache-2.0
import types

import numpy as np
import pytest
import torch

from lifting_ros.keypoints import belief_maps

SIZE = (32, 32)
CONFIG = types.SimpleNamespace(stride=4, noise_scale=0.8, noise_blur=1.0, noise_floor=0.25)


def random_points(count: int, low: float, high: float, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(low, high, (count, 2)))


@pytest.mark.parametrize("sigma", [0.8, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_encoded_anywhere_is_decoded_there(sigma, dtype):
    """No half-pixel shift and no pull to the cell's middle, up to the corners of the map, where
    half of the Gaussian is cut off."""
    points = torch.cat(
        [random_points(500, 0, 31), random_points(200, -0.4, 2), random_points(200, 29, 31.4)]
    ).to(dtype)
    decoded, _, _ = belief_maps.decode(belief_maps.encode(points, SIZE, sigma))
    assert (decoded - points).abs().max() < 1e-3  # cells; a window's mean is 0.3 off


def test_slanted_beliefs_are_decoded_where_they_are():
    """However long they are and whichever way they lie."""
    points, angles = random_points(300, 8, 23), torch.linspace(0, 3.1, 300, dtype=torch.float64)
    axis = torch.stack([angles.cos(), angles.sin()], -1)
    grid = torch.stack(
        torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="xy"), -1
    ).double()
    off = grid - points[:, None, None]
    along = torch.einsum("nhwa,na->nhw", off, axis)
    maps = torch.exp(-0.5 * ((off**2).sum(-1) - along**2) / 0.8**2 - 0.5 * along**2 / 2.0**2)
    maps = maps / maps.sum((1, 2), keepdim=True)
    decoded, _, moment = belief_maps.decode(maps)
    assert (decoded - points).abs().max() < 1e-3
    slant = torch.einsum("na,nab,nb->n", axis, moment, axis)
    torch.testing.assert_close(slant, torch.full_like(slant, 4.0), rtol=0.02, atol=0)


def test_mirrored_beliefs_are_decoded_mirrored():
    """Real beliefs are no Gaussians: noise, two peaks, ties; the answer must not depend on which
    way the map is looked at."""
    rng = np.random.default_rng(1)
    logits = torch.from_numpy(rng.normal(0, 2, (50, 32, 32)))
    maps = logits.flatten(1).softmax(-1).view_as(logits) + belief_maps.encode(
        random_points(50, 0, 31), SIZE, 1.3
    )
    points, mass, moment = belief_maps.decode(maps)
    flipped, same_mass, flipped_moment = belief_maps.decode(maps.flip(-1))
    torch.testing.assert_close(flipped, torch.tensor([31.0, 0]) + points * torch.tensor([-1.0, 1]))
    torch.testing.assert_close(same_mass, mass)
    torch.testing.assert_close(flipped_moment, moment * torch.tensor([[1.0, -1], [-1, 1]]))
    turned = belief_maps.decode(maps.transpose(-1, -2))[0]
    torch.testing.assert_close(turned, points.flip(-1))


def test_a_map_without_a_top_gives_the_middle_of_its_window():
    maps = torch.full((1, 32, 32), 1e-4)
    maps[0, 10:15, 20:25] = 0.04 * (
        1 + 1e-3 * torch.arange(5)[None]
    )  # flat but for a slope: no paraboloid has its top here
    position, mass, moment = belief_maps.decode(maps)
    assert (
        20 < position[0, 0] < 25
        and 9 < position[0, 1] < 15
        and torch.isfinite(moment).all()
        and 0 < mass <= 1
    )


def test_empty_maps_are_finite():
    position, mass, moment = belief_maps.decode(torch.zeros(1, 32, 32))
    assert torch.isfinite(position).all() and mass.item() == 0 and torch.isfinite(moment).all()


def test_the_second_moment_is_that_of_the_whole_map():
    points = torch.tensor([[12.0, 15.0], [15.3, 16.1]], dtype=torch.float64)
    one, _ = belief_maps.encode(points, SIZE, 1.2)
    _, _, moment = belief_maps.decode(one)
    np.testing.assert_allclose(moment, 1.44 * np.eye(2), atol=1e-3)
    there, elsewhere = belief_maps.encode(
        torch.tensor([[10.0, 16.0], [20.0, 16.0]], dtype=torch.float64), SIZE, 1.2
    )
    position, mass, moment = belief_maps.decode(0.7 * there + 0.3 * elsewhere)
    np.testing.assert_allclose(position, [10, 16], atol=0.01)
    assert mass == pytest.approx(0.7 * 0.968**2, abs=0.001)
    np.testing.assert_allclose(
        moment, [[1.44 + 0.3 * 100, 0], [0, 1.44]], rtol=0.01, atol=0.01
    )  # about the position, not the mean


def test_the_mean_of_the_window_and_its_gradient():
    maps = belief_maps.encode(torch.tensor([[10.3, 11.6]]), SIZE).requires_grad_()
    points, mass = belief_maps.window_mean(maps)
    assert (points - torch.tensor([[10.3, 11.6]])).abs().max() < 0.06 and mass > 0.95
    points.sum().backward()
    assert maps.grad.abs().sum() > 0 and torch.isfinite(maps.grad).all()


def test_calibrated_covariances_lose_the_blur_and_keep_a_floor():
    moment = torch.tensor(
        [[[1.0, 0.0], [0.0, 1.0]], [[5.0, 2.0], [2.0, 3.0]], [[9.0, 0.0], [0.0, 0.5]]]
    )
    sharp, wide, thin = belief_maps.calibrated(moment, scale=2.0, blur=1.0, floor=0.5)
    torch.testing.assert_close(sharp, 0.25 * torch.eye(2))
    torch.testing.assert_close(wide, torch.tensor([[8.25, 4.0], [4.0, 4.25]]))
    torch.testing.assert_close(
        thin, torch.tensor([[17.25, 0.0], [0.0, 0.25]])
    )  # never less than the floor, whichever way


def test_keypoints_are_in_pixels_of_the_input():
    points = torch.tensor([[[10.25, 20.5]]])
    maps = belief_maps.encode(points, SIZE, 1.0)
    px, sure, covariance = belief_maps.keypoints(maps, None, CONFIG)
    torch.testing.assert_close(px, belief_maps.cells_to_pixels(points, 4), atol=1e-3, rtol=0)
    torch.testing.assert_close(
        covariance[0, 0], torch.eye(2), atol=0.02, rtol=0
    )  # the floor: a quarter of a cell of 4 px
    doubted = belief_maps.keypoints(maps, torch.zeros(1, 1), CONFIG)[1]
    torch.testing.assert_close(doubted, 0.5 * sure)


def test_pixels_and_cells_are_inverse_of_each_other():
    pixels = torch.tensor([[0.0, 0.0], [13.2, 99.0]])
    back = belief_maps.cells_to_pixels(belief_maps.pixels_to_cells(pixels, 4), 4)
    torch.testing.assert_close(back, pixels)
    assert belief_maps.cells_to_pixels(torch.zeros(2), 4).tolist() == [1.5, 1.5]
