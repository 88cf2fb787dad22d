# SPDX-License-Identifier: Apache-2.0
"""The detector's network: sizes of its maps, and that it is the trunk's with other heads."""

import pytest
import torch

from lifting_ros.detection.multipose import WIDTH, MultiPose
from lifting_ros.keypoints.trunk import STRIDE, Trunk


@pytest.mark.parametrize("size", [(64, 96), (96, 32)])
def test_maps_have_a_quarter_of_the_resolution(size):
    with torch.inference_mode():
        maps = MultiPose(1.0)(torch.rand(2, 3, *size))
    cells = (size[0] // STRIDE, size[1] // STRIDE)
    assert maps.centre.shape == (2, *cells)
    assert maps.size.shape == maps.offset.shape == (2, 2, *cells)


def test_parameter_count_is_known():
    assert sum(p.numel() for p in MultiPose().parameters()) == pytest.approx(4.68e6, rel=0.01)


def test_centre_is_that_of_a_trunk_with_the_same_weights():
    trunk = Trunk(WIDTH)
    network = MultiPose()
    network.load_state_dict(trunk.state_dict(), strict=False)
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(network(image).centre, trunk(image).centre[:, 0])
