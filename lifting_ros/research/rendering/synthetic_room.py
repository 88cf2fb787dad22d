# SPDX-License-Identifier: Apache-2.0
"""Rendered rooms behind people and things: floor, walls and ceiling in the perspective of the
camera, with doors, windows and pictures."""

from __future__ import annotations

import numpy as np

from lifting_ros.research.rendering.render import Light, Material, Mesh, Scene, render
from lifting_ros.research.rendering.render_textures import (
    fabric,
    pattern,
    printed,
    random_colour,
    waves,
)
from lifting_ros.research.rendering.synthetic_scene import Body, Camera


def room_picture(
    rng: np.random.Generator,
    camera: Camera,
    taken,
    photos=(),
) -> np.ndarray:
    """(H, W, 3) float32 in [0, 1]: a room seen by the camera. The places taken [(x, z)] are on its
    floor."""
    import cv2

    # Room
    spots = np.abs(np.array([*taken, (1.0, -3.0)]))
    wide, deep = spots.max(0) + rng.uniform(0.4, [3.0, 4.0])
    room = make_room(rng, wide, deep, camera, photos).seen_by(camera)

    # Light
    tint = 1 + rng.normal(0, 0.08, 3)
    share = rng.uniform(0.1, 0.5)
    exposure = rng.uniform(0.6, 1.3)
    toward = camera.R @ np.array([rng.normal(0, 0.6), rng.uniform(0.15, 0.6), 1.0])
    ambient = (1 - share) * exposure
    light = Light(
        toward=toward / np.linalg.norm(toward),
        up=camera.R @ [0.0, 1, 0],
        sun=share * exposure * tint,
        sky=ambient * tint,
        ground=ambient * rng.uniform(0.5, 1.0) * tint,
    )

    drawn = render(
        Scene(room.mesh),
        room.materials,
        light,
        camera.K,
        camera.size,
        samples=1,
    )
    image = drawn.colour + (1 - drawn.alpha[..., None]) * np.float32(0.8)
    return cv2.GaussianBlur(image, (0, 0), 0.6)


def make_room(
    rng,
    wide: float,
    deep: float,
    camera: Camera,
    photos,
) -> Body:
    """A room from -wide to wide m, `deep` m ahead, and open behind the camera.

    It has a floor, three walls, a ceiling, and up to five doors, windows and pictures; at times it
    is a yard without a ceiling and all of its walls.
    """
    above = float((-camera.R.T @ camera.t)[1])
    high = above + rng.uniform(0.6, 2.0)
    near = 2.0
    wall = _wall(rng)

    ahead = [0, 0, -(deep + near)]
    back = [0, 0, deep + near]
    right = [2 * wide, 0, 0]
    up = [0, high, 0]
    floor = _quad(rng, [-wide, 0, near], ahead, right, _floor(rng, photos))
    front_wall = _quad(rng, [-wide, 0, -deep], right, up, wall)
    left_wall = _quad(rng, [-wide, 0, near], ahead, up, _same_or_other(rng, wall))
    right_wall = _quad(rng, [wide, 0, -deep], back, up, _same_or_other(rng, wall))
    ceiling = _quad(rng, [-wide, high, -deep], right, back, _wall(rng))

    walls = [front_wall, left_wall, right_wall]
    parts = [floor, *walls, ceiling]
    if rng.random() < 0.2:
        count = rng.integers(1, 4)
        parts = [floor, *walls[:count]]

    for _ in range(rng.integers(0, 6)):
        parts.append(_on_wall(rng, wide, deep, high, photos))

    return _joined(parts)


def _same_or_other(rng, wall: Material) -> Material:
    """The material of the other walls, or one of its own."""
    if rng.random() < 0.7:
        return wall

    return _wall(rng)


def _on_wall(rng, wide, deep, high, photos):
    """A door, a window or a picture on one of the walls."""
    half_wide, half_high = rng.uniform(0.15, [0.9, 0.6])
    door = rng.random() < 0.25
    if door:
        half_wide = 0.45
        half_high = 1.0
        low = 0.0
    else:
        middle = rng.uniform(min(1.2, high / 2), max(high - half_high, 1.3))
        low = middle - half_high

    if len(photos) and not door:
        look = printed(photos[rng.integers(len(photos))], rng)
    else:
        look = _wall(rng)

    # On the front wall
    width = 2 * half_wide
    up = [0, 2 * half_high, 0]
    if rng.random() < 0.6:
        x = rng.uniform(-wide, wide - width)
        return _quad(rng, [x, low, 0.02 - deep], [width, 0, 0], up, look)

    # On a side wall
    z = -rng.uniform(0.5, max(deep - width, 1.0))
    if rng.choice([-1, 1]) < 0:
        return _quad(rng, [-wide + 0.02, low, z], [0, 0, -width], up, look)
    return _quad(rng, [wide - 0.02, low, z - width], [0, 0, width], up, look)


def _wall(rng):
    """A plain material; most walls are light."""
    darkness = (1 - random_colour(rng, 0.4)) * rng.uniform(0.2, 0.9)
    colour = (1 - darkness).astype(np.float32)
    amount = rng.uniform(0, 0.12)

    def albedo(rest):
        change = 2 * amount * waves(rest, 4.0)
        return colour * (1 - amount + change)

    return Material(albedo)


def _floor(rng, photos):
    kind = rng.choice(["stripes", "checks", "mottled", "cloth"])
    if kind == "cloth":
        return fabric(rng, photos)

    first = random_colour(rng, 0.5).astype(np.float32)
    factor = rng.uniform(0.5, 1.3)
    second = np.clip(first * factor, 0, 1).astype(np.float32)
    step = rng.uniform(0.1, 0.6)
    axis = rng.integers(2)

    albedo = pattern(kind, first, second, step, axis)
    return Material(albedo, gloss=rng.choice([0, 0.1]))


def _quad(rng, corner, along, up, material):
    """A rectangle with the sides `along` and `up` (3,), and the normal along x up.

    Returns vertices, normals and rest positions (4, 3), and the material. Rest positions are in
    metres along the sides, from a random place.
    """
    corner = np.asarray(corner, float)
    along = np.asarray(along, float)
    up = np.asarray(up, float)
    shares = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
    vertices = corner + shares[:, :1] * along + shares[:, 1:] * up

    normal = np.cross(along, up)
    normals = np.tile(normal / np.linalg.norm(normal), (4, 1))

    sides = [np.linalg.norm(along), np.linalg.norm(up)]
    flat = np.column_stack([shares * sides, np.zeros(4)])
    rest = flat + rng.uniform(0, 5, 3)
    return vertices, normals, rest, material


def _joined(parts) -> Body:
    """One thing of rectangles, see `_quad`."""
    vertices, normals, rest, materials = zip(*parts)
    count = len(parts)
    two = np.array([[0, 1, 2], [0, 2, 3]])
    faces = np.concatenate([two + 4 * number for number in range(count)])

    mesh = Mesh(
        vertices_m=np.concatenate(vertices).astype(np.float32),
        normals=np.concatenate(normals).astype(np.float32),
        rest_m=np.concatenate(rest).astype(np.float32),
        faces=faces,
        material=np.repeat(np.arange(count), 2),
        person=np.full(len(faces), -1),
    )
    return Body(mesh, materials, np.zeros((17, 3)))
