# SPDX-License-Identifier: Apache-2.0
"""Rendered things that are nobody: furniture, stacks, posts, plants, and clothes that hang without
a person in them.

Every thing is a `Body` without joints that stands on y = 0 about the origin of the world's frame
(metres, y up); person -1.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lifting_ros.research.rendering.body_pose import pose_body, turn
from lifting_ros.research.rendering.body_wear import garments
from lifting_ros.research.rendering.render import Material, Mesh
from lifting_ros.research.rendering.render_textures import fabric, random_colour, waves
from lifting_ros.research.rendering.synthetic_dress import Outfit
from lifting_ros.research.rendering.synthetic_scene import Body, join

SIDES = 20
RINGS = 10


def join_parts(parts) -> Body:
    """One thing of parts (vertices (V, 3), normals (V, 3), faces (F, 3), material)."""
    start = np.cumsum([0] + [len(part[0]) for part in parts[:-1]])
    vertices = np.concatenate([part[0] for part in parts]).astype(np.float32)
    normals = np.concatenate([part[1] for part in parts]).astype(np.float32)
    faces = np.concatenate([part[2] + first for part, first in zip(parts, start, strict=True)])
    material = np.repeat(np.arange(len(parts)), [len(part[2]) for part in parts])
    mesh = Mesh(vertices, normals, vertices, faces, material, np.full(len(faces), -1))

    return Body(mesh, tuple(part[3] for part in parts), np.zeros((17, 3)))


def box(low, high, material):
    """An upright box between two corners (3,)."""
    low = np.asarray(low, float)
    high = np.asarray(high, float)
    vertices = []
    normals = []
    faces = []

    for axis in range(3):
        others = [k for k in range(3) if k != axis]
        for side in (0, 1):
            corner = np.tile((low, high)[side], (4, 1))
            for row, (a, b) in enumerate(((0, 0), (1, 0), (1, 1), (0, 1))):
                corner[row, others] = (low, high)[a][others[0]], (low, high)[b][others[1]]

            faces.append(np.array([[0, 1, 2], [0, 2, 3]]) + 4 * len(vertices))
            vertices.append(corner)
            normals.append(np.tile(np.eye(3)[axis] * (2 * side - 1), (4, 1)))

    return np.concatenate(vertices), np.concatenate(normals), np.concatenate(faces), material


def ball(centre, radii, material, power: float = 1.0):
    """An ellipsoid; a power below 1 makes it boxier, like a cushion."""
    height = np.linspace(-np.pi / 2, np.pi / 2, RINGS + 1)
    around = np.linspace(0, 2 * np.pi, SIDES + 1)
    up, across = np.meshgrid(height, around, indexing="ij")
    x = np.cos(up) * np.cos(across)
    y = np.sin(up)
    z = np.cos(up) * np.sin(across)
    way = np.stack([x, y, z], -1).reshape(-1, 3)  # (R S, 3)

    shape = np.sign(way) * np.abs(way) ** power
    normals = np.sign(way) * np.abs(way) ** (2 - power) / radii
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)

    return np.asarray(centre) + shape * radii, normals, _grid(RINGS, SIDES), material


def post(foot, radius: float, height: float, material, top: float | None = None):
    """An upright cylinder, or a cone cut off at radius `top`, with a lid."""
    top = radius if top is None else top
    around = np.linspace(0, 2 * np.pi, SIDES + 1)
    ring = np.stack([np.cos(around), np.zeros(SIDES + 1), np.sin(around)], 1)
    lift = np.array([0, height, 0])
    vertices = np.concatenate(
        [ring * radius, ring * top + lift, ring * top + lift, np.zeros((SIDES + 1, 3)) + lift]
    )
    slope = ring + [0, (radius - top) / height, 0]
    slope /= np.linalg.norm(slope, axis=1, keepdims=True)
    normals = np.concatenate([slope, slope, *[np.tile([0.0, 1, 0], (SIDES + 1, 1))] * 2])
    side = _grid(1, SIDES)

    return (
        np.asarray(foot) + vertices,
        normals,
        np.concatenate([side, side + 2 * (SIDES + 1)]),
        material,
    )


def _grid(rows: int, columns: int):
    corner = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)).reshape(-1)
    a = corner
    b = corner + 1
    c = corner + columns + 2
    d = corner + columns + 1

    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


def paint(rng: np.random.Generator, photos=()) -> Material:
    """A surface of things: painted and worn, or covered with cloth."""
    if rng.random() < 0.4:
        return fabric(rng, photos)

    colour = random_colour(rng).astype(np.float32)
    amount = rng.uniform(0.02, 0.3)
    fine = rng.uniform(8, 60)

    return Material(
        lambda rest: colour * (1 - amount + 2 * amount * waves(rest, fine)),
        gloss=rng.choice([0, 0.05, 0.3]),
    )


def stack(rng, photos) -> Body:
    """One to four boxes on each other, from a crate to a cupboard."""
    parts = []
    floor = 0.0
    wide = rng.uniform(0.15, 0.6)
    deep = rng.uniform(0.15, 0.5)

    for _ in range(rng.integers(1, 5)):
        tall = rng.uniform(0.15, 0.8)
        shift = rng.normal(0, 0.04, 2)
        low = [shift[0] - wide, floor, shift[1] - deep]
        high = [shift[0] + wide, floor + tall, shift[1] + deep]
        parts.append(box(low, high, paint(rng, photos)))
        floor += tall
        wide = wide * rng.uniform(0.5, 1.05)
        deep = deep * rng.uniform(0.5, 1.05)

    return join_parts(parts)


def cushions(rng, photos) -> Body:
    """A pile of cloth-covered cushions, bags and balls; sometimes as tall and slim as a person."""
    parts = []
    floor = 0.0
    wide = rng.uniform(0.15, 0.4)

    for _ in range(rng.integers(1, 7)):
        half = rng.uniform(0.08, 0.3)
        radii = np.array([wide * rng.uniform(0.5, 1.1), half, wide * rng.uniform(0.4, 1.0)])
        parts.append(
            ball(
                [rng.normal(0, 0.05), floor + half, rng.normal(0, 0.05)],
                radii,
                fabric(rng, photos),
                rng.uniform(0.6, 1.0),
            )
        )
        floor += 1.8 * half

    return join_parts(parts)


def pole(rng, photos) -> Body:
    """A post, at times with a sign, a lamp or a parasol at the top."""
    height = rng.uniform(0.8, 3.2)
    radius = rng.uniform(0.015, 0.15)
    look = paint(rng, photos)
    parts = [post([0, 0, 0], radius, height, look)]
    kind = rng.integers(4)
    wide = rng.uniform(0.1, 0.5)

    if kind == 1:
        parts.append(ball([0, height, 0], np.array([0.4, 0.5, 0.4]) * wide, paint(rng, photos)))
    elif kind == 2:
        parts.append(
            box([-wide, height - wide, -0.02], [wide, height + wide, 0.02], paint(rng, photos))
        )
    elif kind == 3:
        parts.append(
            post([0, height - 0.4 * wide, 0], 1.5 * wide, wide, paint(rng, photos), top=0.1)
        )

    return join_parts(parts)


def furniture(rng, photos) -> Body:
    """A table, bench, stool or chair of a slab, legs and at times a back."""
    wide = rng.uniform(0.2, 0.9)
    deep = rng.uniform(0.2, 0.45)
    high = rng.uniform(0.4, 1.1)
    leg = rng.uniform(0.015, 0.05)
    look = paint(rng, photos)
    wood = paint(rng)
    parts = [box([-wide, high - 0.05, -deep], [wide, high, deep], look)]
    parts += [
        box([x - leg, 0, z - leg], [x + leg, high - 0.05, z + leg], wood)
        for x in (leg - wide, wide - leg)
        for z in (leg - deep, deep - leg)
    ]

    if high < 0.6 and rng.random() < 0.7:
        parts.append(
            box([-wide, high, -deep], [wide, high + rng.uniform(0.3, 0.6), 0.05 - deep], look)
        )

    return join_parts(parts)


def plant(rng, photos) -> Body:
    """A pot with a bush."""
    pot = rng.uniform(0.1, 0.3)
    tall = rng.uniform(0.2, 0.5)
    parts = [post([0, 0, 0], 0.7 * pot, tall, paint(rng, photos), top=pot)]
    green = np.array(
        [rng.uniform(0.05, 0.4), rng.uniform(0.2, 0.5), rng.uniform(0.05, 0.2)], np.float32
    )
    leaf = Material(
        lambda rest: green * (0.3 + 2.8 * waves(rest, 63.0) * waves(rest, 151.0)), bump=0.9
    )

    for _ in range(rng.integers(2, 8)):
        centre = [rng.normal(0, 0.15), tall + rng.uniform(0.05, 1.0), rng.normal(0, 0.15)]
        parts.append(ball(centre, rng.uniform(0.1, 0.3, 3), leaf, rng.uniform(0.7, 1.2)))

    return join_parts(parts)


def hung_clothes(rng, outfit: Outfit) -> Body:
    """One or two garments of an outfit on a rail, pressed flat, without a body in them."""
    layers = garments(outfit.layers)
    pick = [layers[k] for k in rng.permutation(len(layers))[: rng.integers(1, 3)]]
    posed = pose_body(outfit.model, outfit.shape, hanging_pose(rng))
    parts = []

    for number, layer in enumerate(pick):
        mesh = replace(outfit, layers=(layer,), _cuts={}).body(posed).mesh
        flat = mesh.vertices_m * np.float32([1, 1, rng.uniform(0.25, 0.8)])
        flat[:, 1] += rng.uniform(1.2, 2.1) - flat[:, 1].max()
        flat[:, 0] += 0.7 * number
        parts.append((flat, mesh.normals, mesh.faces, layer.material, mesh.rest_m))

    top = max(part[0][:, 1].max() for part in parts)
    rail = join_parts(
        [post([x, 0, 0], 0.02, top + 0.05, paint(rng)) for x in (-0.45, 0.7 * len(pick) - 0.25)]
        + [
            box(
                [-0.45, top + 0.02, -0.015], [0.7 * len(pick) - 0.25, top + 0.05, 0.015], paint(rng)
            )
        ]
    )
    clothes = join_parts([part[:4] for part in parts])
    mesh = replace(
        clothes.mesh, rest_m=np.concatenate([part[4] for part in parts]).astype(np.float32)
    )

    return (
        both(replace(clothes, mesh=mesh), rail)
        if rng.random() < 0.6
        else replace(clothes, mesh=mesh)
    )


def both(first: Body, second: Body) -> Body:
    """Two things as one."""
    mesh, materials = join([first, second])
    return Body(mesh, tuple(materials), first.joints_m)


def hanging_pose(rng) -> np.ndarray:
    """(17, 3) somebody upright with the arms a little or far off the sides: how clothes hang."""
    arm = rng.uniform(0.1, 1.3)
    way = np.array([np.sin(arm), -np.cos(arm), 0.0])
    leg = np.array([0.04, -1.0, 0.0])
    pose = np.zeros((17, 3))

    for hip, shoulder, side in ((1, 14, -1), (4, 11, 1)):
        mirror = np.array([side, 1, 1])
        pose[hip : hip + 3] = (
            np.array([0.1 * side, 0, 0]) + np.arange(3)[:, None] * 0.42 * leg * mirror
        )
        pose[shoulder : shoulder + 3] = (
            np.array([0.18 * side, 0.48, 0]) + np.arange(3)[:, None] * 0.27 * way * mirror
        )

    pose[[7, 8, 9, 10], 1] = 0.25, 0.5, 0.6, 0.75

    return pose + [0, 0.9, 0]


KINDS = (stack, cushions, pole, furniture, plant)


def sample_thing(rng: np.random.Generator, photos=()) -> Body:
    """Any of the things, turned at random."""
    return turned_body(KINDS[rng.integers(len(KINDS))](rng, photos), rng.uniform(0, 2 * np.pi))


def turned_body(body: Body, angle: float) -> Body:
    """The thing turned by `angle` radians about the vertical."""
    R = turn([0, 1, 0], angle)
    mesh = replace(
        body.mesh,
        vertices_m=(body.mesh.vertices_m @ R.T).astype(np.float32),
        normals=(body.mesh.normals @ R.T).astype(np.float32),
    )

    return replace(body, mesh=mesh)
