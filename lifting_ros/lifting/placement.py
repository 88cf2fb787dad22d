# SPDX-License-Identifier: Apache-2.0
"""Where a person of known shape stands: root and size from the keypoints' rays, the size's own
distribution and measured depths.

A lifter that learned from pictures says the shape, joints about the root in units of the person's
size. With the root at t and the size s joint k lies at t + s J_k, and the ray (u, v, 1) of its
keypoint says that the first two rows of t + s J_k, less (u, v) times the third, are zero, but for
an error that is an angle and grows with the distance: the rays say nothing of the size. All is in
the view frame (`observation.Views`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.lifting.depth_fusion import COMMON_STD_M
from lifting_ros.lifting.observation import Views
from lifting_ros.skeleton import KEYPOINT_TO_JOINT

PASSES, PASSES_WITH_DEPTH = 3, 6
"""Of Gauss and Newton; more for the weights of depths, some of which are of something else."""
_LEAST_DISTANCE = 0.1  # metres from the camera to the person's middle

_OBSERVED = list(KEYPOINT_TO_JOINT)


class Placed(NamedTuple):
    """V persons, view frame, metres."""

    root: np.ndarray
    """(V, 3)."""
    size: np.ndarray
    """(V,) root of the sum of squared limb lengths."""
    covariance: np.ndarray
    """(V, 4, 4) of root and size."""
    log_likelihood: np.ndarray
    """(V,) of the rays given the shape."""


def place(
    joints: np.ndarray,
    covariance: np.ndarray,
    views: Views,
    size: tuple[float, float],
    depths: np.ndarray | None = None,
) -> Placed:
    """Root and size of V persons.

    joints (V, 17, 3) about the root and their covariance (V, 17, 3, 3), in units of the size, view
    frame; size: its mean and deviation, metres; depths (V, 14, 2): measured z in the optical frame
    and its variance, inf where there is none; everybody has one at least.
    """
    own, spread = joints[:, _OBSERVED], covariance[:, _OBSERVED]  # V, 14, 3 and V, 14, 3, 3
    seen, rays = views.seen, views.rays.astype(np.float64)
    count = np.maximum(seen.sum(1), 1)
    project = np.zeros((*rays.shape, 3))  # V, 14, 2, 3
    project[..., 0, 0] = project[..., 1, 1] = 1.0
    project[..., 2] = -rays
    rows = np.concatenate(
        [project, np.einsum("vkab,vkb->vka", project, own)[..., None]], -1
    )  # V, 14, 2, 4
    shape_noise = size[0] ** 2 * np.einsum("vkab,vkbc,vkdc->vkad", project, spread, project)
    rays_noise = (
        _matrix(views.noise)
        * ((views.centred.astype(np.float64) ** 2).sum(1) / count)[:, None, None, None]
    )
    ahead = np.concatenate(
        [np.tile([0.0, 0.0, 1.0], (len(own), 1)), ((own[..., 2] * seen).sum(1) / count)[:, None]], 1
    )  # V, 4
    state = _start(project, own, rays, seen, size[0])
    weights = None
    for _ in range(PASSES if depths is None else PASSES_WITH_DEPTH):
        distance = np.maximum((ahead * state).sum(1), _LEAST_DISTANCE)
        noise = distance[:, None, None, None] ** 2 * rays_noise + shape_noise + 1e-12 * np.eye(2)
        inverse = np.linalg.inv(noise) * seen[..., None, None]
        missed = np.einsum("vkab,vb->vka", rows, state)
        # what is missed is an angle: whoever is twice as large and as far off misses the rays as
        # much
        slope = rows - missed[..., None] * (ahead / distance[:, None])[:, None, None]
        normal = np.einsum("vkab,vkac,vkcd->vbd", slope, inverse, slope)
        target = np.einsum(
            "vkab,vkac,vkc->vb", slope, inverse, np.einsum("vkab,vb->vka", slope, state) - missed
        )
        normal[:, 3, 3] += size[1] ** -2
        target[:, 3] += size[0] * size[1] ** -2
        if depths is not None:
            weights = (
                _believed(state, own, views.frame, depths)
                if weights is not None
                else np.ones(seen.shape)
            )
            _add_depths(normal, target, own, spread, views.frame, depths, size[0], weights)
        normal += 1e-12 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(4)
        state = np.linalg.solve(normal, target[..., None])[..., 0]  # V, 4
    missed = np.einsum("vkab,vb->vka", rows, state)
    square = np.einsum("vka,vkab,vkb->v", missed, inverse, missed)
    volume = (
        np.log(np.linalg.det(2 * np.pi * noise / distance[:, None, None, None] ** 2)) * seen
    ).sum(1)
    found = np.linalg.inv(normal)
    if depths is not None:
        optical = views.frame[:, :, 2].astype(np.float64)
        found[:, :3, :3] += COMMON_STD_M**2 * optical[:, :, None] * optical[:, None]
    return Placed(state[:, :3], state[:, 3], found, -0.5 * (square + volume))


def _start(
    project: np.ndarray, own: np.ndarray, rays: np.ndarray, seen: np.ndarray, size: float
) -> np.ndarray:
    """Root and size (V, 4) of a person of mean size: the root that leaves the least of the rays'
    equations, all alike."""
    within = project * seen[..., None, None]
    normal = np.einsum("vkab,vkac->vbc", within, within)
    target = -size * np.einsum("vkab,vkac,vkc->vb", within, within, own)
    normal += 1e-9 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(3)
    root = np.linalg.solve(normal, target[..., None])[..., 0]
    far = size * _far(own, rays, seen)
    count = np.maximum(seen.sum(1), 1)[:, None]
    middle = np.concatenate([(rays * seen[..., None]).sum(1) / count, np.ones((len(rays), 1))], 1)
    usual = (
        far[:, None] * middle - size * (own * seen[..., None]).sum(1) / count
    )  # as large as it seems
    near = root[:, 2] / np.maximum(usual[:, 2], 1e-9)
    root = np.where(((near > 0.5) & (near < 2.0))[:, None], root, usual)
    return np.concatenate([root, np.full((len(root), 1), size)], 1)


def _matrix(noise: np.ndarray) -> np.ndarray:
    """Covariances (..., 3) as xx, xy, yy to (..., 2, 2)."""
    return noise.astype(np.float64)[..., [0, 1, 1, 2]].reshape(*noise.shape[:-1], 2, 2)


def _far(own: np.ndarray, rays: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Distance (V,) over the size at which the joints (V, 14, 3) seem as large as the rays (V, 14,
    2) are apart."""
    count = np.maximum(seen.sum(1), 1)[:, None, None]
    apart = [
        np.where(seen[..., None], x - (x * seen[..., None]).sum(1, keepdims=True) / count, 0.0)
        for x in (own[..., :2], rays)
    ]
    wide, narrow = (np.sqrt((x**2).sum((1, 2))) for x in apart)
    return np.maximum(wide, 1e-3) / np.maximum(narrow, 1e-9)


def _depth_rows(own: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """(V, 14, 4): z of the joints in the optical frame as a linear function of root and size."""
    ahead = np.broadcast_to(frame[:, None, :, 2].astype(np.float64), own.shape)  # V, 14, 3
    return np.concatenate([ahead, (ahead * own).sum(-1, keepdims=True)], -1)


def _add_depths(
    normal, target, own, spread, frame, depths, size: float, believed: np.ndarray
) -> None:
    """Add the measured depths, each as far as it is `believed` (V, 14), to the normal equations in
    place."""
    rows, there = _depth_rows(own, frame), np.isfinite(depths).all(-1)
    ahead = frame[:, :, 2].astype(np.float64)
    variance = np.where(there, depths[..., 1], 1.0) + size**2 * np.einsum(
        "va,vkab,vb->vk", ahead, spread, ahead
    )
    weight = there / variance * believed
    normal += np.einsum("vk,vka,vkb->vab", weight, rows, rows)
    target += np.einsum("vk,vka,vk->va", weight, rows, np.where(there, depths[..., 0], 0.0))


def _believed(
    state: np.ndarray, own: np.ndarray, frame: np.ndarray, depths: np.ndarray
) -> np.ndarray:
    """How far each depth counts (V, 14), as under a Cauchy distribution: a hand before the hip is
    not the hip."""
    there = np.isfinite(depths).all(-1)
    off = np.einsum("vka,va->vk", _depth_rows(own, frame), state) - np.where(
        there, depths[..., 0], 0.0
    )
    off -= np.nanmedian(np.where(there, off, np.nan), axis=1, keepdims=True)
    return 1.0 / (1.0 + off**2 / np.where(there, depths[..., 1], 1.0))
