# SPDX-License-Identifier: Apache-2.0
"""Whole pictures: a camera over a floor, and where people and things stand on it so that they show
at a wanted height.

World: metres, y up, floor at y = 0, the camera above the origin. See synthetic_scene for the
camera's frame.
"""

from __future__ import annotations

import numpy as np

from lifting_ros.research.rendering.synthetic_scene import Body, Camera, look_at

SMALLEST = 60 / 480  # of the picture's height
GAP_M = 0.5  # between the middles of two people or things
NEAREST_M = 0.9  # to the camera


def floor_camera(rng: np.random.Generator, size) -> Camera:
    """A camera 0.4 to 3.5 m above the floor, more or less level, of 30 to 75 degrees. size (W, H)
    px."""
    width, height = size
    focal = height * np.exp(rng.uniform(np.log(0.65), np.log(1.8)))
    above = rng.choice(
        [rng.uniform(0.4, 1.0), rng.uniform(1.0, 2.0), rng.uniform(2.0, 3.5)], p=[0.25, 0.55, 0.2]
    )
    horizon = rng.uniform(0.1, 0.6) if above > 1 else rng.uniform(0.3, 0.7)
    down = (0.5 - horizon) * height / focal
    eye = np.array([0, above, 0.0])
    R, t = look_at(eye, eye + [0, -down, -1], rng.normal(0, np.radians(3)))
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])

    return Camera(K, R, t, (width, height))


def crowd_heights(rng: np.random.Generator, count: int, height: int) -> np.ndarray:
    """(count,) px: how tall each person shall show; some crowds are all far away, some all near,
    most are mixed."""
    low = SMALLEST * height
    high = float(height)
    middle = rng.uniform(np.log(low), np.log(high))
    spread = rng.choice([0.15, 0.5, 1.0])

    return np.clip(np.exp(rng.normal(middle, spread, count)), low, high)


def place(rng: np.random.Generator, body, camera: Camera, shown_px: float, taken: list):
    """The Figure or Body moved on the floor to where it shows `shown_px` tall, clear of the spots
    `taken` [(x, z)], which grows.

    None where no such spot is in view: a size that does not fit into the view is drawn anew.
    """
    width, height = camera.size
    points = body.mesh.vertices_m if isinstance(body, Body) else body.joints_m
    middle = (points.min(0) + points.max(0)) / 2
    tall = max(np.ptp(points, axis=0).max(), 0.3)
    eye = -camera.R.T @ camera.t
    ahead = -1.0

    for attempt in range(40):
        if attempt % 8 == 7:
            shown_px = np.exp(rng.uniform(np.log(SMALLEST * height), np.log(height)))

        away = max(camera.K[0, 0] * tall / shown_px, NEAREST_M + tall / 4)
        aside = (rng.uniform(-0.03, 1.03) - 0.5) * width / camera.K[0, 0] * away
        spot = np.array([aside, 0, ahead * away])
        seen = camera.project(((spot + [0, middle[1], 0]) @ camera.R.T + camera.t)[None])[0]
        clear = all(np.hypot(spot[0] - x, spot[2] - z) > GAP_M for x, z in taken)

        if (
            clear
            and 0.03 * height < seen[1] < 0.97 * height
            and np.hypot(*(spot - eye)[[0, 2]]) > NEAREST_M
        ):
            taken.append((spot[0], spot[2]))
            return body.moved(spot - [middle[0], 0, middle[2]])

    return None
