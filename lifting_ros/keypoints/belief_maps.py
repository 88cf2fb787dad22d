# SPDX-License-Identifier: Apache-2.0
"""Belief maps: keypoints to maps (`encode`) and maps to keypoints with covariances (`decode`), the
two faces of one grid.

A belief map is a probability over the cells of one keypoint's grid: it is non-negative and sums to
one. Cell (i, j) covers `stride` pixels of the network's input; its centre lies at pixel ((j + 0.5)
stride - 0.5, (i + 0.5) stride - 0.5).
"""

from __future__ import annotations

import math

import torch

from lifting_ros.skeleton import KEYPOINT_FLIP

_TINY = 1e-12
_REACH = 2  # cells on each side of the maximum that say where in between the top is
_FAINT = 1e-6  # of the maximum: cells below it say nothing, and their logarithm stays finite
_RIDGE = 1e-6
_FLAT = 0.02  # least curvature of a top, cells^-2: of a Gaussian seven cells wide


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

    points: (..., 2) x, y in cells; size: (h, w); sigma: in cells. Returns (..., h, w), each map
    summing to one over the plane: what falls outside the grid is missing from the sum.
    Differentiable in `points`.
    """
    h, w = size
    x = torch.arange(w, device=points.device, dtype=points.dtype)
    y = torch.arange(h, device=points.device, dtype=points.dtype)
    gx = torch.exp(-0.5 * ((x - points[..., :1]) / sigma) ** 2)  # (..., w)
    gy = torch.exp(-0.5 * ((y - points[..., 1:]) / sigma) ** 2)  # (..., h)
    return gy[..., :, None] * gx[..., None, :] / (2 * math.pi * sigma**2)  # (..., h, w)


def background(maps: torch.Tensor, sigma: float = 1.0) -> torch.Tensor:
    """The (J+1)-th map: one minus the strongest belief of any keypoint, peaks scaled to one. (...,
    J, h, w) -> (..., 1, h, w)."""
    return 1 - (maps * (2 * math.pi * sigma**2)).amax(-3, keepdim=True).clamp(max=1)


def mirrored(maps: torch.Tensor) -> torch.Tensor:
    """Maps (..., 14, h, w) of the keypoints in the mirror image: left and right exchanged, in space
    and by name."""
    return maps[..., list(KEYPOINT_FLIP), :, :].flip(-1)


def window_mean(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (..., 2) in cells of the belief in the 5x5 cells around each map's maximum, and that
    belief (...) in [0, 1].

    What the fusion layers lift: its gradient is tame. Drawn towards the window's middle, for a
    Gaussian of 1.5 cells by 0.19 cells at most along an axis, and into the grid by up to 0.7 cells
    where its border cuts it off; `decode` is not. maps: (..., h, w) probabilities; differentiable
    in them but for the choice of the window.
    """
    corner, window, terms = _window(maps)
    return corner + _mean(window, terms), window.sum(-1).clamp(0, 1)


def decode(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Most confident position of each keypoint (equation (4)) to a fraction of a cell, how sure
    that is, and how far the belief spreads.

    maps: (..., h, w) probabilities. Returns positions (..., 2) in cells, the belief (...) in [0, 1]
    in the 5x5 cells around the maximum, and second moments (..., 2, 2) in cells^2 of the whole
    belief about the position, other peaks included.

    The position is the top of the Gaussian through the 5x5 cells. The logarithm of a Gaussian is a
    paraboloid, so that its top is found without bias however wide it is, however its axes lie, and
    where the border of the grid cuts it off. Cells count by their belief; where they have no top,
    their mean it is.
    """
    corner, window, terms = _window(maps)
    weight = window / window.amax(-1, keepdim=True).clamp_min(_TINY)  # (..., 25)
    products = (terms[:, :, None] * terms[:, None]).flatten(1)  # (25, 36)
    normal = (weight @ products).unflatten(-1, (6, 6)) + _RIDGE * torch.eye(
        6, device=maps.device, dtype=maps.dtype
    )
    right = (weight * weight.clamp_min(_FAINT).log()) @ terms  # (..., 6)
    solution = torch.linalg.solve_ex(normal, right)[
        0
    ]  # never waits for the device, as `solve` would
    points = corner + _top(solution, _mean(window, terms)).clamp(-1, 1)
    return points, window.sum(-1).clamp(0, 1), second_moment(maps, points)


def second_moment(maps: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Second moments (..., 2, 2) in cells^2 of whole maps (..., h, w) about points (..., 2)."""
    h, w = maps.shape[-2:]
    belief = maps / maps.sum((-1, -2), keepdim=True).clamp_min(_TINY)
    dx = torch.arange(w, device=maps.device) - points[..., :1]  # (..., w)
    dy = torch.arange(h, device=maps.device) - points[..., 1:]  # (..., h)
    along = (belief @ dx[..., None])[..., 0]  # (..., h)
    xx, yy, xy = (
        (belief.sum(-2) * dx**2).sum(-1),
        (belief.sum(-1) * dy**2).sum(-1),
        (along * dy).sum(-1),
    )
    return torch.stack([xx, xy, xy, yy], -1).unflatten(-1, (2, 2))


def calibrated(moment: torch.Tensor, scale: float, blur: float, floor: float) -> torch.Tensor:
    """Covariances (..., 2, 2) of the errors of keypoints whose beliefs have such second moments
    (..., 2, 2), all in cells.

    A network that learnt by cross-entropy believes what it saw come true, blurred by the Gaussian
    that every answer was taught as. So: without that Gaussian's `blur` (its standard deviation),
    times `scale`, plus the error of the surest ones, `floor` (a deviation).
    """
    xx, yy, xy = moment[..., 0, 0], moment[..., 1, 1], moment[..., 0, 1]
    least = (xx + yy) / 2 - ((xx - yy) ** 2 / 4 + xy**2).sqrt()
    taken = least.clamp(0, blur**2)[..., None, None]
    return scale * moment + (floor**2 - scale * taken) * torch.eye(
        2, device=moment.device, dtype=moment.dtype
    )


def keypoints(
    maps: torch.Tensor, presence: torch.Tensor | None, config
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Belief maps (..., J, h, w) and presence logits (..., J) of a network with such a
    `NetworkConfig` to keypoints in pixels of its input.

    Returns positions (..., J, 2), confidences (..., J) in [0, 1] and covariances (..., J, 2, 2) in
    px^2.
    """
    cells, mass, moment = decode(maps.float())
    confidence = mass if presence is None else mass * presence.float().sigmoid()
    covariance = calibrated(moment, config.noise_scale, config.noise_blur, config.noise_floor)
    return cells_to_pixels(cells, config.stride), confidence, covariance * config.stride**2


def _window(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Maximum's cell (..., 2) x, y; belief in the cells around it (..., 25), 0 outside the grid; 1
    x y xx xy yy of those cells (25, 6)."""
    h, w = maps.shape[-2:]
    peak = maps.detach().flatten(-2).argmax(-1, keepdim=True)  # (..., 1)
    offset = torch.arange(-_REACH, _REACH + 1, device=maps.device)
    y, x = (o.flatten() for o in torch.meshgrid(offset, offset, indexing="ij"))  # (25,)
    column, row = peak % w, torch.div(peak, w, rounding_mode="floor")
    xs, ys = column + x, row + y  # (..., 25)
    inside = (xs >= 0) & (xs < w) & (ys >= 0) & (ys < h)
    window = maps.flatten(-2).gather(-1, ys.clamp(0, h - 1) * w + xs.clamp(0, w - 1)) * inside
    x, y = x.to(maps.dtype), y.to(maps.dtype)
    terms = torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y], -1)
    return torch.cat([column, row], -1).to(maps.dtype), window, terms


def _mean(window: torch.Tensor, terms: torch.Tensor) -> torch.Tensor:
    return window @ terms[:, 1:3] / window.sum(-1, keepdim=True).clamp_min(_TINY)  # (..., 2)


def _top(solution: torch.Tensor, otherwise: torch.Tensor) -> torch.Tensor:
    """Highest point (..., 2) of paraboloids with coefficients (..., 6) of 1, x, y, xx, xy, yy;
    `otherwise` where they have none."""
    _, gx, gy, cxx, cxy, cyy = solution.unbind(-1)
    hxx, hyy, hxy = -2 * cxx, -2 * cyy, -cxy
    determinant = hxx * hyy - hxy**2
    curved = (hxx > _FLAT) & (hyy > _FLAT) & (determinant > _FLAT * (hxx + hyy))
    safe = torch.where(curved, determinant, 1.0)[..., None]
    top = torch.stack([hyy * gx - hxy * gy, hxx * gy - hxy * gx], -1) / safe
    return torch.where(curved[..., None], top, otherwise)
