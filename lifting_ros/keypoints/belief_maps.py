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
    gx = torch.exp(-0.5 * ((x - points[..., :1]) / sigma) ** 2)  # (..., w)
    gy = torch.exp(-0.5 * ((y - points[..., 1:]) / sigma) ** 2)  # (..., h)
    return gy[..., :, None] * gx[..., None, :] / (2 * math.pi * sigma**2)  # (..., h, w)


def background(maps: torch.Tensor, sigma: float = 1.0) -> torch.Tensor:
    """The background (..., 1, h, w) of maps (..., J, h, w): one minus the strongest belief of any
    keypoint, where Gaussians of `sigma` cells are scaled to peaks of one."""
    scaled = maps * (2 * math.pi * sigma**2)
    return 1 - scaled.amax(-3, keepdim=True).clamp(max=1)


def mirrored(maps: torch.Tensor) -> torch.Tensor:
    """Maps (..., 14, h, w) of the mirror image: left and right are exchanged, in space and by
    name."""
    return maps[..., list(KEYPOINT_FLIP), :, :].flip(-1)


def window_mean(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (..., 2) in cells of the belief in the 5x5 cells around each map's maximum, and the sum
    (...) of that belief, in [0, 1].

    The fusion layers lift this mean, because its gradient is bounded. It is biased towards the
    middle of the window, for a Gaussian of 1.5 cells by at most 0.19 cells per axis, and at the
    border of the grid inwards, by up to 0.7 cells; `decode` is not.

    maps: (..., h, w) probabilities. Differentiable in them, except for the choice of the window.
    """
    corner, window, terms = _window(maps)
    return corner + _mean(window, terms), window.sum(-1).clamp(0, 1)


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
    weight = window / window.amax(-1, keepdim=True).clamp_min(_TINY)  # (..., 25)
    products = (terms[:, :, None] * terms[:, None]).flatten(1)  # (25, 36)
    ridge = _RIDGE * torch.eye(6, device=maps.device, dtype=maps.dtype)
    normal = (weight @ products).unflatten(-1, (6, 6)) + ridge
    right = (weight * weight.clamp_min(_FAINT).log()) @ terms  # (..., 6)

    # Unlike `solve`, `solve_ex` does not wait for the device
    solution, _ = torch.linalg.solve_ex(normal, right)
    points = corner + _peak(solution, _mean(window, terms)).clamp(-1, 1)
    return points, window.sum(-1).clamp(0, 1), second_moment(maps, points)


def second_moment(maps: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Second moments (..., 2, 2) in cells^2 of whole maps (..., h, w) about points (..., 2)."""
    h, w = maps.shape[-2:]
    belief = maps / maps.sum((-1, -2), keepdim=True).clamp_min(_TINY)
    dx = torch.arange(w, device=maps.device) - points[..., :1]  # (..., w)
    dy = torch.arange(h, device=maps.device) - points[..., 1:]  # (..., h)

    mean_dx = (belief @ dx[..., None])[..., 0]  # (..., h)
    xx = (belief.sum(-2) * dx**2).sum(-1)
    yy = (belief.sum(-1) * dy**2).sum(-1)
    xy = (mean_dx * dy).sum(-1)
    return torch.stack([xx, xy, xy, yy], -1).unflatten(-1, (2, 2))


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
    smaller = (xx + yy) / 2 - ((xx - yy) ** 2 / 4 + xy**2).sqrt()
    taken = smaller.clamp(0, blur**2)[..., None, None]
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
    cells, mass, moment = decode(maps.float())
    confidence = mass if presence is None else mass * presence.float().sigmoid()
    covariance = calibrated(moment, config.noise_scale, config.noise_blur, config.noise_floor)
    return cells_to_pixels(cells, config.stride), confidence, covariance * config.stride**2


def _window(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The 5x5 cells around each map's maximum.

    Returns the maximum's cell (..., 2) as x, y; the belief in the 25 cells (..., 25), 0 outside the
    grid; and the terms 1, x, y, xx, xy, yy of the cells (25, 6), relative to the maximum.
    """
    h, w = maps.shape[-2:]
    peak = maps.detach().flatten(-2).argmax(-1, keepdim=True)  # (..., 1)
    column = peak % w
    row = torch.div(peak, w, rounding_mode="floor")

    # Cells of the window
    offset = torch.arange(-_REACH, _REACH + 1, device=maps.device)
    y, x = (grid.flatten() for grid in torch.meshgrid(offset, offset, indexing="ij"))  # (25,)
    xs = column + x  # (..., 25)
    ys = row + y  # (..., 25)

    inside = (xs >= 0) & (xs < w) & (ys >= 0) & (ys < h)
    index = ys.clamp(0, h - 1) * w + xs.clamp(0, w - 1)
    window = maps.flatten(-2).gather(-1, index) * inside

    # Terms of a paraboloid
    x = x.to(maps.dtype)
    y = y.to(maps.dtype)
    terms = torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y], -1)
    return torch.cat([column, row], -1).to(maps.dtype), window, terms


def _mean(window: torch.Tensor, terms: torch.Tensor) -> torch.Tensor:
    """Mean (..., 2) of the cells of a window, relative to the maximum."""
    return window @ terms[:, 1:3] / window.sum(-1, keepdim=True).clamp_min(_TINY)


def _peak(solution: torch.Tensor, otherwise: torch.Tensor) -> torch.Tensor:
    """Peak (..., 2) of paraboloids with coefficients (..., 6) of 1, x, y, xx, xy, yy; `otherwise`
    where they have none."""
    _, gx, gy, cxx, cxy, cyy = solution.unbind(-1)

    # Negative Hessian
    hxx = -2 * cxx
    hyy = -2 * cyy
    hxy = -cxy
    determinant = hxx * hyy - hxy**2

    curved = (hxx > _FLAT) & (hyy > _FLAT) & (determinant > _FLAT * (hxx + hyy))
    safe = torch.where(curved, determinant, 1.0)[..., None]
    peak = torch.stack([hyy * gx - hxy * gy, hxx * gy - hxy * gx], -1) / safe
    return torch.where(curved[..., None], peak, otherwise)
