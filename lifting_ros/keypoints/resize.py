# SPDX-License-Identifier: Apache-2.0
"""Resizing of images with antialiasing, without torch.

The arithmetic is that of torch's `interpolate(mode="bilinear", antialias=True)` for uint8 on CPUs,
so the pixels are the same: triangle filters in fixed point, along the rows first, rounded to whole
values in between.
"""

from __future__ import annotations

import functools

import numpy as np

from lifting_ros.compiled import compiled

_MOST_BITS = 22
_WEIGHT_LIMIT = 1 << 15
"""Weights are 16-bit integers."""


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An (H, W, 3) uint8 image at `size` (w, h): (h, w, 3) uint8."""
    height, width = image.shape[:2]
    w, h = size
    columns = _filters(width, w)
    rows = _filters(height, h)

    whole = np.ascontiguousarray(image).view()
    whole.flags.writeable = False  # as some messages are: loops are compiled for one of the two
    narrow = np.empty((height, 3 * w), np.uint8)
    _resize_rows(whole.reshape(height, 3 * width), *columns, narrow)
    small = np.empty((h, 3 * w), np.uint8)
    _resize_columns(narrow, *rows, small)
    return small.reshape(h, w, 3)


@functools.lru_cache(maxsize=64)
def _filters(length: int, new_length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Filters of one axis: first pixel (n,), number of pixels (n,), weights (n, taps), and the
    number of binary digits of the weights behind the point."""
    scale = length / new_length
    reach = max(scale, 1.0)
    centre = scale * (np.arange(new_length) + 0.5)
    first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + reach + 0.5).astype(np.int64), length)
    count = last - first

    # Triangles, each of sum one
    tap = np.arange(count.max())
    away = (tap + first[:, None] - centre[:, None] + 0.5) / reach
    weight = np.maximum(1 - np.abs(away), 0)
    weight[tap >= count[:, None]] = 0
    weight /= weight.sum(1, keepdims=True)

    # Fixed point, as precise as 16 bits hold
    bits = 0
    highest = weight.max()
    while bits < _MOST_BITS and int(0.5 + highest * (1 << (bits + 1))) < _WEIGHT_LIMIT:
        bits += 1

    fixed = (0.5 + weight * (1 << bits)).astype(np.int32)
    return first.astype(np.uint64), count, fixed, bits


@compiled
def _resize_rows(image, first, count, weight, bits, out):
    """Write the rows (H, 3 W) of an image, filtered, to out (H, 3 w).

    Indices are unsigned, because those that may be negative are slower.
    """
    half = np.int32(1 << (bits - 1))
    one = np.uint64(1)
    for row in range(len(image)):
        line = image[row]
        target = out[row]
        for column in range(len(count)):
            red = half
            green = half
            blue = half
            source = np.uint64(3) * first[column]
            for tap in range(count[column]):
                factor = weight[column, tap]
                red += factor * np.int32(line[source])
                green += factor * np.int32(line[source + one])
                blue += factor * np.int32(line[source + one + one])
                source += np.uint64(3)

            target[3 * column] = red >> bits
            target[3 * column + 1] = green >> bits
            target[3 * column + 2] = blue >> bits


@compiled
def _resize_columns(image, first, count, weight, bits, out):
    """Write the (H, n) image with filtered columns to out (h, n)."""
    half = np.int32(1 << (bits - 1))
    total = np.empty(out.shape[1], np.int32)
    for row in range(out.shape[0]):
        total[:] = half
        for tap in range(count[row]):
            factor = weight[row, tap]
            source = image[first[row] + tap]
            for index in range(len(total)):
                total[index] += factor * np.int32(source[index])

        for index in range(len(total)):
            out[row, index] = total[index] >> bits
