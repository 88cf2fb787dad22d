# SPDX-License-Identifier: Apache-2.0
"""A dressed body as triangles: the layers of an outfit are joined once for each level of detail and
skinned for each pose."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from lifting_ros.research.rendering.body import DETAIL_M, BodyModel, Shape
from lifting_ros.research.rendering.body_pose import PosedBody
from lifting_ros.research.rendering.render import Mesh
from lifting_ros.research.rendering.render_detail import remapped
from lifting_ros.research.rendering.synthetic_algebra import skin
from lifting_ros.research.rendering.synthetic_scene import Body, Camera

COARSE_PX = 0.5
"""Largest error of a surface in the picture, px."""


@dataclass(frozen=True)
class Cut:
    """The triangles of an outfit at one level of detail."""

    vertex: np.ndarray
    """(V,) vertex of the body model."""
    offset_m: np.ndarray
    """(V, 1) distance from the skin along the normal."""
    faces: np.ndarray
    """(F, 3) int32."""
    layer: np.ndarray
    """(F,) number of the layer."""
    arrays: tuple
    """Rest positions and normals (V, 3), bones and weights (V, 4)."""


@dataclass(frozen=True)
class Outfit:
    """A body shape with clothes."""

    model: BodyModel
    shape: Shape
    layers: tuple
    _cuts: dict = field(default_factory=dict, repr=False)

    def cut(self, level: int) -> Cut:
        """The triangles at a level of `DETAIL_M`, made at the first call."""
        if level not in self._cuts:
            goal = self.model.details[level] if level else None
            self._cuts[level] = _make_cut(self, goal)
        return self._cuts[level]

    def body(
        self,
        posed: PosedBody,
        level: int = 0,
        materials: tuple = (),
    ) -> Body:
        """The dressed body in the frame of the pose. materials: instead of those of the layers."""
        cut = self.cut(level)
        vertices, normals = skin(*cut.arrays, posed.rotations, self.shape.heads_m, posed.heads_m)
        vertices += cut.offset_m * normals

        rest = cut.arrays[0]
        person = np.zeros(len(cut.faces), np.int64)
        mesh = Mesh(
            vertices,
            normals,
            rest,
            cut.faces,
            cut.layer,
            person,
        )
        own = tuple(layer.material for layer in self.layers)
        return Body(mesh, materials or own, posed.joints_m)


@dataclass(frozen=True)
class Figure:
    """A person in an outfit and a pose, not yet made into triangles."""

    outfit: Outfit
    posed: PosedBody
    materials: tuple
    """One per layer."""

    @property
    def joints_m(self) -> np.ndarray:
        """(17, 3)."""
        return self.posed.joints_m

    def moved(self, offset) -> Figure:
        """Shifted by `offset` (3,) metres."""
        posed = self.posed.moved(np.eye(3), offset)
        return replace(self, posed=posed)

    def seen_by(self, camera: Camera) -> Body:
        """Triangles in the camera's frame, at the coarsest level with an error up to COARSE_PX."""
        posed = self.posed.moved(camera.R, camera.t)
        nearest_m = max(posed.joints_m[:, 2].min() - 0.2, 0.2)
        focal_px = max(camera.K[0, 0], camera.K[1, 1])
        px_per_metre = focal_px / nearest_m

        level = 0
        for number, error_m in enumerate(DETAIL_M):
            if error_m * px_per_metre <= COARSE_PX:
                level = number

        return self.outfit.body(posed, level, self.materials)


def _make_cut(outfit: Outfit, goal) -> Cut:
    """goal: (V,) the vertex of the body model that replaces each vertex; None at full detail."""
    vertices = []
    offsets = []
    faces = []
    numbers = []
    count = 0
    for number, layer in enumerate(outfit.layers):
        kept = layer.faces if goal is None else remapped(layer.faces, goal)[0]
        used, corner = np.unique(kept, return_inverse=True)
        faces.append(corner.reshape(-1, 3) + count)  # (F, 3)
        vertices.append(used)
        offsets.append(np.full((len(used), 1), layer.offset_m, np.float32))
        numbers.append(np.full(len(kept), number))
        count += len(used)

    vertex = np.concatenate(vertices)
    shape = outfit.shape
    model = outfit.model
    arrays = (
        shape.vertices_m[vertex],
        shape.normals[vertex],
        model.bone_index[vertex],
        model.bone_weight[vertex],
    )
    return Cut(
        vertex=vertex,
        offset_m=np.concatenate(offsets),
        faces=np.concatenate(faces).astype(np.int32),
        layer=np.concatenate(numbers),
        arrays=arrays,
    )
