# SPDX-License-Identifier: Apache-2.0
"""Belief maps to keypoints in compiled loops, for runtimes other than torch.

`belief_maps` has the same steps in torch, differentiable, and says why they are as they are. A test
compares the two.
"""

from __future__ import annotations

import math

import numpy as np

from lifting_ros.compiled import compiled
from lifting_ros.keypoints.network_config import NetworkConfig

REACH = 2
"""Cells on each side of the maximum that the fit of a peak uses."""

TINY = 1e-12
RIDGE = 1e-6

FAINT = 1e-6
"""Least belief of a cell in the fit, relative to the maximum; keeps the logarithm finite."""

FLAT = 0.02
"""Least curvature of a peak, cells^-2: that of a Gaussian of seven cells standard deviation."""

_TERMS = 6
"""Terms of a paraboloid: 1, x, y, xx, xy, yy."""


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (N, J, h, w) over the cells of each map, from logits (N, J, h, w)."""
    count, maps, height, width = logits.shape
    flat = logits.reshape(count, maps, height * width)
    belief = flat - flat.max(-1, keepdims=True)
    np.exp(belief, out=belief)
    belief /= belief.sum(-1, keepdims=True)
    return belief.reshape(logits.shape)


def highest_cells(maps: np.ndarray) -> np.ndarray:
    """Cells (N, J) of the maxima of maps (N, J, h, w), counted along the rows."""
    return maps.reshape(*maps.shape[:2], -1).argmax(-1)


def keypoints(
    maps: np.ndarray, presence: np.ndarray, config: NetworkConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `belief_maps.keypoints`, in float64.

    maps: (N, J, h, w) beliefs, float32; presence: (N, J) probabilities. Returns positions
    (N, J, 2) in pixels of the network's input, confidences (N, J) and covariances (N, J, 2, 2) in
    px^2.
    """
    count, keypoint_count = maps.shape[:2]
    cells = np.empty((count, keypoint_count, 2))
    mass = np.empty((count, keypoint_count))
    covariance = np.empty((count, keypoint_count, 2, 2))
    noise = (config.noise_scale, config.noise_blur, config.noise_floor)
    highest = highest_cells(maps)
    for index in range(count):
        _decode(
            maps[index],
            highest[index],
            noise,
            cells[index],
            mass[index],
            covariance[index],
        )

    points = (cells + 0.5) * config.stride - 0.5
    return points, mass * presence, covariance * config.stride**2


@compiled
def _decode(maps, highest, noise, points, mass, covariance):
    """Write positions (J, 2) in cells, the belief (J,) around them and covariances (J, 2, 2) in
    cells^2 of maps (J, h, w) with maxima in the cells `highest` (J,).

    noise: scale, blur and floor of `belief_maps.calibrated`.
    """
    window = np.empty((2 * REACH + 1, 2 * REACH + 1))
    for keypoint in range(len(maps)):
        row, column = divmod(highest[keypoint], maps.shape[2])
        total, mean_x, mean_y = read_window(maps[keypoint], row, column, window)
        x, y = _peak(window, mean_x, mean_y)
        points[keypoint, 0] = column + min(max(x, -1.0), 1.0)
        points[keypoint, 1] = row + min(max(y, -1.0), 1.0)
        mass[keypoint] = min(max(total, 0.0), 1.0)

        moment = _second_moment(maps[keypoint], points[keypoint, 0], points[keypoint, 1])
        _calibrate(moment, noise, covariance[keypoint])


@compiled
def read_window(belief, row, column, window):
    """Write the belief in the 5x5 cells around a cell to `window`, 0 outside the grid.

    Returns its sum, and its mean x and y relative to the cell.
    """
    height, width = belief.shape
    total = 0.0
    sum_x = 0.0
    sum_y = 0.0
    for dy in range(-REACH, REACH + 1):
        for dx in range(-REACH, REACH + 1):
            value = 0.0
            if 0 <= row + dy < height and 0 <= column + dx < width:
                value = float(belief[row + dy, column + dx])

            window[dy + REACH, dx + REACH] = value
            total += value
            sum_x += value * dx
            sum_y += value * dy

    divisor = max(total, TINY)
    return total, sum_x / divisor, sum_y / divisor


@compiled
def _peak(window, mean_x, mean_y):
    """Peak x, y of the Gaussian fitted to a window, relative to its middle; the mean where the fit
    has no peak."""
    highest = max(window.max(), TINY)
    normal = np.zeros((_TERMS, _TERMS))
    right = np.zeros(_TERMS)
    term = np.empty(_TERMS)
    for dy in range(-REACH, REACH + 1):
        for dx in range(-REACH, REACH + 1):
            weight = window[dy + REACH, dx + REACH] / highest
            value = weight * math.log(max(weight, FAINT))
            term[0] = 1.0
            term[1] = dx
            term[2] = dy
            term[3] = dx * dx
            term[4] = dx * dy
            term[5] = dy * dy
            for i in range(_TERMS):
                right[i] += value * term[i]
                for j in range(i + 1):
                    normal[i, j] += weight * term[i] * term[j]

    for i in range(_TERMS):
        normal[i, i] += RIDGE

    solve(normal, right)

    # Negative Hessian
    hxx = -2 * right[3]
    hyy = -2 * right[5]
    hxy = -right[4]
    determinant = hxx * hyy - hxy * hxy

    # The zero of the gradient, where the paraboloid is curved enough in every direction
    if hxx > FLAT and hyy > FLAT and determinant > FLAT * (hxx + hyy):
        x = (hyy * right[1] - hxy * right[2]) / determinant
        y = (hxx * right[2] - hxy * right[1]) / determinant
        return x, y

    return mean_x, mean_y


@compiled
def solve(matrix, right):
    """Solve a symmetric positive definite system; the solution replaces `right` (n,).

    Only the lower triangle of `matrix` (n, n) is read; its Cholesky factor replaces it.
    """
    size = len(right)
    for j in range(size):
        for k in range(j):
            factor = matrix[j, k]
            for i in range(j, size):
                matrix[i, j] -= factor * matrix[i, k]

        root = math.sqrt(matrix[j, j])
        for i in range(j, size):
            matrix[i, j] /= root

    for j in range(size):
        for k in range(j):
            right[j] -= matrix[j, k] * right[k]
        right[j] /= matrix[j, j]

    for j in range(size - 1, -1, -1):
        for k in range(j + 1, size):
            right[j] -= matrix[k, j] * right[k]
        right[j] /= matrix[j, j]


@compiled
def _second_moment(belief, x, y):
    """Second moments xx, xy, yy in cells^2 of a whole map (h, w) about a point."""
    height, width = belief.shape
    away = (np.arange(width) - x).astype(np.float32)
    total = 0.0
    xx = 0.0
    xy = 0.0
    yy = 0.0
    for row in range(height):
        line = np.float32(0)
        line_x = np.float32(0)
        line_xx = np.float32(0)
        for column in range(width):
            value = belief[row, column]
            first = value * away[column]
            line += value
            line_x += first
            line_xx += first * away[column]

        dy = row - y
        total += float(line)
        xx += float(line_xx)
        xy += line_x * dy
        yy += line * dy * dy

    divisor = max(total, TINY)
    return xx / divisor, xy / divisor, yy / divisor


@compiled
def _calibrate(moment, noise, covariance):
    """Write the covariance (2, 2) of a keypoint's error; see `belief_maps.calibrated`."""
    xx, xy, yy = moment
    scale, blur, floor = noise
    mean = (xx + yy) / 2
    apart = (xx - yy) * (xx - yy) / 4 + xy * xy
    smaller = mean - math.sqrt(apart)
    taken = min(max(smaller, 0.0), blur * blur)
    more = floor * floor - scale * taken

    covariance[0, 0] = scale * xx + more
    covariance[0, 1] = scale * xy
    covariance[1, 0] = scale * xy
    covariance[1, 1] = scale * yy + more
