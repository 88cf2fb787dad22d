# SPDX-License-Identifier: Apache-2.0
"""Pictures of a camera in the dark, without most of their noise.

The networks have learnt from photographs by day. Amplified noise hides people from them. A
bilateral filter (C. Tomasi, R. Manduchi, Bilateral Filtering for Gray and Color Images, ICCV 1998)
takes most of it away and keeps edges. Only a picture that is noisy is changed.
"""

from __future__ import annotations

import numpy as np

NOISY = 12.0
"""Noise level from which on a picture is smoothed. Of the photographs of the training sides fewer
than 1 in 100 have a higher one; at a 32nd of the light (`research.evaluation.robustness.night`)
some 95 in 100 have."""

RANGE = 3.0
"""Standard deviation of the filter in the values, divided by the noise level. This, reach and std
were chosen on held-back acrobats at night."""

REACH_PX = 3
"""Radius of the filter."""

STD_PX = 2.0
"""Standard deviation of the filter in the picture."""

_ROWS = 60
"""Rows of the picture, or up to twice as many, that its noise is estimated from."""

_UPPER_QUARTILE = 0.6745
"""Of the standard normal distribution: the median of its absolute values."""

_GREEN = 1


def without_noise(image: np.ndarray) -> np.ndarray:
    """The image (H, W, 3) uint8 RGB, smoothed where it is noisy (NOISY), else itself."""
    level = noise_level(image)
    if level < NOISY:
        return image
    return smoothed(image, RANGE * level)


def noise_level(image: np.ndarray) -> float:
    """Standard deviation of the noise in the green of an image (H, W, 3) uint8.

    That of neighbouring pixels is taken as independent. Second differences along rows have six
    times its variance, and edges are rare among them: the median counts.
    """
    step = max(1, len(image) // _ROWS)
    green = image[::step, :, _GREEN].astype(np.int16)
    curvature = np.abs(green[:, :-2] - 2 * green[:, 1:-1] + green[:, 2:])
    if not curvature.size:
        return 0.0

    counts = np.bincount(curvature.ravel())
    median = np.searchsorted(counts.cumsum(), curvature.size / 2)
    return float(median) / (_UPPER_QUARTILE * 6**0.5)


def smoothed(image: np.ndarray, range_std: float) -> np.ndarray:
    """The image (H, W, 3) uint8 after a binomial filter of 3 x 3 pixels and a bilateral one.

    range_std: standard deviation of the latter in the sum of the gaps of red, green and blue.
    """
    import cv2  # takes a quarter of a second, and few pictures are noisy

    return cv2.bilateralFilter(
        cv2.GaussianBlur(image, (3, 3), 0), 2 * REACH_PX + 1, range_std, STD_PX
    )
