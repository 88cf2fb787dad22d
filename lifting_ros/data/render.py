# SPDX-License-Identifier: Apache-2.0
"""A small ray caster for posed bodies: Embree (pip package `embreex`) finds the surfaces, NumPy shades them.

It needs no display, no GPU and no OpenGL. Everything is in the camera's optical frame: x right, y down, z forward,
metres.
"""

from dataclasses import dataclass, field

import numpy as np

SHADOW_OFFSET_M = 0.004


class RendererMissingError(ImportError):
    """The optional package `embreex` is not installed."""


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
        return Hits(self.ray[keep], self.face[keep], self.point_m[keep], self.normal[keep], self.rest_m[keep])


@dataclass(frozen=True)
class Picture:
    """What a rendering gives."""

    colour: np.ndarray
    """(H, W, 3) float32 in [0, 1], multiplied by alpha."""
    alpha: np.ndarray
    """(H, W) float32, share of the pixel that is covered."""
    person: np.ndarray
    """(H, W) int16, -1 where nobody is."""
    depth_m: np.ndarray
    """(H, W) float32, z of the nearest surface, infinite where there is none."""


@dataclass
class Scene:
    """A mesh in Embree."""

    mesh: Mesh
    _scene: object = field(init=False, repr=False)
    _keep: object = field(init=False, repr=False)

    def __post_init__(self):
        try:
            from embreex import rtcore_scene
            from embreex.mesh_construction import TriangleMesh
        except ImportError as error:
            raise RendererMissingError("rendering people needs the package embreex: pip install embreex") from error
        self._scene = rtcore_scene.EmbreeScene()
        self._keep = TriangleMesh(self._scene, np.ascontiguousarray(self.mesh.vertices_m, np.float32),
                                  np.ascontiguousarray(self.mesh.faces, np.int32))

    def first(self, origin, directions) -> Hits:
        """The first surface along each ray; origin (3,), directions (R, 3)."""
        directions = np.ascontiguousarray(directions, np.float32)
        start = np.ascontiguousarray(np.broadcast_to(np.asarray(origin, np.float32), directions.shape))
        found = self._scene.run(start, directions, output=1)
        ray = np.flatnonzero(found["primID"] >= 0)
        face, u, v = found["primID"][ray], found["u"][ray, None], found["v"][ray, None]
        mesh, corners = self.mesh, self.mesh.faces[face]

        def mix(values):
            a, b, c = (values[corners[:, k]] for k in range(3))
            return (1 - u - v) * a + u * b + v * c

        normal = mix(mesh.normals)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        away = np.sum(normal * directions[ray], axis=1, keepdims=True) > 0
        normal = np.where(away & _back_side(mesh, corners, directions[ray]), -normal, normal)
        point = start[ray] + found["tfar"][ray, None] * directions[ray]
        return Hits(ray, face, point, normal, mix(mesh.rest_m))

    def blocked(self, points, directions) -> np.ndarray:
        """(R,) True where something lies along the ray from points (R, 3) in directions (R, 3)."""
        directions = np.ascontiguousarray(np.broadcast_to(directions, points.shape), np.float32)
        start = np.ascontiguousarray(points, np.float32)
        found = self._scene.run(start, directions, query="OCCLUDED")
        return found >= 0 if found.dtype.kind == "i" else found.astype(bool)


def render(scene: Scene, materials, light: Light, K, size, samples: int = 2, window=None,
           only_people: bool = False) -> Picture:
    """The scene seen by a pinhole camera at the origin. K (3, 3), size (W, H) px, samples x samples rays a pixel.

    Only the window (left, top, right, bottom) px is drawn, by default where the mesh lies. `only_people`: things hide
    people but are not drawn.
    """
    width, height = size
    left, top, right, bottom = window or bounds(scene.mesh.vertices_m, K, size)
    colour, alpha = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    person, depth = np.full((height, width), -1, np.int16), np.full((height, width), np.inf, np.float32)
    picture = Picture(colour, alpha, person, depth)
    if right <= left or bottom <= top:
        return picture
    columns, rows = (right - left) * samples, (bottom - top) * samples
    directions = pixel_rays(K, left, top, columns, rows, samples)
    hits = scene.first(np.zeros(3), directions)
    if only_people:
        hits = hits.where(scene.mesh.person[hits.face] >= 0)
    shaded = np.zeros((rows * columns, 3), np.float32)
    shaded[hits.ray] = shade(scene, hits, materials, light, directions[hits.ray])
    covered, who = np.zeros(rows * columns, np.float32), np.full(rows * columns, -1, np.int16)
    covered[hits.ray], who[hits.ray] = 1, scene.mesh.person[hits.face]
    far = np.full(rows * columns, np.inf, np.float32)
    far[hits.ray] = hits.point_m[:, 2]
    part = np.s_[top:bottom, left:right]
    colour[part] = _pool(shaded.reshape(rows, columns, 3), samples)
    alpha[part] = _pool(covered.reshape(rows, columns, 1), samples)[..., 0]
    person[part] = who.reshape(rows, columns)[samples // 2::samples, samples // 2::samples]
    depth[part] = far.reshape(rows, columns)[samples // 2::samples, samples // 2::samples]
    return picture


def pixel_rays(K, left: int, top: int, columns: int, rows: int, samples: int) -> np.ndarray:
    """(rows * columns, 3) directions with z = 1, row by row; `samples` rays a pixel each way, pixel centres whole."""
    x = left + (np.arange(columns) + 0.5) / samples - 0.5
    y = top + (np.arange(rows) + 0.5) / samples - 0.5
    grid = np.ones((rows, columns, 3), np.float32)
    grid[..., 0], grid[..., 1] = ((x - K[0, 2]) / K[0, 0])[None, :], ((y - K[1, 2]) / K[1, 1])[:, None]
    return grid.reshape(-1, 3)  # (rows * columns, 3)


def shade(scene: Scene, hits: Hits, materials, light: Light, view) -> np.ndarray:
    """(N, 3) colours in [0, 1] of the hits, with cast shadows. view (N, 3): the rays' directions."""
    kind = scene.mesh.material[hits.face]
    normal, albedo, gloss = hits.normal.copy(), np.zeros_like(hits.rest_m), np.zeros(len(kind), np.float32)
    for k, material in enumerate(materials):
        mine = kind == k
        if not mine.any():
            continue
        albedo[mine], gloss[mine] = material.albedo(hits.rest_m[mine]), material.gloss
        if material.bump:
            normal[mine] = crease(normal[mine], hits.rest_m[mine], material.bump)
        if material.sphere is not None:
            albedo[mine] *= sphere_colour(material.sphere, normal[mine])
    sky = 0.5 + 0.5 * (normal @ np.asarray(light.up, np.float32))[:, None]
    colour = albedo * (sky * light.sky + (1 - sky) * light.ground)
    lamps = np.atleast_2d(np.asarray(light.toward, np.float32))
    for toward in lamps:
        colour += _direct(scene, hits, normal, albedo, gloss, toward, view) * (light.sun / len(lamps))
    return np.clip(colour, 0, 1).astype(np.float32)


def _direct(scene, hits, normal, albedo, gloss, toward, view):
    """(N, 3) share of a lamp's light that a hit sends to the viewer."""
    facing = normal @ toward
    lit = np.zeros(len(facing), np.float32)
    front = np.flatnonzero(facing > 0)
    lit[front] = ~scene.blocked(hits.point_m[front] + SHADOW_OFFSET_M * hits.normal[front], toward)
    half = toward - view / np.linalg.norm(view, axis=1, keepdims=True)
    half /= np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-9)
    shine = gloss * np.maximum(np.sum(half * normal, axis=1), 0) ** 30
    return albedo * (lit * facing)[:, None] + (lit * shine)[:, None]


def crease(normal, rest, amount: float) -> np.ndarray:
    """Normals tilted by a few waves over the rest surface: folds of cloth."""
    tilt = np.zeros_like(normal)
    for k, (fx, fy, fz) in enumerate(((23, 11, 17), (-41, 29, 13), (61, -47, 37))):
        phase = fx * rest[:, 0] + fy * rest[:, 1] + fz * rest[:, 2] + 1.7 * k + 2 * np.sin(9 * rest[:, 1] + k)
        tilt += (np.cos(phase)[:, None] * np.array([fx, fy, fz]) / np.linalg.norm([fx, fy, fz])) * (0.8 ** k)
    bent = normal + amount * tilt
    return bent / np.maximum(np.linalg.norm(bent, axis=1, keepdims=True), 1e-9)


def sphere_colour(sphere: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """(N, 3) colours that a lit sphere (S, S, 3) shows at these normals."""
    half = (sphere.shape[0] - 1) / 2
    column = np.rint(half * (1 + 0.96 * normal[:, 0])).astype(int)
    row = np.rint(half * (1 + 0.96 * normal[:, 1])).astype(int)
    return sphere[row, column]


def _back_side(mesh, corners, view):
    a, b, c = (mesh.vertices_m[corners[:, k]] for k in range(3))
    return (np.sum(np.cross(b - a, c - a) * view, axis=1) > 0)[:, None]


def bounds(vertices, K, size):
    """Window (left, top, right, bottom) px inside the picture around vertices (V, 3); empty where none is ahead."""
    ahead = vertices[vertices[:, 2] > 0.05]
    if len(ahead) == 0:
        return 0, 0, 0, 0
    x = K[0, 0] * ahead[:, 0] / ahead[:, 2] + K[0, 2]
    y = K[1, 1] * ahead[:, 1] / ahead[:, 2] + K[1, 2]
    low = np.maximum(np.floor([x.min(), y.min()]).astype(int) - 1, 0)
    high = np.minimum(np.ceil([x.max(), y.max()]).astype(int) + 2, size)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _pool(image, samples):
    rows, columns, channels = image.shape
    return image.reshape(rows // samples, samples, columns // samples, samples, channels).mean(axis=(1, 3))
