# SPDX-License-Identifier: Apache-2.0
"""Pictures of a camera in the dark, without most of their noise.

The networks have learnt from photographs by day. Amplified noise hides people from them. A
bilateral filter (C. Tomasi, R. Manduchi, Bilateral Filtering for Gray and Color Images, ICCV 1998)
takes most of it away and keeps edges. Only a picture that is noisy is changed.
"""

from __future__ import annotations

import numpy as np

from lifting_ros.compiled import compiled

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

_ROWS = 120
"""Rows of the picture, or up to twice as many, that its noise is estimated from."""

_UPPER_QUARTILE = 0.6745
"""Of the standard normal distribution: the median of its absolute values."""

_GREEN = 1
_LARGEST_GAP = 3 * 255


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

    return float(np.median(curvature)) / (_UPPER_QUARTILE * 6**0.5)


def smoothed(image: np.ndarray, range_std: float) -> np.ndarray:
    """The image (H, W, 3) uint8 after a binomial filter of 3 x 3 pixels and a bilateral one.

    range_std: standard deviation of the latter in the sum of the gaps of red, green and blue.
    """
    around = range(-REACH_PX, REACH_PX + 1)
    squares = [(x, y, x * x + y * y) for y in around for x in around]
    disc = np.array([one for one in squares if one[2] <= REACH_PX**2])
    near = np.exp(-disc[:, 2] / (2 * STD_PX**2)).astype(np.float32)
    gap = np.arange(_LARGEST_GAP + 1)
    similar = np.exp(-((gap / range_std) ** 2) / 2).astype(np.float32)

    border = ((REACH_PX, REACH_PX), (REACH_PX, REACH_PX), (0, 0))
    padded = np.pad(_binomial(image), border, mode="edge")
    line = padded.shape[1] * 3
    places = (disc[:, 1] + REACH_PX) * line + (disc[:, 0] + REACH_PX) * 3
    out = np.empty(image.shape, np.uint8)
    _bilateral(padded.reshape(-1), np.uint64(line), places.astype(np.uint64), near, similar, out)
    return out


def warm_up() -> None:
    """Compile or load the filter, so that the first noisy picture does not wait."""
    smoothed(np.zeros((1, 1, 3), np.uint8), 1.0)


def _binomial(image: np.ndarray) -> np.ndarray:
    """The image (H, W, 3) uint8, each pixel with a quarter of each neighbour's half."""
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge").astype(np.uint16)
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    both = rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]
    return ((both + 8) >> 4).astype(np.uint8)


@compiled
def _bilateral(padded, line, places, near, similar, out):
    """Write to out (H, W, 3) the weighted mean of the pixels in the disc around each.

    padded: the values of the image with REACH_PX more pixels on each side; line: values of one of
    its rows; places: (n,) the disc's, from that of the upper left corner of its square; near: (n,)
    their weights; similar: (766,) weights by the gap of the values. Indices are unsigned, because
    those that may be negative are slower.
    """
    one = np.uint64(1)
    half = np.float32(0.5)
    to_middle = np.uint64(REACH_PX) * (line + np.uint64(3))
    for y in range(out.shape[0]):
        corner = np.uint64(y) * line
        for x in range(out.shape[1]):
            middle = corner + to_middle
            red = np.int32(padded[middle])
            green = np.int32(padded[middle + one])
            blue = np.int32(padded[middle + one + one])
            total = np.float32(0)
            reds = np.float32(0)
            greens = np.float32(0)
            blues = np.float32(0)
            for k in range(len(places)):
                place = corner + places[k]
                r = np.int32(padded[place])
                g = np.int32(padded[place + one])
                b = np.int32(padded[place + one + one])
                weight = near[k] * similar[abs(r - red) + abs(g - green) + abs(b - blue)]
                total += weight
                reds += weight * np.float32(r)
                greens += weight * np.float32(g)
                blues += weight * np.float32(b)

            out[y, x, 0] = np.uint8(reds / total + half)
            out[y, x, 1] = np.uint8(greens / total + half)
            out[y, x, 2] = np.uint8(blues / total + half)
            corner += np.uint64(3)
