# SPDX-License-Identifier: Apache-2.0
"""A small ray caster for posed bodies: Embree (pip package `embreex`) finds the surfaces, compiled
loops shade them.

It needs no display, no GPU and no OpenGL. Everything is in the camera's optical frame: x right, y
down, z forward, metres.
"""

from dataclasses import dataclass, field

import numpy as np

from lifting_ros.research.rendering.render_errors import RendererMissingError
from lifting_ros.research.rendering.render_kernels import (
    covered_pixels,
    lighting,
    pooled,
    rays_through,
    sphere_colours,
    surfaces,
)

SHADOW_OFFSET_M = 0.004


@dataclass(frozen=True)
class Material:
    """How a surface answers light."""

    albedo: object
    """Function of rest positions (N, 3) in metres -> colours (N, 3) in [0, 1]."""
    sphere: np.ndarray | None = None
    """(S, S, 3) colours of a lit sphere seen by the camera, in [0, 1]; multiplies the albedo."""
    bump: float = 0.0
    """How much folds tilt the normal, about its tangent."""
    gloss: float = 0.0
    """Strength of the highlight."""


@dataclass(frozen=True)
class Light:
    """One directional light, a sky and a floor that reflects."""

    toward: np.ndarray
    """(3,) unit vector from the scene to the light, or (L, 3): several, for soft shadows."""
    up: np.ndarray
    """(3,) unit vector, up."""
    sun: np.ndarray
    """(3,) colour of the directional light."""
    sky: np.ndarray
    """(3,) colour of the ambient light from above."""
    ground: np.ndarray
    """(3,) colour of the ambient light from below."""


@dataclass(frozen=True)
class Mesh:
    """Triangles of everything in the scene."""

    vertices_m: np.ndarray
    """(V, 3)"""
    normals: np.ndarray
    """(V, 3) unit length."""
    rest_m: np.ndarray
    """(V, 3) where the vertices lie at rest: textures stick to these."""
    faces: np.ndarray
    """(F, 3) vertex numbers."""
    material: np.ndarray
    """(F,) index into the list of materials."""
    person: np.ndarray
    """(F,) number of the person, from 0; -1 for things."""


@dataclass(frozen=True)
class Hits:
    """The first surface behind every ray that met one (N of them)."""

    ray: np.ndarray
    """(N,) number of the ray."""
    face: np.ndarray
    """(N,) triangle number."""
    point_m: np.ndarray
    """(N, 3)"""
    normal: np.ndarray
    """(N, 3) smooth unit normals, turned towards the viewer."""
    rest_m: np.ndarray
    """(N, 3)"""

    def where(self, keep) -> "Hits":
        """The hits for which keep (N,) is True."""
        return Hits(
            self.ray[keep],
            self.face[keep],
            self.point_m[keep],
            self.normal[keep],
            self.rest_m[keep],
        )


@dataclass(frozen=True)
class Picture:
    """What a rendering gives."""

    colour: np.ndarray
    """(H, W, 3) float32 in [0, 1], multiplied by alpha."""
    alpha: np.ndarray
    """(H, W) float32, share of the pixel that is covered."""


@dataclass
class Scene:
    """A mesh in Embree."""

    mesh: Mesh
    _scene: object = field(init=False, repr=False)
    _keep: object = field(init=False, repr=False)
    _arrays: tuple = field(init=False, repr=False)

    def __post_init__(self):
        try:
            from embreex import rtcore_scene
            from embreex.mesh_construction import TriangleMesh
        except ImportError as error:
            raise RendererMissingError(
                "rendering people needs the package embreex: pip install embreex"
            ) from error

        self._scene = rtcore_scene.EmbreeScene()
        mesh = self.mesh
        points = (
            np.ascontiguousarray(array, np.float32)
            for array in (mesh.vertices_m, mesh.normals, mesh.rest_m)
        )
        self._arrays = np.ascontiguousarray(mesh.faces, np.int32), *points
        self._keep = TriangleMesh(self._scene, self._arrays[1], self._arrays[0])

    def first(self, origin, directions) -> Hits:
        """The first surface along each ray; origin (3,), directions (R, 3)."""
        directions = np.ascontiguousarray(directions, np.float32)
        origin = np.asarray(origin, np.float32)
        start = np.ascontiguousarray(np.broadcast_to(origin, directions.shape))

        found = self._scene.run(start, directions, output=1)
        names = ("primID", "u", "v", "tfar")
        met = [np.ascontiguousarray(found[name]) for name in names]

        found_surfaces = surfaces(*met, start, directions, *self._arrays)
        return Hits(*found_surfaces)

    def covered(self, K, window) -> np.ndarray:
        """Pixels (P, 2) column, row of the window (left, top, right, bottom) in which something may
        be seen with K (3, 3)."""
        return covered_pixels(
            self._arrays[1],
            self._arrays[0],
            np.ascontiguousarray(K, float),
            np.array(window, np.int64),
        )

    def blocked(self, points, directions) -> np.ndarray:
        """(R,) True where something lies along the ray from points (R, 3) in directions (R, 3)."""
        directions = np.ascontiguousarray(np.broadcast_to(directions, points.shape), np.float32)
        start = np.ascontiguousarray(points, np.float32)
        found = self._scene.run(start, directions, query="OCCLUDED")
        return found >= 0 if found.dtype.kind == "i" else found.astype(bool)


def render(  # noqa: PLR0913 - settings, most with defaults
    scene: Scene,
    materials,
    light: Light,
    K,
    size,
    samples: int = 2,
    window=None,
    only_people: bool = False,
) -> Picture:
    """The scene seen by a pinhole camera at the origin. K (3, 3), size (W, H) px, samples x samples
    rays a pixel.

    Only the window (left, top, right, bottom) px is drawn, by default all. `only_people`: things
    hide people but are not drawn.
    """
    width, height = size
    pixels = scene.covered(K, window or (0, 0, width, height))
    directions = rays_through(pixels, np.ascontiguousarray(K, float), samples)
    hits = scene.first(np.zeros(3), directions)

    if only_people:
        hits = hits.where(scene.mesh.person[hits.face] >= 0)

    colour = shade(scene, hits, materials, light, directions[hits.ray])

    return Picture(*pooled(pixels, samples * samples, hits.ray, colour, (height, width)))


def pixel_rays(K, left: int, top: int, columns: int, rows: int, samples: int) -> np.ndarray:
    """(rows * columns, 3) directions with z = 1, row by row; `samples` rays a pixel each way, pixel
    centres whole."""
    x = left + (np.arange(columns) + 0.5) / samples - 0.5
    y = top + (np.arange(rows) + 0.5) / samples - 0.5
    grid = np.ones((rows, columns, 3), np.float32)
    grid[..., 0] = ((x - K[0, 2]) / K[0, 0])[None, :]
    grid[..., 1] = ((y - K[1, 2]) / K[1, 1])[:, None]

    return grid.reshape(-1, 3)  # (rows * columns, 3)


def shade(scene: Scene, hits: Hits, materials, light: Light, view) -> np.ndarray:
    """(N, 3) float32 colours in [0, 1] of the hits, with cast shadows. view (N, 3): the rays'
    directions."""
    kind = scene.mesh.material[hits.face]
    gloss, bump = (
        np.array([getattr(material, name) for material in materials], np.float32)[kind]
        for name in ("gloss", "bump")
    )
    normal = hits.normal.copy()
    albedo = np.empty_like(hits.rest_m)
    creased = np.flatnonzero(bump)
    normal[creased] = crease(normal[creased], hits.rest_m[creased], bump[creased, None])
    order = np.argsort(kind.astype(np.int16), kind="stable")
    ends = np.cumsum(np.bincount(kind, minlength=len(materials)))

    for material, first, last in zip(materials, [0, *ends[:-1]], ends, strict=True):
        if last > first:
            mine = order[first:last]
            colour = material.albedo(hits.rest_m[mine])
            albedo[mine] = (
                colour
                if material.sphere is None
                else colour * sphere_colours(material.sphere, normal[mine])
            )

    lamps = np.atleast_2d(np.asarray(light.toward, np.float32))
    lit = np.stack([_lit(scene, hits, normal, toward) for toward in lamps])
    colours = (
        np.asarray(value, np.float32) for value in (light.up, light.sun, light.sky, light.ground)
    )

    return lighting(
        normal, albedo, gloss, lit, lamps, np.ascontiguousarray(view, np.float32), *colours
    )


def _lit(scene, hits, normal, toward):
    """(N,) True where a lamp's light arrives."""
    lit = np.zeros(len(normal), bool)
    front = np.flatnonzero(normal @ toward > 0)
    offset = np.float32(SHADOW_OFFSET_M) * hits.normal[front]
    blocked = scene.blocked(hits.point_m[front] + offset, toward)
    lit[front] = ~blocked

    return lit


def crease(normal, rest, amount) -> np.ndarray:
    """Normals (N, 3) tilted by a few waves over the rest surface: folds of cloth. amount: a number
    or (N, 1)."""
    tilt = np.zeros_like(normal)
    x, y, z = np.ascontiguousarray(rest.T)

    for k, (fx, fy, fz) in enumerate(((23, 11, 17), (-41, 29, 13), (61, -47, 37))):
        phase = fx * x + fy * y + fz * z + 1.7 * k + 2 * np.sin(9 * y + k)
        way = np.array([fx, fy, fz], np.float32) * np.float32(0.8**k / np.linalg.norm([fx, fy, fz]))
        tilt += np.cos(phase)[:, None] * way

    bent = normal + amount * tilt

    return bent / np.maximum(np.linalg.norm(bent, axis=1, keepdims=True), 1e-9)


def bounds(vertices, K, size):
    """Window (left, top, right, bottom) px inside the picture around vertices (V, 3); empty where
    none is ahead."""
    ahead = vertices[vertices[:, 2] > 0.05]
    if len(ahead) == 0:
        return 0, 0, 0, 0

    x = K[0, 0] * ahead[:, 0] / ahead[:, 2] + K[0, 2]
    y = K[1, 1] * ahead[:, 1] / ahead[:, 2] + K[1, 2]
    low = np.maximum(np.floor([x.min(), y.min()]).astype(int) - 1, 0)
    high = np.minimum(np.ceil([x.max(), y.max()]).astype(int) + 2, size)

    return int(low[0]), int(low[1]), int(high[0]), int(high[1])
