# SPDX-License-Identifier: Apache-2.0
"""Position and size of a person of known shape, from rays, a size prior and measured depths.

A learned lifter states the shape: joints about the root in units of the person's size. With the
root at t and size s, joint k lies at t + s J_k. The ray (u, v, 1) of its keypoint requires that
the first two rows of t + s J_k minus (u, v) times the third are zero. The error of a ray is an
angle, so the residual grows with the distance, and the rays alone say nothing about the size.
Everything is in the view frame (`observation.Views`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.lifting.depth_fusion import COMMON_STD_M
from lifting_ros.lifting.observation import Views
from lifting_ros.lifting.person_view import seen_count
from lifting_ros.skeleton import KEYPOINT_TO_JOINT

PASSES = 5
"""Gauss-Newton passes without depths; outliers among the rays are reweighted from the second on."""

FREEDOM = 4.0
"""Degrees of freedom of the Student t distribution of the rays. Its heavy tails limit the effect of
a confident keypoint on the wrong object."""

PASSES_WITH_DEPTH = 6
"""Gauss-Newton passes with depths; outliers among the depths are reweighted too."""

_LEAST_DISTANCE = 0.1
"""Least distance from the camera to the middle of a person, metres."""

_OBSERVED = list(KEYPOINT_TO_JOINT)


class Placed(NamedTuple):
    """V persons in the view frame, metres."""

    root: np.ndarray
    """(V, 3)."""
    size: np.ndarray
    """(V,) root of the sum of squared limb lengths."""
    covariance: np.ndarray
    """(V, 4, 4) of root and size."""
    log_likelihood: np.ndarray
    """(V,) of the rays, given the shape."""


class _Problem(NamedTuple):
    """What the passes have in common. The state is root and size (V, 4)."""

    own: np.ndarray
    """(V, 14, 3) observed joints about the root."""
    spread: np.ndarray
    """(V, 14, 3, 3) their covariance."""
    seen: np.ndarray
    """(V, 14) bool."""
    rows: np.ndarray
    """(V, 14, 2, 4) the equations of the rays, linear in the state."""
    rays_noise: np.ndarray
    """(V, 14, 2, 2) covariance of the rays."""
    shape_noise: np.ndarray
    """(V, 14, 2, 2) covariance of the equations that the shape brings, m^2."""
    ahead: np.ndarray
    """(V, 4) the mean z of the seen joints, linear in the state."""
    optical: np.ndarray
    """(V, 3) the optical axis in the view frame."""


class _RayFit(NamedTuple):
    """The equations of the rays, weighted at one state."""

    noise: np.ndarray
    """(V, 14, 2, 2)."""
    inverse: np.ndarray
    """(V, 14, 2, 2) of the noise, times the weight of the ray; 0 where not seen."""
    square: np.ndarray
    """(V, 14) squared Mahalanobis distance of the residual, without the weight."""
    distance: np.ndarray
    """(V,) metres."""


def place(
    joints: np.ndarray,
    covariance: np.ndarray,
    views: Views,
    size: tuple[float, float],
    depths: np.ndarray | None = None,
) -> Placed:
    """Return root and size of V persons.

    joints: (V, 17, 3) about the root; covariance: (V, 17, 3, 3); both in the view frame, in units
    of the size. size: its mean and std, metres. depths: (V, 14, 2) measured z in the optical frame
    and its variance, inf where there is none; each person has at least one.
    """
    own = joints[:, _OBSERVED]
    spread = covariance[:, _OBSERVED]
    rays = views.rays.astype(np.float64)
    project = _projections(rays)
    problem = _make_problem(own, spread, views, project, size[0])

    # Gauss-Newton
    state = _start(project, own, rays, views.seen, size[0])
    believed = np.ones(views.seen.shape)
    passes = PASSES if depths is None else PASSES_WITH_DEPTH
    for index in range(passes):
        fit = _weigh_rays(problem, state, robust=index > 0)
        normal, target = _normal_equations(problem, state, fit)

        # Size prior
        normal[:, 3, 3] += size[1] ** -2
        target[:, 3] += size[0] * size[1] ** -2

        if depths is not None:
            if index > 0:
                believed = _believed(problem, state, depths)
            _add_depths(problem, depths, size[0], believed, normal, target)

        _regularise(normal, 1e-12)
        state = _solve(normal, target)

    # Uncertainty
    found = np.linalg.inv(normal)
    if depths is not None:
        optical = problem.optical
        common = COMMON_STD_M**2 * optical[:, :, None] * optical[:, None]
        found[:, :3, :3] += common

    likelihood = _log_likelihood(problem, state)
    return Placed(state[:, :3], state[:, 3], found, likelihood)


def _projections(rays: np.ndarray) -> np.ndarray:
    """Return matrices (V, 14, 2, 3) that are zero on the points of each ray (V, 14, 2)."""
    shape = (*rays.shape, 3)
    project = np.zeros(shape)
    project[..., 0, 0] = 1.0
    project[..., 1, 1] = 1.0
    project[..., 2] = -rays

    return project


def _make_problem(
    own: np.ndarray,
    spread: np.ndarray,
    views: Views,
    project: np.ndarray,
    mean_size: float,
) -> _Problem:
    seen = views.seen
    count = seen_count(seen)

    # Equations of the rays
    by_size = np.einsum("vkab,vkb->vka", project, own)
    rows = np.concatenate([project, by_size[..., None]], -1)  # (V, 14, 2, 4)

    # Their noise: of the shape, and of the rays, which is in units of the person's extent
    projected = np.einsum("vkab,vkbc,vkdc->vkad", project, spread, project)
    shape_noise = mean_size**2 * projected
    centred = views.centred.astype(np.float64)
    extent = (centred**2).sum(1) / count
    rays_noise = _matrix(views.noise) * extent[:, None, None, None]

    # Mean depth of the seen joints
    z = own[..., 2] * seen
    mean_z = z.sum(1) / count
    root_z = np.tile([0.0, 0.0, 1.0], (len(own), 1))
    ahead = np.concatenate([root_z, mean_z[:, None]], 1)

    optical = views.frame[:, :, 2].astype(np.float64)
    return _Problem(own, spread, seen, rows, rays_noise, shape_noise, ahead, optical)


def _weigh_rays(
    problem: _Problem,
    state: np.ndarray,
    robust: bool,
) -> _RayFit:
    """Return the noise of the rays' equations at a state (V, 4).

    robust: whether rays are weighted by the Student t distribution of their residuals.
    """
    middle = (problem.ahead * state).sum(1)
    distance = np.maximum(middle, _LEAST_DISTANCE)
    far = distance[:, None, None, None] ** 2
    of_rays = far * problem.rays_noise
    noise = of_rays + problem.shape_noise + 1e-12 * np.eye(2)
    mask = problem.seen[..., None, None]
    inverse = np.linalg.inv(noise) * mask

    residual = _residual(problem, state)
    square = np.einsum("vka,vkab,vkb->vk", residual, inverse, residual)
    if robust:
        weight = (FREEDOM + 2) / (FREEDOM + square)
        inverse = inverse * weight[..., None, None]
    return _RayFit(noise, inverse, square, distance)


def _normal_equations(
    problem: _Problem,
    state: np.ndarray,
    fit: _RayFit,
) -> tuple[np.ndarray, np.ndarray]:
    """Return matrix (V, 4, 4) and right side (V, 4) of the rays' normal equations."""
    residual = _residual(problem, state)

    # The residual is an angle: a person twice as large and twice as far has the same.
    relative = problem.ahead / fit.distance[:, None]
    slope = problem.rows - residual[..., None] * relative[:, None, None]

    linear = np.einsum("vkab,vb->vka", slope, state)
    normal = np.einsum("vkab,vkac,vkcd->vbd", slope, fit.inverse, slope)
    target = np.einsum("vkab,vkac,vkc->vb", slope, fit.inverse, linear - residual)
    return normal, target


def _residual(
    problem: _Problem,
    state: np.ndarray,
) -> np.ndarray:
    """Return what a state (V, 4) leaves of the rays' equations (V, 14, 2), metres."""
    return np.einsum("vkab,vb->vka", problem.rows, state)


def _log_likelihood(
    problem: _Problem,
    state: np.ndarray,
) -> np.ndarray:
    """Return the log-likelihood (V,) of the rays under a Student t distribution, up to a constant
    per ray."""
    fit = _weigh_rays(problem, state, robust=False)
    tail = 0.5 * (FREEDOM + 2) * np.log1p(fit.square / FREEDOM)

    distance = fit.distance[:, None, None, None]
    angular = 2 * np.pi * fit.noise / distance**2
    log_volume = 0.5 * np.log(np.linalg.det(angular))
    return -((tail + log_volume) * problem.seen).sum(1)


def _solve(
    normal: np.ndarray,
    target: np.ndarray,
) -> np.ndarray:
    """Return the solutions (V, D) of equations with matrices (V, D, D) and right sides (V, D)."""
    columns = target[..., None]
    solution = np.linalg.solve(normal, columns)
    return solution[..., 0]


def _regularise(
    normal: np.ndarray,
    share: float,
) -> None:
    """Add `share` of the trace to the diagonal of each matrix (V, D, D), in place."""
    trace = np.trace(normal, axis1=1, axis2=2)
    identity = np.eye(normal.shape[-1])
    normal += share * trace[:, None, None] * identity


def _start(
    project: np.ndarray,
    own: np.ndarray,
    rays: np.ndarray,
    seen: np.ndarray,
    size: float,
) -> np.ndarray:
    """Return a first state (V, 4) of persons of mean size.

    The root is the least-squares solution of the rays' equations. If that is not near the position
    that the apparent size implies, the latter is taken.
    """
    # Least squares
    within = project * seen[..., None, None]
    normal = np.einsum("vkab,vkac->vbc", within, within)
    product = np.einsum("vkab,vkac,vkc->vb", within, within, own)
    target = -size * product
    _regularise(normal, 1e-9)
    root = _solve(normal, target)

    # Apparent size
    count = seen_count(seen)[:, None]
    mask = seen[..., None]
    mean_ray = (rays * mask).sum(1) / count
    ones = np.ones((len(rays), 1))
    middle = np.concatenate([mean_ray, ones], 1)
    far = size * _far(own, rays, seen)
    seen_sum = (own * mask).sum(1)
    usual = far[:, None] * middle - size * seen_sum / count

    usual_z = np.maximum(usual[:, 2], 1e-9)
    ratio = root[:, 2] / usual_z
    near = (ratio > 0.5) & (ratio < 2.0)
    root = np.where(near[:, None], root, usual)
    sizes = np.full((len(root), 1), size)

    return np.concatenate([root, sizes], 1)


def _matrix(noise: np.ndarray) -> np.ndarray:
    """Return covariances (..., 3), given as xx, xy, yy, as matrices (..., 2, 2)."""
    leading = noise.shape[:-1]
    exact = noise.astype(np.float64)
    entries = exact[..., [0, 1, 1, 2]]
    return entries.reshape(*leading, 2, 2)


def _far(
    own: np.ndarray,
    rays: np.ndarray,
    seen: np.ndarray,
) -> np.ndarray:
    """Return the distance (V,) divided by the size at which joints look as wide as their rays.

    own: (V, 14, 3); rays: (V, 14, 2).
    """
    wide = _extent(own[..., :2], seen)
    narrow = _extent(rays, seen)
    return np.maximum(wide, 1e-3) / np.maximum(narrow, 1e-9)


def _extent(
    points: np.ndarray,
    seen: np.ndarray,
) -> np.ndarray:
    """Return the root of the sum of squared distances (V,) of points (V, 14, 2) from their mean."""
    mask = seen[..., None]
    count = seen_count(seen)[:, None, None]
    total = (points * mask).sum(1, keepdims=True)
    apart = np.where(mask, points - total / count, 0.0)

    return np.sqrt((apart**2).sum((1, 2)))


def _depth_rows(problem: _Problem) -> np.ndarray:
    """Return (V, 14, 4): z of the joints in the optical frame, linear in the state."""
    own = problem.own
    optical = problem.optical[:, None]
    ahead = np.broadcast_to(optical, own.shape)  # (V, 14, 3)
    by_size = (ahead * own).sum(-1, keepdims=True)

    return np.concatenate([ahead, by_size], -1)


def _add_depths(
    problem: _Problem,
    depths: np.ndarray,
    mean_size: float,
    believed: np.ndarray,
    normal: np.ndarray,
    target: np.ndarray,
) -> None:
    """Add the measured depths, weighted by `believed` (V, 14), to the normal equations in place."""
    rows = _depth_rows(problem)
    there = np.isfinite(depths).all(-1)
    z = np.where(there, depths[..., 0], 0.0)
    measured = np.where(there, depths[..., 1], 1.0)

    optical = problem.optical
    along = np.einsum("va,vkab,vb->vk", optical, problem.spread, optical)
    variance = measured + mean_size**2 * along
    weight = there / variance * believed

    normal += np.einsum("vk,vka,vkb->vab", weight, rows, rows)
    target += np.einsum("vk,vka,vk->va", weight, rows, z)


def _believed(
    problem: _Problem,
    state: np.ndarray,
    depths: np.ndarray,
) -> np.ndarray:
    """Return the weight (V, 14) of each depth, as under a Cauchy distribution.

    A depth may be that of something else: of a hand in front of the hip, for example.
    """
    there = np.isfinite(depths).all(-1)
    measured = np.where(there, depths[..., 0], 0.0)
    variance = np.where(there, depths[..., 1], 1.0)

    rows = _depth_rows(problem)
    expected = np.einsum("vka,va->vk", rows, state)
    off = expected - measured
    known = np.where(there, off, np.nan)
    off -= np.nanmedian(known, axis=1, keepdims=True)

    return 1.0 / (1.0 + off**2 / variance)
