# SPDX-License-Identifier: Apache-2.0
"""Linear layers of several persons."""

import numpy as np
import pytest

from lifting_ros.lifting.dense import layers_of, linear


@pytest.mark.parametrize("shape", [(5, 512), (5, 14, 1280), (0, 44), (0, 14, 44), (300, 152)])
def test_each_person_is_computed_as_if_alone(shape):
    """To the last bit, and as in float64."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=shape).astype(np.float32)
    weight = rng.normal(size=(256, shape[-1])).astype(np.float32)
    bias = rng.normal(size=256).astype(np.float32)
    values[values < 0] = 0  # as after a layer of rectifiers
    layer = layers_of({"a.weight": weight, "a.bias": bias}, ["a"])["a"]
    together = linear(values, layer)
    assert together.shape == (*shape[:-1], 256) and together.dtype == np.float32

    for index in range(len(values)):
        alone = linear(values[index : index + 1], layer)
        np.testing.assert_array_equal(together[index], alone[0])
    expected = values.astype(float) @ weight.T.astype(float) + bias
    np.testing.assert_allclose(together, expected, atol=1e-3)
