# SPDX-License-Identifier: Apache-2.0
"""Whole pictures: a camera above a floor, and places on the floor at which people and things appear
at a given height.

World: metres, y up, floor at y = 0, the camera above the origin. `synthetic_scene` has the camera's
frame.
"""

from __future__ import annotations

import numpy as np

from lifting_ros.research.rendering.synthetic_scene import (
    Body,
    Camera,
    camera_matrix,
    look_at,
)

SMALLEST = 60 / 480
"""Least height of a person, divided by the height of the picture."""
GAP_M = 0.5
"""Least distance between the middles of two people or things."""
NEAREST_M = 0.9
"""Least distance from the camera."""


def floor_camera(rng: np.random.Generator, size) -> Camera:
    """A nearly level camera 0.4 to 3.5 m above the floor with a vertical field of view of 30 to 75
    degrees. size (W, H) px."""
    width, height = size
    focal = height * np.exp(rng.uniform(np.log(0.65), np.log(1.8)))

    low = rng.uniform(0.4, 1.0)
    middle = rng.uniform(1.0, 2.0)
    high = rng.uniform(2.0, 3.5)
    above = rng.choice([low, middle, high], p=[0.25, 0.55, 0.2])

    # A high camera looks down
    horizon = rng.uniform(0.1, 0.6) if above > 1 else rng.uniform(0.3, 0.7)
    down = (0.5 - horizon) * height / focal
    eye = np.array([0, above, 0.0])
    roll = rng.normal(0, np.radians(3))
    R, t = look_at(eye, eye + [0, -down, -1], roll)
    return Camera(camera_matrix(focal, size), R, t, (width, height))


def crowd_heights(
    rng: np.random.Generator,
    count: int,
    height: int,
) -> np.ndarray:
    """(count,) heights of the people in a picture of `height` px, px: in some crowds all are small,
    in some all are large, most are mixed."""
    low = SMALLEST * height
    high = float(height)
    middle = rng.uniform(np.log(low), np.log(high))
    spread = rng.choice([0.15, 0.5, 1.0])

    heights = np.exp(rng.normal(middle, spread, count))
    return np.clip(heights, low, high)


def place(
    rng: np.random.Generator,
    body,
    camera: Camera,
    shown_px: float,
    taken: list,
):
    """The Figure or Body moved to a place on the floor where it is `shown_px` tall in the picture;
    None where no such place is found.

    taken: places [(x, z)] to keep away from; the new one is added. Every eighth attempt draws
    another height.
    """
    height = camera.size[1]
    points = body.mesh.vertices_m if isinstance(body, Body) else body.joints_m
    middle = (points.min(0) + points.max(0)) / 2
    tall = max(np.ptp(points, axis=0).max(), 0.3)
    eye = -camera.R.T @ camera.t

    for attempt in range(40):
        if attempt % 8 == 7:
            shown_px = np.exp(rng.uniform(np.log(SMALLEST * height), np.log(height)))

        spot = _draw_spot(rng, camera, tall, shown_px)
        centre = spot + [0, middle[1], 0]
        row = camera.project((centre @ camera.R.T + camera.t)[None])[0, 1]
        in_view = 0.03 * height < row < 0.97 * height
        distance = np.hypot(spot[0] - eye[0], spot[2] - eye[2])
        if in_view and distance > NEAREST_M and _is_clear(spot, taken):
            taken.append((spot[0], spot[2]))
            return body.moved(spot - [middle[0], 0, middle[2]])

    return None


def _draw_spot(rng, camera: Camera, tall: float, shown_px: float) -> np.ndarray:
    """A place (3,) on the floor ahead at which something `tall` m is `shown_px` px tall."""
    focal = camera.K[0, 0]
    away = max(focal * tall / shown_px, NEAREST_M + tall / 4)
    share = rng.uniform(-0.03, 1.03)  # of the picture's width, from the left
    aside = (share - 0.5) * camera.size[0] / focal * away
    return np.array([aside, 0, -away])


def _is_clear(spot, taken: list) -> bool:
    """Whether a place (3,) is more than GAP_M from everybody and everything."""
    for x, z in taken:
        gap = np.hypot(spot[0] - x, spot[2] - z)
        if gap <= GAP_M:
            return False

    return True
