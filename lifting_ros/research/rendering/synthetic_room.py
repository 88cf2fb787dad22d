# SPDX-License-Identifier: Apache-2.0
"""Rendered rooms behind people and things: a floor with the camera's own horizon, walls, a ceiling,
doors, windows and pictures."""

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


def room_picture(rng: np.random.Generator, camera: Camera, taken, photos=()) -> np.ndarray:
    """(H, W, 3) float32 in [0, 1]: a room that leaves place for the spots taken [(x, z)] on its
    floor, seen by the camera."""
    import cv2

    spots = np.abs(np.array([*taken, (1.0, -3.0)]))
    wide, deep = spots.max(0) + rng.uniform(0.4, [3.0, 4.0])
    room = make_room(rng, wide, deep, camera, photos).seen_by(camera)
    tint = 1 + rng.normal(0, 0.08, 3)
    share = rng.uniform(0.1, 0.5)
    exposure = rng.uniform(0.6, 1.3)
    toward = camera.R @ np.array([rng.normal(0, 0.6), rng.uniform(0.15, 0.6), 1.0])
    light = Light(
        toward / np.linalg.norm(toward),
        camera.R @ [0.0, 1, 0],
        share * exposure * tint,
        (1 - share) * exposure * tint,
        (1 - share) * exposure * rng.uniform(0.5, 1.0) * tint,
    )
    drawn = render(Scene(room.mesh), room.materials, light, camera.K, camera.size, samples=1)
    image = drawn.colour + (1 - drawn.alpha[..., None]) * np.float32(0.8)

    return cv2.GaussianBlur(image, (0, 0), 0.6)


def make_room(rng, wide: float, deep: float, camera: Camera, photos) -> Body:
    """Floor, back wall, side walls and at times a ceiling, `wide` m to both sides and `deep` m
    ahead; open behind the camera."""
    above = float((-camera.R.T @ camera.t)[1])
    high = above + rng.uniform(0.6, 2.0)
    near = 2.0
    wall = _wall(rng)
    long = deep + near
    parts = [
        _quad(rng, [-wide, 0, near], [0, 0, -long], [2 * wide, 0, 0], _floor(rng, photos)),
        _quad(rng, [-wide, 0, -deep], [2 * wide, 0, 0], [0, high, 0], wall),
        _quad(
            rng,
            [-wide, 0, near],
            [0, 0, -long],
            [0, high, 0],
            wall if rng.random() < 0.7 else _wall(rng),
        ),
        _quad(
            rng,
            [wide, 0, -deep],
            [0, 0, long],
            [0, high, 0],
            wall if rng.random() < 0.7 else _wall(rng),
        ),
        _quad(rng, [-wide, high, -deep], [2 * wide, 0, 0], [0, 0, long], _wall(rng)),
    ]

    if rng.random() < 0.2:
        parts = parts[:1] + parts[1:4][: rng.integers(1, 4)]  # a yard

    for _ in range(rng.integers(0, 6)):
        parts.append(_on_wall(rng, wide, deep, high, photos))

    return _joined(parts)


def _on_wall(rng, wide, deep, high, photos):
    """A door, a window or a picture on one of the walls."""
    half = rng.uniform(0.15, [0.9, 0.6])
    door = rng.random() < 0.25
    middle = 1.0 if door else rng.uniform(min(1.2, high / 2), max(high - half[1], 1.3))
    half = np.array([0.45, 1.0]) if door else half
    look = (
        printed(photos[rng.integers(len(photos))], rng) if len(photos) and not door else _wall(rng)
    )
    low = middle - half[1]

    if rng.random() < 0.6:
        at = rng.uniform(-wide, wide - 2 * half[0])
        return _quad(rng, [at, low, 0.02 - deep], [2 * half[0], 0, 0], [0, 2 * half[1], 0], look)

    at = -rng.uniform(0.5, max(deep - 2 * half[0], 1.0))
    side = rng.choice([-1, 1])
    start, along = (
        ([-wide + 0.02, low, at], -2 * half[0])
        if side < 0
        else ([wide - 0.02, low, at - 2 * half[0]], 2 * half[0])
    )

    return _quad(rng, start, [0, 0, along], [0, 2 * half[1], 0], look)


def _wall(rng):
    # most walls are light
    colour = (1 - (1 - random_colour(rng, 0.4)) * rng.uniform(0.2, 0.9)).astype(np.float32)
    amount = rng.uniform(0, 0.12)
    return Material(lambda rest: colour * (1 - amount + 2 * amount * waves(rest, 4.0)))


def _floor(rng, photos):
    kind = rng.choice(["stripes", "checks", "mottled", "cloth"])
    if kind == "cloth":
        return fabric(rng, photos)

    first = random_colour(rng, 0.5).astype(np.float32)
    second = np.clip(first * rng.uniform(0.5, 1.3), 0, 1).astype(np.float32)

    return Material(
        pattern(kind, first, second, rng.uniform(0.1, 0.6), rng.integers(2)),
        gloss=rng.choice([0, 0.1]),
    )


def _quad(rng, corner, along, up, material):
    """A rectangle: textures run in metres along its sides from a random place; its normal is along
    x up."""
    corner, along, up = (np.asarray(value, float) for value in (corner, along, up))
    shares = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
    normal = np.cross(along, up)
    rest = np.column_stack(
        [shares * [np.linalg.norm(along), np.linalg.norm(up)], np.zeros(4)]
    ) + rng.uniform(0, 5, 3)

    return (
        corner + shares[:, :1] * along + shares[:, 1:] * up,
        np.tile(normal / np.linalg.norm(normal), (4, 1)),
        rest,
        material,
    )


def _joined(parts) -> Body:
    vertices, normals, rest = (
        np.concatenate([part[k] for part in parts]).astype(np.float32) for k in range(3)
    )
    faces = np.concatenate([np.array([[0, 1, 2], [0, 2, 3]]) + 4 * k for k in range(len(parts))])
    mesh = Mesh(
        vertices, normals, rest, faces, np.repeat(np.arange(len(parts)), 2), np.full(len(faces), -1)
    )

    return Body(mesh, tuple(part[3] for part in parts), np.zeros((17, 3)))
