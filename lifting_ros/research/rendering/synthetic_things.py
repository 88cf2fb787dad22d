# SPDX-License-Identifier: Apache-2.0
"""Rendered things: furniture, stacks, posts, plants, and clothes on a rail.

Each thing is a `Body` without joints, with the number -1 of a person. It stands on y = 0 about the
origin of the world's frame (metres, y up).
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from lifting_ros.research.rendering.body_pose import pose_body, turn
from lifting_ros.research.rendering.body_wear import garments
from lifting_ros.research.rendering.render import Material, Mesh
from lifting_ros.research.rendering.render_textures import fabric, random_colour, waves
from lifting_ros.research.rendering.synthetic_dress import Outfit
from lifting_ros.research.rendering.synthetic_scene import Body, join

SIDES = 20
"""Sides of round parts."""
RINGS = 10
"""Rings of triangles of a ball."""

_RAIL_START_M = -0.45
"""x of the left end of the rail."""

_HANGER_GAP_M = 0.7
"""Distance between two garments."""


class Part(NamedTuple):
    """Triangles of one material."""

    vertices: np.ndarray
    """(V, 3) metres."""
    normals: np.ndarray
    """(V, 3) unit length."""
    faces: np.ndarray
    """(F, 3)."""
    material: Material


def join_parts(parts) -> Body:
    """One thing of parts (each a Part)."""
    faces = []
    count = 0
    for part in parts:
        faces.append(part.faces + count)
        count += len(part.vertices)

    vertices = np.concatenate([part.vertices for part in parts]).astype(np.float32)
    all_faces = np.concatenate(faces).astype(np.int64)
    mesh = Mesh(
        vertices_m=vertices,
        normals=np.concatenate([part.normals for part in parts]).astype(np.float32),
        rest_m=vertices,
        faces=all_faces,
        material=np.repeat(np.arange(len(parts)), [len(part.faces) for part in parts]),
        person=np.full(len(all_faces), -1),
    )
    return Body(mesh, tuple(part.material for part in parts), np.zeros((17, 3)))


def box(low, high, material) -> Part:
    """An upright box between two corners (3,)."""
    corners = np.array([low, high], float)
    vertices = []
    normals = []
    faces = []
    for axis in range(3):
        first, second = (other for other in range(3) if other != axis)
        for side in (0, 1):
            quad = np.tile(corners[side], (4, 1))
            quad[:, first] = corners[[0, 1, 1, 0], first]
            quad[:, second] = corners[[0, 0, 1, 1], second]
            normal = np.eye(3)[axis] * (2 * side - 1)

            faces.append(np.array([[0, 1, 2], [0, 2, 3]]) + 4 * len(vertices))
            vertices.append(quad)
            normals.append(np.tile(normal, (4, 1)))

    return Part(np.concatenate(vertices), np.concatenate(normals), np.concatenate(faces), material)


def ball(
    centre,
    radii,
    material,
    power: float = 1.0,
) -> Part:
    """An ellipsoid; with a power below 1 it is boxier, like a cushion."""
    height = np.linspace(-np.pi / 2, np.pi / 2, RINGS + 1)
    around = np.linspace(0, 2 * np.pi, SIDES + 1)
    up, across = np.meshgrid(height, around, indexing="ij")
    x = np.cos(up) * np.cos(across)
    y = np.sin(up)
    z = np.cos(up) * np.sin(across)
    way = np.stack([x, y, z], -1).reshape(-1, 3)
    sign = np.sign(way)
    amount = np.abs(way)

    vertices = np.asarray(centre) + sign * amount**power * radii
    normals = sign * amount ** (2 - power) / radii
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals /= np.maximum(length, 1e-9)
    return Part(vertices, normals, _grid(RINGS, SIDES), material)


def post(
    foot,
    radius: float,
    height: float,
    material,
    top: float | None = None,
) -> Part:
    """An upright cylinder with a lid, or a cone cut off at the radius `top`."""
    top = radius if top is None else top
    count = SIDES + 1
    around = np.linspace(0, 2 * np.pi, count)
    ring = np.stack([np.cos(around), np.zeros(count), np.sin(around)], 1)

    # Side and lid do not share vertices: their normals differ
    lower = ring * radius
    upper = ring * top + np.array([0, height, 0])
    middle = np.tile([0.0, height, 0], (count, 1))
    vertices = np.concatenate([lower, upper, upper, middle])

    slope = ring + [0, (radius - top) / height, 0]
    slope /= np.linalg.norm(slope, axis=1, keepdims=True)
    upwards = np.tile([0.0, 1, 0], (count, 1))
    normals = np.concatenate([slope, slope, upwards, upwards])

    side = _grid(1, SIDES)
    faces = np.concatenate([side, side + 2 * count])
    return Part(np.asarray(foot) + vertices, normals, faces, material)


def _grid(rows: int, columns: int):
    """Triangles (2 rows columns, 3) of a grid of vertices, row by row."""
    starts = np.arange(rows)[:, None] * (columns + 1)
    a = (starts + np.arange(columns)).reshape(-1)
    b = a + 1
    c = a + columns + 2
    d = a + columns + 1
    lower = np.stack([a, b, c], 1)
    upper = np.stack([a, c, d], 1)
    return np.concatenate([lower, upper])


def paint(rng: np.random.Generator, photos=()) -> Material:
    """A surface of things: painted and worn, or covered with cloth."""
    if rng.random() < 0.4:
        return fabric(rng, photos)

    colour = random_colour(rng).astype(np.float32)
    amount = rng.uniform(0.02, 0.3)
    fine = rng.uniform(8, 60)

    def albedo(rest):
        change = 2 * amount * waves(rest, fine)
        return colour * (1 - amount + change)

    return Material(albedo, gloss=rng.choice([0, 0.05, 0.3]))


def stack(rng, photos) -> Body:
    """One to four boxes on top of each other, from a crate to a cupboard."""
    parts = []
    floor = 0.0
    wide = rng.uniform(0.15, 0.6)
    deep = rng.uniform(0.15, 0.5)

    for _ in range(rng.integers(1, 5)):
        tall = rng.uniform(0.15, 0.8)
        x, z = rng.normal(0, 0.04, 2)
        low = [x - wide, floor, z - deep]
        high = [x + wide, floor + tall, z + deep]
        parts.append(box(low, high, paint(rng, photos)))

        floor += tall
        wide = wide * rng.uniform(0.5, 1.05)
        deep = deep * rng.uniform(0.5, 1.05)

    return join_parts(parts)


def cushions(rng, photos) -> Body:
    """A pile of cushions, bags and balls covered with cloth, at times as tall and slim as a
    person."""
    parts = []
    floor = 0.0
    wide = rng.uniform(0.15, 0.4)

    for _ in range(rng.integers(1, 7)):
        half = rng.uniform(0.08, 0.3)
        radii = np.array([wide * rng.uniform(0.5, 1.1), half, wide * rng.uniform(0.4, 1.0)])
        centre = [rng.normal(0, 0.05), floor + half, rng.normal(0, 0.05)]
        cloth = fabric(rng, photos)
        parts.append(ball(centre, radii, cloth, rng.uniform(0.6, 1.0)))
        floor += 1.8 * half

    return join_parts(parts)


def pole(rng, photos) -> Body:
    """A post, at times with a lamp, a sign or a parasol at the top."""
    height = rng.uniform(0.8, 3.2)
    radius = rng.uniform(0.015, 0.15)
    parts = [post([0, 0, 0], radius, height, paint(rng, photos))]
    kind = rng.integers(4)
    wide = rng.uniform(0.1, 0.5)

    if kind == 1:
        radii = np.array([0.4, 0.5, 0.4]) * wide
        parts.append(ball([0, height, 0], radii, paint(rng, photos)))
    elif kind == 2:
        low = [-wide, height - wide, -0.02]
        high = [wide, height + wide, 0.02]
        parts.append(box(low, high, paint(rng, photos)))
    elif kind == 3:
        foot = [0, height - 0.4 * wide, 0]
        parts.append(post(foot, 1.5 * wide, wide, paint(rng, photos), top=0.1))

    return join_parts(parts)


def furniture(rng, photos) -> Body:
    """A table, bench, stool or chair: a top, four legs and at times a back."""
    wide = rng.uniform(0.2, 0.9)
    deep = rng.uniform(0.2, 0.45)
    high = rng.uniform(0.4, 1.1)
    leg = rng.uniform(0.015, 0.05)
    look = paint(rng, photos)
    wood = paint(rng)

    parts = [box([-wide, high - 0.05, -deep], [wide, high, deep], look)]
    for x in (leg - wide, wide - leg):
        for z in (leg - deep, deep - leg):
            parts.append(box([x - leg, 0, z - leg], [x + leg, high - 0.05, z + leg], wood))

    if high < 0.6 and rng.random() < 0.7:
        top = high + rng.uniform(0.3, 0.6)
        parts.append(box([-wide, high, -deep], [wide, top, 0.05 - deep], look))

    return join_parts(parts)


def plant(rng, photos) -> Body:
    """A bush in a pot."""
    wide = rng.uniform(0.1, 0.3)
    tall = rng.uniform(0.2, 0.5)
    pot = post([0, 0, 0], 0.7 * wide, tall, paint(rng, photos), top=wide)

    red = rng.uniform(0.05, 0.4)
    green = rng.uniform(0.2, 0.5)
    blue = rng.uniform(0.05, 0.2)
    colour = np.array([red, green, blue], np.float32)

    def albedo(rest):
        return colour * (0.3 + 2.8 * waves(rest, 63.0) * waves(rest, 151.0))

    leaves = Material(albedo, bump=0.9)
    parts = [pot]
    for _ in range(rng.integers(2, 8)):
        centre = [rng.normal(0, 0.15), tall + rng.uniform(0.05, 1.0), rng.normal(0, 0.15)]
        radii = rng.uniform(0.1, 0.3, 3)
        parts.append(ball(centre, radii, leaves, rng.uniform(0.7, 1.2)))

    return join_parts(parts)


def hung_clothes(rng, outfit: Outfit) -> Body:
    """One or two garments of an outfit, flat as if nobody wears them, at times on a rail."""
    layers = garments(outfit.layers)
    order = rng.permutation(len(layers))
    chosen = [layers[number] for number in order[: rng.integers(1, 3)]]
    posed = pose_body(outfit.model, outfit.shape, hanging_pose(rng))

    # Clothes
    parts = []
    rest = []
    for number, layer in enumerate(chosen):
        mesh = replace(outfit, layers=(layer,), _cuts={}).body(posed).mesh
        flat = mesh.vertices_m * np.float32([1, 1, rng.uniform(0.25, 0.8)])
        flat[:, 1] += rng.uniform(1.2, 2.1) - flat[:, 1].max()
        flat[:, 0] += _HANGER_GAP_M * number
        parts.append(Part(flat, mesh.normals, mesh.faces, layer.material))
        rest.append(mesh.rest_m)

    clothes = join_parts(parts)
    textured = replace(clothes.mesh, rest_m=np.concatenate(rest).astype(np.float32))
    clothes = replace(clothes, mesh=textured)

    # Rail: two posts and a bar
    top = max(part.vertices[:, 1].max() for part in parts)
    end = _HANGER_GAP_M * len(chosen) - 0.25
    posts = [post([x, 0, 0], 0.02, top + 0.05, paint(rng)) for x in (_RAIL_START_M, end)]
    low = [_RAIL_START_M, top + 0.02, -0.015]
    high = [end, top + 0.05, 0.015]
    rail = join_parts([*posts, box(low, high, paint(rng))])

    if rng.random() < 0.6:
        return both(clothes, rail)

    return clothes


def both(first: Body, second: Body) -> Body:
    """Two things as one."""
    mesh, materials = join([first, second])
    return Body(mesh, tuple(materials), first.joints_m)


def hanging_pose(rng) -> np.ndarray:
    """(17, 3) an upright person whose arms hang down or are up to 75 degrees off the sides."""
    angle = rng.uniform(0.1, 1.3)
    arm = np.array([np.sin(angle), -np.cos(angle), 0.0])
    leg = np.array([0.04, -1.0, 0.0])
    pose = np.zeros((17, 3))

    for hip, shoulder, side in ((1, 14, -1), (4, 11, 1)):
        mirror = np.array([side, 1, 1])
        steps = np.arange(3)[:, None]
        pose[hip : hip + 3] = np.array([0.1 * side, 0, 0]) + steps * 0.42 * leg * mirror
        pose[shoulder : shoulder + 3] = (
            np.array([0.18 * side, 0.48, 0]) + steps * 0.27 * arm * mirror
        )

    pose[[7, 8, 9, 10], 1] = [0.25, 0.5, 0.6, 0.75]
    return pose + [0, 0.9, 0]


KINDS = (stack, cushions, pole, furniture, plant)


def sample_thing(rng: np.random.Generator, photos=()) -> Body:
    """One of the things, turned at random."""
    make = KINDS[rng.integers(len(KINDS))]
    thing = make(rng, photos)
    return turned_body(thing, rng.uniform(0, 2 * np.pi))


def turned_body(body: Body, angle: float) -> Body:
    """The thing turned by `angle` radians about the vertical."""
    R = turn([0, 1, 0], angle)
    vertices = body.mesh.vertices_m @ R.T
    normals = body.mesh.normals @ R.T

    mesh = replace(
        body.mesh,
        vertices_m=vertices.astype(np.float32),
        normals=normals.astype(np.float32),
    )
    return replace(body, mesh=mesh)
