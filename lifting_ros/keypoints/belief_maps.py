# SPDX-License-Identifier: Apache-2.0
"""Belief maps: keypoints to maps (`encode`), and maps to keypoints with covariances (`decode`).

A belief map is a probability over the cells of a grid: it is non-negative and sums to one.
Cell (i, j) covers `stride` pixels of the network's input; its centre lies at pixel
((j + 0.5) stride - 0.5, (i + 0.5) stride - 0.5).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from lifting_ros.skeleton import KEYPOINT_FLIP

if TYPE_CHECKING:
    from lifting_ros.keypoints.network import NetworkConfig

_TINY = 1e-12
_RIDGE = 1e-6

_REACH = 2
"""Cells on each side of the maximum that the fit of a peak uses."""

_FAINT = 1e-6
"""Least belief of a cell in the fit, relative to the maximum; keeps the logarithm finite."""

_FLAT = 0.02
"""Least curvature of a peak, cells^-2: that of a Gaussian of seven cells standard deviation."""


def pixels_to_cells(points_px: torch.Tensor, stride: int) -> torch.Tensor:
    """Input pixels to grid coordinates, in which cell (i, j) has its centre at (x, y) = (j, i)."""
    return (points_px + 0.5) / stride - 0.5


def cells_to_pixels(points: torch.Tensor, stride: int) -> torch.Tensor:
    """Grid coordinates to input pixels; the inverse of `pixels_to_cells`."""
    return (points + 0.5) * stride - 0.5


def encode(
    points: torch.Tensor, size: tuple[int, int], sigma: float | torch.Tensor = 1.0
) -> torch.Tensor:
    """Gaussian belief maps around points (the paper's equation (7) and the convolution after it).

    points: (..., 2) x, y in cells; size: (h, w); sigma: in cells. Returns (..., h, w). Each map
    sums to one over the whole plane; the part outside the grid is missing. Differentiable in
    `points`.
    """
    h, w = size
    x = torch.arange(w, device=points.device, dtype=points.dtype)
    y = torch.arange(h, device=points.device, dtype=points.dtype)

    # The Gaussian is the product of those of both axes
    dx = (x - points[..., :1]) / sigma
    dy = (y - points[..., 1:]) / sigma
    gx = torch.exp(-0.5 * dx**2)  # (..., w)
    gy = torch.exp(-0.5 * dy**2)  # (..., h)
    product = gy[..., :, None] * gx[..., None, :]  # (..., h, w)
    return product / (2 * math.pi * sigma**2)


def background(maps: torch.Tensor, sigma: float = 1.0) -> torch.Tensor:
    """The background (..., 1, h, w) of maps (..., J, h, w): one minus the strongest belief of any
    keypoint, where Gaussians of `sigma` cells are scaled to peaks of one."""
    volume = 2 * math.pi * sigma**2
    scaled = maps * volume
    strongest = scaled.amax(-3, keepdim=True)
    return 1 - strongest.clamp(max=1)


def mirrored(maps: torch.Tensor) -> torch.Tensor:
    """Maps (..., 14, h, w) of the mirror image: left and right are exchanged, in space and by
    name."""
    order = list(KEYPOINT_FLIP)
    renamed = maps[..., order, :, :]
    return renamed.flip(-1)


def window_mean(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (..., 2) in cells of the belief in the 5x5 cells around each map's maximum, and the sum
    (...) of that belief, in [0, 1].

    The fusion layers lift this mean, because its gradient is bounded. It is biased towards the
    middle of the window, for a Gaussian of 1.5 cells by at most 0.19 cells per axis, and at the
    border of the grid inwards, by up to 0.7 cells; `decode` is not.

    maps: (..., h, w) probabilities. Differentiable in them, except for the choice of the window.
    """
    corner, window, terms = _window(maps)
    mean = _mean(window, terms)
    mass = window.sum(-1)
    return corner + mean, mass.clamp(0, 1)


def decode(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Most confident position of each keypoint (equation (4)), with subcell precision.

    maps: (..., h, w) probabilities. Returns positions (..., 2) in cells; the belief (...) in [0, 1]
    in the 5x5 cells around the maximum; and second moments (..., 2, 2) in cells^2 of the whole map
    about the position, other peaks included.

    The position is the peak of a Gaussian fitted to the 5x5 cells. The logarithm of a Gaussian is a
    paraboloid, so the fit is linear, and unbiased for every width, orientation and truncation by
    the border. Cells are weighted by their belief. Where the fit has no peak, the position is the
    mean of the cells.
    """
    corner, window, terms = _window(maps)

    # Weighted least squares of the logarithm
    highest = window.amax(-1, keepdim=True)
    weight = window / highest.clamp_min(_TINY)  # (..., 25)
    log_weight = weight.clamp_min(_FAINT).log()

    products = terms[:, :, None] * terms[:, None]  # (25, 6, 6)
    normal = weight @ products.flatten(1)
    normal = normal.unflatten(-1, (6, 6))
    ridge = _RIDGE * torch.eye(6, device=maps.device, dtype=maps.dtype)
    right = (weight * log_weight) @ terms  # (..., 6)

    # Unlike `solve`, `solve_ex` does not wait for the device
    solution, _ = torch.linalg.solve_ex(normal + ridge, right)

    # The peak, no farther than the next cell
    mean = _mean(window, terms)
    peak = _peak(solution, mean)
    points = corner + peak.clamp(-1, 1)

    mass = window.sum(-1)
    return points, mass.clamp(0, 1), second_moment(maps, points)


def second_moment(maps: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Second moments (..., 2, 2) in cells^2 of whole maps (..., h, w) about points (..., 2)."""
    h, w = maps.shape[-2:]
    total = maps.sum((-1, -2), keepdim=True)
    belief = maps / total.clamp_min(_TINY)

    # Distances from the points
    x = torch.arange(w, device=maps.device)
    y = torch.arange(h, device=maps.device)
    dx = x - points[..., :1]  # (..., w)
    dy = y - points[..., 1:]  # (..., h)

    # Moments, from the belief in each column and row
    columns = belief.sum(-2)
    rows = belief.sum(-1)
    mean_dx = belief @ dx[..., None]  # (..., h, 1)
    xx = (columns * dx**2).sum(-1)
    yy = (rows * dy**2).sum(-1)
    xy = (mean_dx[..., 0] * dy).sum(-1)

    moments = torch.stack([xx, xy, xy, yy], -1)
    return moments.unflatten(-1, (2, 2))


def calibrated(moment: torch.Tensor, scale: float, blur: float, floor: float) -> torch.Tensor:
    """Covariances (..., 2, 2) of keypoint errors, in cells^2, from second moments (..., 2, 2) of
    beliefs.

    A network trained by cross-entropy reproduces the distribution of its labels, blurred by the
    Gaussian that labels are encoded as. Hence: the moment without that Gaussian (standard deviation
    `blur`), times `scale`, plus the error of the most certain keypoints (standard deviation
    `floor`).
    """
    xx = moment[..., 0, 0]
    yy = moment[..., 1, 1]
    xy = moment[..., 0, 1]

    # The blur may take no more than the smaller eigenvalue
    mean = (xx + yy) / 2
    apart = (xx - yy) ** 2 / 4 + xy**2
    smaller = mean - apart.sqrt()
    taken = smaller.clamp(0, blur**2)
    taken = taken[..., None, None]
    identity = torch.eye(2, device=moment.device, dtype=moment.dtype)
    return scale * moment + (floor**2 - scale * taken) * identity


def keypoints(
    maps: torch.Tensor, presence: torch.Tensor | None, config: NetworkConfig
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Keypoints in pixels of the network's input.

    maps: (..., J, h, w) beliefs; presence: (..., J) logits; config: of the network that gave both.
    Returns positions (..., J, 2), confidences (..., J) in [0, 1] and covariances (..., J, 2, 2) in
    px^2.
    """
    cells, confidence, moment = decode(maps.float())
    if presence is not None:
        in_view = presence.float().sigmoid()
        confidence = confidence * in_view

    # From cells to pixels
    points = cells_to_pixels(cells, config.stride)
    covariance = calibrated(
        moment,
        config.noise_scale,
        config.noise_blur,
        config.noise_floor,
    )
    return points, confidence, covariance * config.stride**2


def _window(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The 5x5 cells around each map's maximum.

    Returns the maximum's cell (..., 2) as x, y; the belief in the 25 cells (..., 25), 0 outside the
    grid; and the terms 1, x, y, xx, xy, yy of the cells (25, 6), relative to the maximum.
    """
    h, w = maps.shape[-2:]
    flat = maps.flatten(-2)
    peak = flat.detach().argmax(-1, keepdim=True)  # (..., 1)
    column = peak % w
    row = torch.div(peak, w, rounding_mode="floor")

    # Cells of the window
    offset = torch.arange(-_REACH, _REACH + 1, device=maps.device)
    rows, columns = torch.meshgrid(offset, offset, indexing="ij")
    x = columns.flatten()  # (25,)
    y = rows.flatten()
    xs = column + x  # (..., 25)
    ys = row + y  # (..., 25)

    # Their belief; 0 outside the grid
    nearest_x = xs.clamp(0, w - 1)
    nearest_y = ys.clamp(0, h - 1)
    inside = (xs == nearest_x) & (ys == nearest_y)
    window = flat.gather(-1, nearest_y * w + nearest_x) * inside

    # Terms of a paraboloid
    x = x.to(maps.dtype)
    y = y.to(maps.dtype)
    one = torch.ones_like(x)
    terms = torch.stack([one, x, y, x * x, x * y, y * y], -1)

    corner = torch.cat([column, row], -1)
    return corner.to(maps.dtype), window, terms


def _mean(window: torch.Tensor, terms: torch.Tensor) -> torch.Tensor:
    """Mean (..., 2) of the cells of a window, relative to the maximum."""
    place = terms[:, 1:3]  # x, y
    mass = window.sum(-1, keepdim=True)
    return window @ place / mass.clamp_min(_TINY)


def _peak(solution: torch.Tensor, otherwise: torch.Tensor) -> torch.Tensor:
    """Peak (..., 2) of paraboloids with coefficients (..., 6) of 1, x, y, xx, xy, yy; `otherwise`
    where they have none."""
    _, gx, gy, cxx, cxy, cyy = solution.unbind(-1)

    # Negative Hessian
    hxx = -2 * cxx
    hyy = -2 * cyy
    hxy = -cxy
    determinant = hxx * hyy - hxy**2

    # The zero of the gradient, where the paraboloid is curved enough in every direction
    curved = (hxx > _FLAT) & (hyy > _FLAT)
    curved = curved & (determinant > _FLAT * (hxx + hyy))
    curved = curved[..., None]
    safe = torch.where(curved, determinant[..., None], 1.0)

    x = hyy * gx - hxy * gy
    y = hxx * gy - hxy * gx
    peak = torch.stack([x, y], -1) / safe
    return torch.where(curved, peak, otherwise)
