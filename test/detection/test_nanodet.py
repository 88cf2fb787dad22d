# SPDX-License-Identifier: Apache-2.0
"""The detector's network: sizes of its maps, distances from bins, the colours that it expects."""

import pytest
import torch

from lifting_ros.detection.nanodet import SIDE_BINS, STRIDES, NanoDet


@pytest.mark.parametrize("size", [(64, 96), (96, 32)])
def test_every_level_has_logits_and_distances(size):
    with torch.inference_mode():
        levels = NanoDet()(torch.rand(2, 3, *size))
    for stride, (logits, distances) in zip(STRIDES, levels, strict=True):
        cells = (size[0] // stride, size[1] // stride)
        assert logits.shape == (2, *cells) and distances.shape == (2, 4, *cells)
        assert (distances > 0).all() and (distances < (SIDE_BINS - 1) * stride).all()


def test_parameter_count_is_known():
    assert sum(p.numel() for p in NanoDet().parameters()) == pytest.approx(3.75e6, rel=0.01)


def test_distance_is_the_expectation_of_its_bins():
    network = NanoDet()
    bins = torch.full((4, SIDE_BINS), -50.0)
    bins[0, 3] = bins[1, 0] = bins[2, -1] = 0
    bins[3, 2] = bins[3, 5] = 0
    for head in network.heads:
        torch.nn.init.zeros_(head.out.weight)
        head.out.bias.data = torch.cat([torch.tensor([1.5]), bins.flatten()])

    with torch.inference_mode():
        levels = network(torch.rand(1, 3, 32, 32))

    for stride, (logits, distances) in zip(STRIDES, levels):
        expected = torch.tensor([3.0, 0, 10, 3.5]) * stride
        torch.testing.assert_close(distances.mean((-1, -2))[0], expected)
        assert (logits == 1.5).all()


def test_mean_colour_of_imagenet_is_zero_inside():
    """RGB, in the order of torchvision."""
    network = NanoDet()
    seen = []
    network.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    mean = torch.tensor([0.485, 0.456, 0.406])
    std = torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        for colour in (mean, mean + std):
            network(colour.view(1, 3, 1, 1).expand(1, 3, 32, 32))
    torch.testing.assert_close(seen[0], torch.zeros(1, 3, 32, 32), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen[1], torch.ones(1, 3, 32, 32), atol=1e-5, rtol=0)
