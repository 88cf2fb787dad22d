# SPDX-License-Identifier: Apache-2.0
"""A person's keypoints as the input of a network that lifts them, or guesses something of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lifting_ros.compiled import compiled
from lifting_ros.geometry.camera import Camera
from lifting_ros.lifting.lifter_config import LifterConfig
from lifting_ros.lifting.observation import PITCH_STEP, Views, into_views, to_rays
from lifting_ros.lifting.request import UP, Keypoints, unit_up, up_of_each
from lifting_ros.skeleton import KEYPOINT_COUNT

INPUTS = 3 * KEYPOINT_COUNT + 2
"""Number of inputs of the network."""

HALF_CERTAIN = 0.05
"""Std of a keypoint, divided by the person's extent, at which its certainty is one half. The extent
is the root mean square distance of the keypoints from their mean."""

USUAL_EXTENT = 0.12
"""Extent, on the rays, of a person four metres away."""

MOST_EXTENT = 1.2
"""Bound on the log of the extent divided by USUAL_EXTENT, as an input of the network."""


def encode(
    points: np.ndarray,
    deviation: np.ndarray,
    visible: np.ndarray,
    pitch: np.ndarray,
    metric: bool | np.ndarray = True,
) -> np.ndarray:
    """Return the network's input (N, 44), float32: positions, certainties, pitch and extent.

    points: (N, 14, 2) on the rays of a view frame; deviation: (N, 14) their stds; both are ignored
    where `visible` (N, 14) is false. pitch: (N,) of the view, radians. metric: a bool, or (N, 1);
    without a known camera the extent has no meaning.

    Positions are relative to the mean of the visible ones and divided by their extent, the root
    mean square distance from it; 0 where not visible.
    """
    seen = np.asarray(visible, bool)[..., None]  # (N, 14, 1)
    count = np.maximum(seen.sum(1, keepdims=True), 1)

    # Positions
    places = np.where(seen, points, 0.0)
    mean = places.sum(1, keepdims=True) / count
    centred = np.where(seen, places - mean, 0.0)
    square = (centred**2).sum((1, 2), keepdims=True)
    extent = np.sqrt(square / count)  # (N, 1, 1)
    extent = np.where(extent > 0, extent, 1.0)
    scaled = centred / extent
    positions = scaled.reshape(-1, 2 * KEYPOINT_COUNT)

    # Certainties
    known_std = np.where(seen, deviation[..., None], 0.0)
    doubt = known_std / (HALF_CERTAIN * extent)
    certainty = 1.0 / (1.0 + doubt)
    certain = np.where(seen, certainty, 0.0)

    # Extent
    log_extent = np.log(extent[:, 0] / USUAL_EXTENT)
    bounded = log_extent.clip(-MOST_EXTENT, MOST_EXTENT)
    wide = bounded * metric  # (N, 1)

    sine = np.sin(pitch)[:, None]
    columns = (positions, certain[..., 0], sine, wide)
    return np.concatenate(columns, 1).astype(np.float32)  # (N, 44)


def views_of(
    seen: Keypoints,
    camera: Camera | None,
    up: Sequence[float] | np.ndarray,
    config: LifterConfig,
) -> Views:
    """The persons in view frames, in which networks read keypoints; where up is unknown, up in the
    image counts as up."""
    rays = to_rays(*seen, camera, config.keypoint_noise, config.noise_floor_px)
    vertical, _ = unit_up(up_of_each(up, len(seen.keypoints_px)))
    return Views(*into_views(*rays, vertical))


def encode_somebody() -> np.ndarray:
    """Return the input (1, 44) of a network for a person without a camera, to warm it up."""
    index = np.arange(KEYPOINT_COUNT)
    keypoints_px = np.stack([index % 4 * 20.0, index * 15.0], -1)[None]
    seen = Keypoints(keypoints_px, np.ones((1, KEYPOINT_COUNT)), None)
    return encode_views(views_of(seen, None, UP, LifterConfig()), False)


def encode_views(
    views: Views,
    metric: bool,
) -> np.ndarray:
    """Return `encode` of persons in view frames."""
    encoded = np.empty((len(views.rays), INPUTS), np.float32)
    write_encoded(views, metric, encoded)
    return encoded


@compiled
def write_encoded(
    views,
    metric,
    out,
):
    """Write `encode` of V persons in view frames into the first columns of `out` (V, INPUTS or
    more). Compiled, because every person in an image passes here."""
    mean = np.empty(2)
    for v in range(len(views.rays)):
        rays = views.rays[v]
        noise = views.noise[v]
        seen = views.seen[v]
        extent = extent_of(rays, seen, mean)

        # Positions and certainties
        for k in range(KEYPOINT_COUNT):
            deviation = np.sqrt(0.5 * (noise[k, 0] + noise[k, 2]))  # divided by the extent
            certainty = 1 / (1 + deviation / HALF_CERTAIN)
            for axis in range(2):
                position = (rays[k, axis] - mean[axis]) / extent
                out[v, 2 * k + axis] = position if seen[k] else 0.0
            out[v, 2 * KEYPOINT_COUNT + k] = certainty if seen[k] else 0.0

        # Pitch and extent
        wide = min(max(np.log(extent / USUAL_EXTENT), -MOST_EXTENT), MOST_EXTENT)
        out[v, INPUTS - 2] = np.sin(views.pitch[v] * PITCH_STEP)
        out[v, INPUTS - 1] = wide if metric else 0.0


@compiled
def extent_of(
    rays,
    seen,
    mean,
):
    """Return the extent of the rays (14, 2) that are seen, 1 where it is nothing, and write their
    mean (2,)."""
    count = max(seen.sum(), 1)
    mean[:] = 0.0
    for k in range(KEYPOINT_COUNT):
        if seen[k]:
            mean[0] += np.float64(rays[k, 0]) / count
            mean[1] += np.float64(rays[k, 1]) / count

    square = 0.0
    for k in range(KEYPOINT_COUNT):
        if seen[k]:
            square += (rays[k, 0] - mean[0]) ** 2 + (rays[k, 1] - mean[1]) ** 2

    extent = np.sqrt(square / count)
    return extent if extent > 0 else 1.0
