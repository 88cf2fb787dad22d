# SPDX-License-Identifier: Apache-2.0
"""The CC0 human body of MakeHuman: mesh, rig, skin weights and shape targets, read from a folder.

Rest frame: metres, y up, the figure faces +z and its left is +x.
"""

import gzip
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from lifting_ros.errors import LiftingError
from lifting_ros.research.rendering.render_detail import coarsen

METRES_PER_UNIT = 0.1
BONES_PER_VERTEX = 4
DETAIL_M = (0.0, 0.003, 0.007, 0.015)  # how far the surfaces of the coarser meshes may be off
BEND_M = 0.03  # how far off a vertex counts that hangs on another bone
SURFACES = (
    "body",
    "helper-tights",
    "helper-skirt",
    "helper-hair",
    "helper-l-eye",
    "helper-r-eye",
    "helper-l-eyelashes-1",
    "helper-r-eyelashes-1",
)


class BodyDataError(LiftingError):
    """The body folder is missing a file or a file does not hold what it should."""


@dataclass(frozen=True)
class Rig:
    """Bones, parents before children."""

    names: tuple
    """B bone names."""
    parents: np.ndarray
    """(B,) index of the parent, -1 for the root."""
    head_vertices: tuple
    """B arrays of vertex numbers whose mean is the bone's head."""
    tail_vertices: tuple
    """B arrays of vertex numbers whose mean is the bone's tail."""

    def index(self, name: str) -> int:
        """Number of the bone `name`."""
        return self.names.index(name)


@dataclass(frozen=True)
class Traits:
    """What a body looks like; every mix adds up to 1."""

    race: dict
    gender: dict
    age: dict
    muscle: dict
    weight: dict
    height: float = 0.0
    """-1 (much shorter) to 1 (much taller)."""


@dataclass(frozen=True)
class Shape:
    """One body in its rest pose."""

    vertices_m: np.ndarray
    """(V, 3) metres, y up, feet on y = 0."""
    normals: np.ndarray
    """(V, 3) unit length."""
    heads_m: np.ndarray
    """(B, 3) bone heads."""
    tails_m: np.ndarray
    """(B, 3) bone tails."""
    crown: int
    """Vertex number of the top of the head."""
    traits: Traits


@dataclass(frozen=True)
class BodyModel:
    """Mesh, rig and weights; `shape` makes one person of them."""

    base_m: np.ndarray
    """(V, 3) unshaped vertices, metres."""
    faces: dict
    """Surface name -> (F, 3) triangles."""
    rig: Rig
    bone_index: np.ndarray
    """(V, 4) int32, bones that move a vertex."""
    bone_weight: np.ndarray
    """(V, 4) float32, rows add up to 1."""
    groups: dict
    """Vertex group name -> vertex numbers."""
    folder: Path
    cache: dict = field(default_factory=dict, repr=False)

    @cached_property
    def all_faces(self) -> np.ndarray:
        """(F, 3) triangles of every surface."""
        return np.concatenate([self.faces[name] for name in SURFACES])

    @cached_property
    def details(self) -> list:
        """For each level of DETAIL_M an array (V,): the vertex that stands for each vertex."""
        weights = np.zeros((len(self.base_m), len(self.rig.names)), np.float32)
        np.put_along_axis(weights, self.bone_index, self.bone_weight, axis=1)
        coarser = coarsen(self.base_m, self.all_faces, DETAIL_M[1:], BEND_M * weights)
        return [np.arange(len(self.base_m)), *coarser]

    def shape(self, traits: Traits) -> Shape:
        """The body with these traits, standing on y = 0 in the rest pose."""
        vertices = self.base_m.copy()
        for name, weight in target_mix(traits).items():
            index, delta = self._target(name)
            vertices[index] += np.float32(weight) * delta

        skin = self.groups["body"]
        vertices[:, 1] -= vertices[skin, 1].min()
        rig = self.rig

        return Shape(
            vertices_m=vertices,
            normals=vertex_normals(vertices, self.all_faces),
            heads_m=np.stack([vertices[index].mean(0) for index in rig.head_vertices]),
            tails_m=np.stack([vertices[index].mean(0) for index in rig.tail_vertices]),
            crown=int(skin[np.argmax(vertices[skin, 1])]),
            traits=traits,
        )

    def _target(self, name: str):
        if name not in self.cache:
            path = self.folder / "targets" / f"{name}.target.gz"
            self.cache[name] = _read_target(path)
        return self.cache[name]


def load_body(folder) -> BodyModel:
    """Reads `base.obj`, the rig, the weights and the vertex groups of `folder`.

    Raises BodyDataError with the file's name when one is missing or unreadable.
    """
    folder = Path(folder)
    vertices, faces = _read_obj(_existing(folder / "base.obj"))
    groups = {
        name: np.concatenate([np.arange(first, last + 1) for first, last in ranges])
        for name, ranges in _read_json(folder / "basemesh_vertex_groups.json").items()
    }
    rig = _make_rig(_read_json(folder / "rig.cmu_mb.json"), groups)

    with gzip.open(_existing(folder / "weights.cmu_mb.json.gz"), "rt") as stream:
        weights = json.load(stream)["weights"]

    bone_index, bone_weight = _strongest_bones(weights, rig, len(vertices))
    by_surface = {name: _faces_inside(faces, groups[name]) for name in SURFACES}

    return BodyModel(vertices, by_surface, rig, bone_index, bone_weight, groups, folder)


def sample_traits(rng: np.random.Generator) -> Traits:
    """A plausible person: mostly one gender, mostly grown up, of ordinary build."""
    races = dict(
        zip(("african", "asian", "caucasian"), rng.dirichlet([0.3, 0.5, 0.6]), strict=True)
    )
    male = float(np.clip(rng.integers(2) + rng.normal(0, 0.15), 0, 1))
    old = float(rng.beta(0.9, 1.6))
    child = float(rng.uniform(0.2, 0.7)) if rng.random() < 0.08 else 0.0
    ages = {"child": child, "young": (1 - child) * (1 - old), "old": (1 - child) * old}

    return Traits(
        race=races,
        gender={"male": male, "female": 1 - male},
        age=ages,
        muscle=three_way(rng.beta(2, 2), "minmuscle", "averagemuscle", "maxmuscle"),
        weight=three_way(rng.beta(2, 2.4), "minweight", "averageweight", "maxweight"),
        height=float(np.clip(rng.normal(0, 0.16), -0.45, 0.45)),
    )


def three_way(value: float, low: str, middle: str, high: str) -> dict:
    """Mix of three targets for a slider `value` in [0, 1] whose middle is 0.5."""
    side = 2 * value - 1
    return {low: max(-side, 0.0), middle: 1 - abs(side), high: max(side, 0.0)}


def target_mix(traits: Traits) -> dict:
    """Target name -> weight, without the zeros."""
    mix = {}
    for gender, g in traits.gender.items():
        for age, a in traits.age.items():
            for race, r in traits.race.items():
                mix[f"{race}-{gender}-{age}"] = g * a * r

            for muscle, m in traits.muscle.items():
                for weight, w in traits.weight.items():
                    mix[f"universal-{gender}-{age}-{muscle}-{weight}"] = g * a * m * w

            way = "max" if traits.height > 0 else "min"
            mix[f"height/{gender}-{age}-averagemuscle-averageweight-{way}height"] = (
                g * a * abs(traits.height)
            )

    return {name: weight for name, weight in mix.items() if weight > 1e-4}


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) unit normals, area-weighted over the triangles around each vertex; (0, 1, 0) where
    there are none."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    corner = faces.T.reshape(-1)  # (3F,)
    sums = [np.bincount(corner, np.tile(face[:, k], 3), len(vertices)) for k in range(3)]
    summed = np.stack(sums, axis=1)

    length = np.linalg.norm(summed, axis=1, keepdims=True)
    unit = summed / np.maximum(length, 1e-12)
    normals = np.where(length > 1e-12, unit, [0.0, 1.0, 0.0])
    return normals.astype(np.float32)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise BodyDataError(f"body folder: {path} is missing")
    return path


def _read_json(path: Path) -> dict:
    return json.loads(_existing(path).read_text())


def _read_target(path: Path):
    with gzip.open(_existing(path), "rt") as stream:
        text = "".join(line for line in stream if not line.startswith("#"))
    # (n, 4); the base's own shape is an empty file
    rows = np.array(text.split(), np.float32).reshape(-1, 4)
    return rows[:, 0].astype(np.int64), rows[:, 1:4] * np.float32(METRES_PER_UNIT)


def _read_obj(path: Path):
    vertices = []
    faces = []
    for line in path.read_text().splitlines():
        if line.startswith("v "):
            vertices.append([float(value) for value in line.split()[1:4]])
        elif line.startswith("f "):
            corners = [int(corner.split("/")[0]) - 1 for corner in line.split()[1:]]
            faces.extend(
                [corners[0], corners[k], corners[k + 1]] for k in range(1, len(corners) - 1)
            )

    return np.array(vertices, np.float32) * np.float32(METRES_PER_UNIT), np.array(faces, np.int64)


def _faces_inside(faces: np.ndarray, members: np.ndarray) -> np.ndarray:
    inside = np.zeros(faces.max() + 1, bool)
    inside[members[members < len(inside)]] = True
    return faces[inside[faces].all(axis=1)]


def _make_rig(bones: dict, groups: dict) -> Rig:
    def vertices(end):
        return (
            groups[end["cube_name"]]
            if end["strategy"] == "CUBE"
            else np.array(end["vertex_indices"])
        )

    order = []

    def visit(parent):
        for name in sorted(name for name, bone in bones.items() if bone["parent"] == parent):
            order.append(name)
            visit(name)

    visit("")

    return Rig(
        names=tuple(order),
        parents=np.array(
            [order.index(bones[n]["parent"]) if bones[n]["parent"] else -1 for n in order]
        ),
        head_vertices=tuple(vertices(bones[n]["head"]) for n in order),
        tail_vertices=tuple(vertices(bones[n]["tail"]) for n in order),
    )


def _strongest_bones(weights: dict, rig: Rig, count: int):
    dense = np.zeros((count, len(rig.names)), np.float32)
    for bone, pairs in weights.items():
        if bone in rig.names and pairs:
            rows = np.array(pairs, np.float64)
            dense[rows[:, 0].astype(int), rig.index(bone)] = rows[:, 1]

    index = np.argsort(-dense, axis=1, kind="stable")[:, :BONES_PER_VERTEX]
    weight = np.take_along_axis(dense, index, axis=1)
    total = weight.sum(1, keepdims=True)

    return index.astype(np.int32), weight / np.maximum(total, 1e-9)
