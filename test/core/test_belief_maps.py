# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from lifting_ros.core import belief_maps


@pytest.mark.parametrize("sigma", [0.7, 1.0])
def test_round_trip_has_no_bias(sigma):
    """No half-pixel shift: what is encoded anywhere inside a cell is decoded there."""
    rng = np.random.default_rng(0)
    points = torch.from_numpy(rng.uniform(4, 27, (500, 2)))
    decoded, mass, _ = belief_maps.decode(belief_maps.encode(points, (32, 32), sigma))
    error = decoded - points
    assert error.abs().max() < 0.08
    assert error.mean(0).abs().max() < 0.01
    assert mass.min() > 0.9


def test_covariance_is_the_width_of_the_belief():
    maps = belief_maps.encode(torch.tensor([[12.0, 15.0]], dtype=torch.float64), (32, 32), 0.6)
    _, _, covariance = belief_maps.decode(maps, radius=3)
    np.testing.assert_allclose(covariance[0], (0.36 + 1 / 12) * np.eye(2), atol=0.01)


def test_pixels_and_cells_are_inverse_and_cell_centres_are_where_said():
    pixels = torch.tensor([[0.0, 0.0], [13.2, 99.0]])
    back = belief_maps.cells_to_pixels(belief_maps.pixels_to_cells(pixels, 4), 4)
    torch.testing.assert_close(back, pixels)
    assert belief_maps.cells_to_pixels(torch.zeros(2), 4).tolist() == [1.5, 1.5]


def test_decode_works_at_the_border_and_on_empty_maps():
    points = torch.tensor([[0.0, 0.0], [31.0, 31.0]])
    decoded, _, covariance = belief_maps.decode(belief_maps.encode(points, (32, 32)))
    assert (decoded - points).abs().max() < 1.0 and torch.isfinite(covariance).all()
    position, mass, covariance = belief_maps.decode(torch.zeros(1, 32, 32))
    assert torch.isfinite(position).all() and mass.item() == 0 and torch.isfinite(covariance).all()


def test_decode_is_differentiable():
    maps = belief_maps.encode(torch.tensor([[10.3, 11.6]]), (32, 32)).requires_grad_()
    belief_maps.decode(maps)[0].sum().backward()
    assert maps.grad.abs().sum() > 0


def test_calibrated_covariances_have_the_size_that_the_confidence_says():
    spread = torch.tensor([[[2.0, 0.5], [0.5, 1.0]]]).repeat(3, 1, 1)
    confidence = torch.tensor([0.0, 0.5, 1.0])
    covariance = belief_maps.calibrated(spread, confidence, np.log(20.0), np.log(0.1))
    deviation = covariance.diagonal(dim1=-2, dim2=-1).mean(-1).sqrt()
    torch.testing.assert_close(deviation, torch.tensor([20.0, 20 * 0.1**0.5, 2.0]))
    torch.testing.assert_close(covariance[:, 0, 1] / covariance[:, 0, 0], torch.full((3,), 0.25))
