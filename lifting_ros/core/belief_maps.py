# SPDX-License-Identifier: Apache-2.0
"""Belief maps: keypoints to maps (`encode`) and maps to keypoints with covariances (`decode`), the two faces of one grid.

A belief map is a probability over the cells of one keypoint's grid: it is non-negative and sums to one. Cell (i, j) covers `stride`
pixels of the network's input; its centre lies at pixel ((j + 0.5) stride - 0.5, (i + 0.5) stride - 0.5).
"""
from __future__ import annotations

import math

import torch

_TINY = 1e-12


def pixels_to_cells(points_px: torch.Tensor, stride: int) -> torch.Tensor:
    """Input pixels to grid coordinates, in which cell (i, j) has its centre at (x, y) = (j, i)."""
    return (points_px + 0.5) / stride - 0.5


def cells_to_pixels(points: torch.Tensor, stride: int) -> torch.Tensor:
    """Grid coordinates to input pixels; the inverse of `pixels_to_cells`."""
    return (points + 0.5) * stride - 0.5


def encode(points: torch.Tensor, size: tuple[int, int], sigma: float | torch.Tensor = 1.0) -> torch.Tensor:
    """Gaussian belief maps around points (the paper's equation (7) and the convolution after it).

    points: (..., 2) x, y in cells; size: (h, w); sigma: in cells. Returns (..., h, w), each map summing to one over the plane: what falls
    outside the grid is missing from the sum. Differentiable in `points`.
    """
    h, w = size
    x = torch.arange(w, device=points.device, dtype=points.dtype)
    y = torch.arange(h, device=points.device, dtype=points.dtype)
    gx = torch.exp(-0.5 * ((x - points[..., :1]) / sigma) ** 2)  # (..., w)
    gy = torch.exp(-0.5 * ((y - points[..., 1:]) / sigma) ** 2)  # (..., h)
    return gy[..., :, None] * gx[..., None, :] / (2 * math.pi * sigma**2)  # (..., h, w)


def background(maps: torch.Tensor, sigma: float = 1.0) -> torch.Tensor:
    """The (J+1)-th map: one minus the strongest belief of any keypoint, peaks scaled to one. (..., J, h, w) -> (..., 1, h, w)."""
    return 1 - (maps * (2 * math.pi * sigma**2)).amax(-3, keepdim=True).clamp(max=1)


def decode(maps: torch.Tensor, radius: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Most confident position of each keypoint (equation (4)), refined to a fraction of a cell.

    maps: (..., h, w) probabilities. The position is the mean of the belief inside a window of `radius` cells around the maximum.
    Returns positions (..., 2) in cells, the belief inside the window (...) in [0, 1], and covariances (..., 2, 2) in cells^2: the second
    moment of the window about the position, plus the rounding of a cell. Differentiable in `maps` but for the choice of the window.
    """
    h, w = maps.shape[-2:]
    peak = maps.detach().flatten(-2).argmax(-1)  # (...)
    px, py = peak % w, torch.div(peak, w, rounding_mode="floor")
    offset = torch.arange(-radius, radius + 1, device=maps.device)
    xs, ys = px[..., None] + offset, py[..., None] + offset  # (..., r)
    inside = ((ys >= 0) & (ys < h))[..., :, None] & ((xs >= 0) & (xs < w))[..., None, :]  # (..., r, r)
    flat = ys.clamp(0, h - 1)[..., :, None] * w + xs.clamp(0, w - 1)[..., None, :]
    window = maps.flatten(-2).gather(-1, flat.flatten(-2)).unflatten(-1, flat.shape[-2:]) * inside  # (..., r, r)
    mass = window.sum((-1, -2))
    belief = window / mass.clamp_min(_TINY)[..., None, None]
    return _moments(belief, xs.to(maps.dtype), ys.to(maps.dtype), mass)


def calibrated(spread: torch.Tensor, confidence: torch.Tensor, log_noise: float, slope: float) -> torch.Tensor:
    """Covariances (..., 2, 2) as large as the errors of keypoints of such a confidence (...), in the shape of `spread` (..., 2, 2).

    The width of a belief is mostly that of the Gaussians it was taught; how much of it lies in one place tells far more about the error.
    The standard deviation is exp(log_noise + slope confidence), in the unit wanted.
    """
    size = spread.diagonal(dim1=-2, dim2=-1).mean(-1)
    variance = torch.exp(2 * (log_noise + slope * confidence))
    return spread * (variance / size.clamp_min(_TINY))[..., None, None]


def _moments(belief: torch.Tensor, xs: torch.Tensor, ys: torch.Tensor, mass: torch.Tensor):
    column, row = belief.sum(-2), belief.sum(-1)  # (..., r)
    x, y = (column * xs).sum(-1), (row * ys).sum(-1)
    dx, dy = xs - x[..., None], ys - y[..., None]
    xx, yy = (column * dx**2).sum(-1), (row * dy**2).sum(-1)
    xy = (belief * dy[..., :, None] * dx[..., None, :]).sum((-1, -2))
    rounding = torch.eye(2, device=mass.device, dtype=mass.dtype) / 12
    covariance = torch.stack([xx, xy, xy, yy], -1).unflatten(-1, (2, 2)) + rounding
    return torch.stack([x, y], -1), mass.clamp(0, 1), covariance
