# SPDX-License-Identifier: Apache-2.0
"""A small ray caster for posed bodies: Embree (pip package `embreex`) intersects the rays, compiled
loops compute the shading.

It requires no display, GPU or OpenGL. Everything is in the camera's optical frame: x right, y down,
z forward, metres.
"""

from collections.abc import Callable
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
"""Distance from the surface at which shadow rays begin."""

_FOLDS = ((23, 11, 17), (-41, 29, 13), (61, -47, 37))
"""Wave vectors of the folds of cloth, radians per metre."""


@dataclass(frozen=True)
class Material:
    """How a surface reflects light."""

    albedo: Callable[[np.ndarray], np.ndarray]
    """From rest positions (N, 3) in metres to colours (N, 3) in [0, 1]."""
    sphere: np.ndarray | None = None
    """(S, S, 3) colours in [0, 1] of a lit sphere in front of the camera; multiplies the albedo."""
    bump: float = 0.0
    """Tangent of the angle by which folds tilt the normal, about."""
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
    """The triangles of a scene."""

    vertices_m: np.ndarray
    """(V, 3)."""
    normals: np.ndarray
    """(V, 3) unit length."""
    rest_m: np.ndarray
    """(V, 3) positions of the vertices at rest; textures are functions of these."""
    faces: np.ndarray
    """(F, 3) vertex numbers."""
    material: np.ndarray
    """(F,) index into the list of materials."""
    person: np.ndarray
    """(F,) number of the person, from 0; -1 for things."""


@dataclass(frozen=True)
class Hits:
    """The first surface on each of the N rays that meet one."""

    ray: np.ndarray
    """(N,) number of the ray."""
    face: np.ndarray
    """(N,) number of the triangle."""
    point_m: np.ndarray
    """(N, 3)."""
    normal: np.ndarray
    """(N, 3) smooth unit normals, towards the viewer."""
    rest_m: np.ndarray
    """(N, 3) position at rest."""

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
    """A rendered picture with transparency."""

    colour: np.ndarray
    """(H, W, 3) float32 in [0, 1], multiplied by alpha."""
    alpha: np.ndarray
    """(H, W) float32, covered share of each pixel."""


@dataclass
class Scene:
    """A mesh in Embree; RendererMissingError where the package is not installed."""

    mesh: Mesh
    _scene: object = field(init=False, repr=False)
    _keep: object = field(init=False, repr=False)
    _faces: np.ndarray = field(init=False, repr=False)
    _vertices: np.ndarray = field(init=False, repr=False)
    _normals: np.ndarray = field(init=False, repr=False)
    _rest: np.ndarray = field(init=False, repr=False)

    def __post_init__(self):
        try:
            from embreex import rtcore_scene
            from embreex.mesh_construction import TriangleMesh
        except ImportError as error:
            raise RendererMissingError(
                "rendering people needs the package embreex: pip install embreex"
            ) from error

        mesh = self.mesh
        self._faces = np.ascontiguousarray(mesh.faces, np.int32)
        self._vertices = np.ascontiguousarray(mesh.vertices_m, np.float32)
        self._normals = np.ascontiguousarray(mesh.normals, np.float32)
        self._rest = np.ascontiguousarray(mesh.rest_m, np.float32)

        self._scene = rtcore_scene.EmbreeScene()
        self._keep = TriangleMesh(self._scene, self._vertices, self._faces)

    def first(self, origin, directions) -> Hits:
        """The first surface along each ray; origin (3,), directions (R, 3)."""
        directions = np.ascontiguousarray(directions, np.float32)
        origin = np.asarray(origin, np.float32)
        start = np.ascontiguousarray(np.broadcast_to(origin, directions.shape))

        found = self._scene.run(start, directions, output=1)
        names = ("primID", "u", "v", "tfar")
        met = [np.ascontiguousarray(found[name]) for name in names]

        mesh = (self._faces, self._vertices, self._normals, self._rest)
        found_surfaces = surfaces(*met, start, directions, *mesh)
        return Hits(*found_surfaces)

    def covered(self, K, window) -> np.ndarray:
        """Pixels (P, 2) column, row of the window (left, top, right, bottom) in which something may
        be seen with K (3, 3)."""
        matrix = np.ascontiguousarray(K, float)
        return covered_pixels(self._vertices, self._faces, matrix, np.array(window, np.int64))

    def blocked(self, points, directions) -> np.ndarray:
        """(R,) True where something lies along the ray from points (R, 3) in directions (R, 3)."""
        directions = np.ascontiguousarray(np.broadcast_to(directions, points.shape), np.float32)
        start = np.ascontiguousarray(points, np.float32)
        found = self._scene.run(start, directions, query="OCCLUDED")
        if found.dtype.kind == "i":
            return found >= 0
        return found.astype(bool)


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
    """The scene seen by a pinhole camera at the origin.

    K (3, 3) and size (W, H) in px; samples x samples rays per pixel. window: only these pixels
    (left, top, right, bottom) are drawn, by default all. only_people: things hide people, but are
    not drawn.
    """
    width, height = size
    matrix = np.ascontiguousarray(K, float)
    pixels = scene.covered(K, window or (0, 0, width, height))
    directions = rays_through(pixels, matrix, samples)

    hits = scene.first(np.zeros(3), directions)
    if only_people:
        hits = hits.where(scene.mesh.person[hits.face] >= 0)

    colour = shade(scene, hits, materials, light, directions[hits.ray])
    image, alpha = pooled(pixels, samples * samples, hits.ray, colour, (height, width))
    return Picture(image, alpha)


def pixel_rays(
    K,
    left: int,
    top: int,
    columns: int,
    rows: int,
    samples: int,
) -> np.ndarray:
    """(rows * columns, 3) directions with z = 1, row by row, from the pixel (left, top) on;
    `samples` rays per pixel along each axis."""
    x = left + (np.arange(columns) + 0.5) / samples - 0.5
    y = top + (np.arange(rows) + 0.5) / samples - 0.5
    across = (x - K[0, 2]) / K[0, 0]
    down = (y - K[1, 2]) / K[1, 1]

    grid = np.ones((rows, columns, 3), np.float32)
    grid[..., 0] = across[None, :]
    grid[..., 1] = down[:, None]
    return grid.reshape(-1, 3)


def shade(
    scene: Scene,
    hits: Hits,
    materials,
    light: Light,
    view,
) -> np.ndarray:
    """(N, 3) float32 colours in [0, 1] of the hits, with cast shadows. view (N, 3): directions of
    the rays."""
    kind = scene.mesh.material[hits.face]
    gloss = np.array([material.gloss for material in materials], np.float32)[kind]
    bump = np.array([material.bump for material in materials], np.float32)[kind]

    # Folds
    normal = hits.normal.copy()
    creased = np.flatnonzero(bump)
    normal[creased] = crease(normal[creased], hits.rest_m[creased], bump[creased, None])

    # Light
    albedo = _albedo(materials, kind, hits.rest_m, normal)
    lamps = np.atleast_2d(np.asarray(light.toward, np.float32))
    lit = np.stack([_lit(scene, hits, normal, toward) for toward in lamps])
    rays = np.ascontiguousarray(view, np.float32)
    colours = [
        np.asarray(value, np.float32) for value in (light.up, light.sun, light.sky, light.ground)
    ]
    return lighting(
        normal,
        albedo,
        gloss,
        lit,
        lamps,
        rays,
        *colours,
    )


def _albedo(materials, kind, rest, normal) -> np.ndarray:
    """(N, 3) colours of the materials `kind` (N,) at rest positions (N, 3)."""
    order = np.argsort(kind.astype(np.int16), kind="stable")
    counts = np.bincount(kind, minlength=len(materials))
    ends = np.cumsum(counts)

    albedo = np.empty_like(rest)
    for material, count, end in zip(materials, counts, ends, strict=True):
        if count == 0:
            continue

        mine = order[end - count : end]
        colour = material.albedo(rest[mine])
        if material.sphere is not None:
            colour = colour * sphere_colours(material.sphere, normal[mine])
        albedo[mine] = colour

    return albedo


def _lit(scene, hits, normal, toward):
    """(N,) True where the light of a lamp arrives; toward (3,) is its direction."""
    front = np.flatnonzero(normal @ toward > 0)
    offset = np.float32(SHADOW_OFFSET_M) * hits.normal[front]
    blocked = scene.blocked(hits.point_m[front] + offset, toward)

    lit = np.zeros(len(normal), bool)
    lit[front] = ~blocked
    return lit


def crease(normal, rest, amount) -> np.ndarray:
    """Normals (N, 3) tilted by waves over the rest positions (N, 3): folds of cloth. amount: a
    number or (N, 1)."""
    x, y, z = np.ascontiguousarray(rest.T)
    tilt = np.zeros_like(normal)
    for k, wave in enumerate(_FOLDS):
        fx, fy, fz = wave
        distortion = 2 * np.sin(9 * y + k)
        phase = fx * x + fy * y + fz * z + 1.7 * k + distortion
        height = np.float32(0.8**k / np.linalg.norm(wave))
        direction = np.array(wave, np.float32) * height
        tilt += np.cos(phase)[:, None] * direction

    bent = normal + amount * tilt
    length = np.linalg.norm(bent, axis=1, keepdims=True)
    return bent / np.maximum(length, 1e-9)


def bounds(vertices, K, size):
    """Window (left, top, right, bottom) px inside the picture of size (W, H) around vertices (V,
    3); empty where none is in front of the camera."""
    x, y, z = vertices[vertices[:, 2] > 0.05].T
    if len(z) == 0:
        return 0, 0, 0, 0

    column = K[0, 0] * x / z + K[0, 2]
    row = K[1, 1] * y / z + K[1, 2]
    low = np.floor([column.min(), row.min()]).astype(int) - 1
    high = np.ceil([column.max(), row.max()]).astype(int) + 2

    left, top = np.maximum(low, 0)
    right, bottom = np.minimum(high, size)
    return int(left), int(top), int(right), int(bottom)
