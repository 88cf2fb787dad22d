# SPDX-License-Identifier: Apache-2.0
"""Linear layers of the small networks beside a keypoint network."""

from __future__ import annotations

import numpy as np


def linear(values: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Values (N, ..., i) of N persons times weight (o, i), plus bias (o,): (N, ..., o).

    One person at a time. In a larger product BLAS sums in another order, so that the result would
    depend on who else is there. It would also begin threads, which wait busily for the next product
    on the cores that the networks need: with four persons these took 1.5 times as long.
    """
    result = np.empty((*values.shape[:-1], len(bias)), np.result_type(values, weight))
    for person in range(len(values)):
        one = slice(person, person + 1)
        np.matmul(values[one], weight.T, out=result[one])

    return result + bias
