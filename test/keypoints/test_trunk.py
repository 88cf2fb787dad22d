# SPDX-License-Identifier: Apache-2.0
"""The trunk: shapes of MobileNetV2 and of its maps, TensorFlow's padding, strict weights."""

import numpy as np
import pytest
import torch

from lifting_ros.keypoints.trunk import FEATURES, STRIDE, SameConv, Trunk, mobilenet_shape


def test_shape_of_the_published_mobilenet():
    """Table 2 of the paper."""
    shape = mobilenet_shape(1.0)
    assert shape.stem == 32 and shape.last == 1280
    channels = [(16, 1), (24, 2), (32, 3), (64, 4), (96, 3), (160, 3), (320, 1)]
    assert shape.outer == tuple(width for width, count in channels for _ in range(count))
    assert shape.inner == (32, *(6 * width for width in shape.outer[:-1]))


def test_channels_are_rounded_as_published():
    assert mobilenet_shape(1.75).stem == 56
    narrow = mobilenet_shape(0.35)
    assert narrow.stem == 16  # 8 would be more than a tenth below 11.2
    assert narrow.outer[:3] == (8, 8, 8) and narrow.outer[-1] == 112


@pytest.mark.parametrize(("width", "millions"), [(1.75, 6.22), (1.0, 2.31)])
def test_parameter_count_is_that_of_movenet(width, millions):
    count = sum(parameter.numel() for parameter in Trunk(width).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize("size", [(64, 64), (32, 96)])
def test_maps_have_a_quarter_of_the_resolution(size):
    with torch.inference_mode():
        output = Trunk(0.35).eval()(torch.rand(2, 3, *size))
    cells = (size[0] // STRIDE, size[1] // STRIDE)
    shapes = {name: tuple(maps.shape) for name, maps in output._asdict().items()}
    assert shapes == {
        "features": (2, FEATURES, *cells),
        "heat": (2, 17, *cells),
        "centre": (2, 1, *cells),
        "regression": (2, 34, *cells),
        "deep": (2, 1280),
        "last_layer": (2, 1280, size[0] // 32, size[1] // 32),
    }


def test_backbone_has_four_levels():
    with torch.inference_mode():
        levels = Trunk(0.35).backbone(torch.rand(1, 3, 64, 96))
    assert [tuple(level.shape[2:]) for level in levels] == [(16, 24), (8, 12), (4, 6), (2, 3)]


def same(image: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """TensorFlow's SAME convolution of (H, W) with (K, K), after its documentation."""
    side = len(kernel)
    rows, columns = (-(-length // stride) for length in image.shape)
    missing = [
        max((count - 1) * stride + side - length, 0)
        for count, length in zip((rows, columns), image.shape)
    ]
    before = [total // 2 for total in missing]  # the odd one goes to the end
    padded = np.pad(image, [(first, total - first) for first, total in zip(before, missing)])
    result = np.zeros((rows, columns))
    for row in range(rows):
        for column in range(columns):
            window = padded[row * stride : row * stride + side, column * stride :][:, :side]
            result[row, column] = (window * kernel).sum()
    return result


@pytest.mark.parametrize("size", [(8, 12), (6, 6)])
@pytest.mark.parametrize(("side", "stride"), [(3, 2), (3, 1), (1, 1)])
def test_convolution_pads_as_tensorflow_does(size, side, stride):
    rng = np.random.default_rng(0)
    image, kernel = rng.normal(size=size), rng.normal(size=(side, side))
    layer = SameConv(1, 1, side, stride, side // 2 if stride == 1 else 0, bias=False).double()
    layer.weight.data = torch.from_numpy(kernel)[None, None]
    ours = layer(torch.from_numpy(image)[None, None])[0, 0].detach().numpy()
    np.testing.assert_allclose(ours, same(image, kernel, stride), atol=1e-12)


def test_weights_load_strictly():
    trunk, other = Trunk(0.35).eval(), Trunk(0.35).eval()
    image = torch.rand(1, 3, 32, 32)
    other.load_state_dict(trunk.state_dict())
    with torch.inference_mode():
        for ours, theirs in zip(trunk(image), other(image), strict=True):
            assert torch.equal(ours, theirs)
    with pytest.raises(RuntimeError, match="size mismatch"):
        other.load_state_dict(Trunk(0.5).state_dict())
    state = trunk.state_dict()
    del state["heat.1.bias"]
    with pytest.raises(RuntimeError, match="heat.1.bias"):
        other.load_state_dict(state)
