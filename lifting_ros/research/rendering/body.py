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

DETAIL_M = (0.0, 0.003, 0.007, 0.015)
"""Levels of detail: the largest error of the surface, metres."""

BEND_M = 0.03
"""Error that a merge of two vertices on different bones counts as, metres."""

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

    def index(self, name: str) -> int:
        """Number of the bone `name`."""
        return self.names.index(name)


@dataclass(frozen=True)
class Traits:
    """What a body looks like. Each mix maps names of targets to shares that add up to 1."""

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
    crown: int
    """Vertex number of the top of the head."""
    traits: Traits


@dataclass(frozen=True)
class BodyModel:
    """Mesh, rig and skin weights; `shape` returns the body of one person."""

    base_m: np.ndarray
    """(V, 3) unshaped vertices, metres."""
    faces: dict
    """Surface name -> (F, 3) triangles."""
    rig: Rig
    bone_index: np.ndarray
    """(V, 4) int32, the bones that move each vertex."""
    bone_weight: np.ndarray
    """(V, 4) float32, rows add up to 1."""
    groups: dict
    """Vertex group name -> vertex numbers."""
    folder: Path
    cache: dict = field(default_factory=dict, repr=False)

    @cached_property
    def all_faces(self) -> np.ndarray:
        """(F, 3) triangles of all surfaces."""
        surfaces = [self.faces[name] for name in SURFACES]
        return np.concatenate(surfaces)

    @cached_property
    def details(self) -> list:
        """For each level of DETAIL_M an array (V,): the vertex that replaces each vertex."""
        count = len(self.base_m)
        weights = np.zeros((count, len(self.rig.names)), np.float32)
        np.put_along_axis(weights, self.bone_index, self.bone_weight, axis=1)

        coarser = coarsen(self.base_m, self.all_faces, DETAIL_M[1:], BEND_M * weights)
        return [np.arange(count), *coarser]

    def shape(self, traits: Traits) -> Shape:
        """The body with these traits, standing on y = 0 in the rest pose."""
        vertices = self.base_m.copy()
        for name, weight in target_mix(traits).items():
            index, delta = self._target(name)
            vertices[index] += np.float32(weight) * delta

        # Put the feet on y = 0
        skin = self.groups["body"]
        vertices[:, 1] -= vertices[skin, 1].min()
        highest = np.argmax(vertices[skin, 1])

        return Shape(
            vertices_m=vertices,
            normals=vertex_normals(vertices, self.all_faces),
            heads_m=_means(vertices, self.rig.head_vertices),
            crown=int(skin[highest]),
            traits=traits,
        )

    def _target(self, name: str):
        """Vertex numbers (n,) and their offsets (n, 3), metres, of a target."""
        if name not in self.cache:
            path = self.folder / "targets" / f"{name}.target.gz"
            self.cache[name] = _read_target(path)
        return self.cache[name]


def load_body(folder) -> BodyModel:
    """The body in `folder`: `base.obj`, the rig, the skin weights and the vertex groups.

    BodyDataError with the file's name where a file is missing.
    """
    folder = Path(folder)
    vertices, faces = _read_obj(_existing(folder / "base.obj"))
    groups = _read_groups(folder / "basemesh_vertex_groups.json")
    rig = _make_rig(_read_json(folder / "rig.cmu_mb.json"), groups)

    # Skin weights
    with gzip.open(_existing(folder / "weights.cmu_mb.json.gz"), "rt") as stream:
        weights = json.load(stream)["weights"]
    bone_index, bone_weight = _strongest_bones(weights, rig, len(vertices))

    by_surface = {name: _faces_inside(faces, groups[name]) for name in SURFACES}

    return BodyModel(
        vertices,
        by_surface,
        rig,
        bone_index,
        bone_weight,
        groups,
        folder,
    )


def sample_traits(rng: np.random.Generator) -> Traits:
    """A plausible person: mostly of one gender, mostly adult, of ordinary build."""
    african, asian, caucasian = rng.dirichlet([0.3, 0.5, 0.6])
    male = float(np.clip(rng.integers(2) + rng.normal(0, 0.15), 0, 1))

    # Age
    old = float(rng.beta(0.9, 1.6))
    child = 0.0
    if rng.random() < 0.08:
        child = float(rng.uniform(0.2, 0.7))
    adult = 1 - child
    ages = {"child": child, "young": adult * (1 - old), "old": adult * old}

    return Traits(
        race={"african": african, "asian": asian, "caucasian": caucasian},
        gender={"male": male, "female": 1 - male},
        age=ages,
        muscle=three_way(rng.beta(2, 2), "minmuscle", "averagemuscle", "maxmuscle"),
        weight=three_way(rng.beta(2, 2.4), "minweight", "averageweight", "maxweight"),
        height=float(np.clip(rng.normal(0, 0.16), -0.45, 0.45)),
    )


def three_way(
    value: float,
    low: str,
    middle: str,
    high: str,
) -> dict:
    """Mix of three targets for a slider `value` in [0, 1]; at 0.5 it is `middle` alone."""
    side = 2 * value - 1
    return {low: max(-side, 0.0), middle: 1 - abs(side), high: max(side, 0.0)}


def target_mix(traits: Traits) -> dict:
    """Weight of each target by name; targets with a negligible weight are left out."""
    extreme = "maxheight" if traits.height > 0 else "minheight"
    amount = abs(traits.height)
    mix = {}
    for gender, gender_share in traits.gender.items():
        for age, age_share in traits.age.items():
            who = f"{gender}-{age}"
            share = gender_share * age_share
            for race, race_share in traits.race.items():
                mix[f"{race}-{who}"] = share * race_share

            for muscle, muscle_share in traits.muscle.items():
                build = share * muscle_share
                for weight, weight_share in traits.weight.items():
                    mix[f"universal-{who}-{muscle}-{weight}"] = build * weight_share

            mix[f"height/{who}-averagemuscle-averageweight-{extreme}"] = share * amount

    return {name: weight for name, weight in mix.items() if weight > 1e-4}


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) unit normals: the mean of the triangles around each vertex, weighted by their areas;
    (0, 1, 0) where there are none."""
    a = vertices[faces[:, 0]]
    b = vertices[faces[:, 1]]
    c = vertices[faces[:, 2]]
    face = np.cross(b - a, c - a)

    corner = faces.T.reshape(-1)  # (3F,)
    summed = np.empty((len(vertices), 3))
    for axis in range(3):
        weights = np.tile(face[:, axis], 3)
        summed[:, axis] = np.bincount(corner, weights, len(vertices))

    length = np.linalg.norm(summed, axis=1, keepdims=True)
    unit = summed / np.maximum(length, 1e-12)
    normals = np.where(length > 1e-12, unit, [0.0, 1.0, 0.0])
    return normals.astype(np.float32)


def _means(vertices: np.ndarray, groups) -> np.ndarray:
    """(B, 3) mean of each group of vertices."""
    means = [vertices[numbers].mean(0) for numbers in groups]
    return np.stack(means)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise BodyDataError(f"body folder: {path} is missing")
    return path


def _read_json(path: Path) -> dict:
    return json.loads(_existing(path).read_text())


def _read_groups(path: Path) -> dict:
    """Vertex numbers by the name of the group; the file has the first and last of each range."""
    groups = {}
    for name, ranges in _read_json(path).items():
        parts = [np.arange(first, last + 1) for first, last in ranges]
        groups[name] = np.concatenate(parts)

    return groups


def _read_target(path: Path):
    with gzip.open(_existing(path), "rt") as stream:
        text = "".join(line for line in stream if not line.startswith("#"))

    # The target of the base's own shape is an empty file
    rows = np.array(text.split(), np.float32).reshape(-1, 4)
    numbers = rows[:, 0].astype(np.int64)
    offsets = rows[:, 1:4] * np.float32(METRES_PER_UNIT)
    return numbers, offsets


def _read_obj(path: Path):
    """Vertices (V, 3), metres, and triangles (F, 3); polygons become fans of triangles."""
    vertices = []
    faces = []
    for line in path.read_text().splitlines():
        kind, _, rest = line.partition(" ")
        words = rest.split()
        if kind == "v":
            vertices.append([float(word) for word in words[:3]])
        elif kind == "f":
            corners = [int(word.split("/")[0]) - 1 for word in words]
            for second, third in zip(corners[1:], corners[2:]):
                faces.append([corners[0], second, third])

    scaled = np.array(vertices, np.float32) * np.float32(METRES_PER_UNIT)
    return scaled, np.array(faces, np.int64)


def _faces_inside(faces: np.ndarray, members: np.ndarray) -> np.ndarray:
    """The triangles whose three corners are members."""
    inside = np.zeros(faces.max() + 1, bool)
    known = members[members < len(inside)]
    inside[known] = True

    is_inside = inside[faces].all(axis=1)
    return faces[is_inside]


def _make_rig(bones: dict, groups: dict) -> Rig:
    def vertices_of(end):
        if end["strategy"] == "CUBE":
            return groups[end["cube_name"]]
        return np.array(end["vertex_indices"])

    names = _parents_first(bones)
    parents = []
    for name in names:
        parent = bones[name]["parent"]
        parents.append(names.index(parent) if parent else -1)

    return Rig(
        names=tuple(names),
        parents=np.array(parents),
        head_vertices=tuple(vertices_of(bones[name]["head"]) for name in names),
    )


def _parents_first(bones: dict) -> list:
    """Names of the bones, depth first from the root; children in alphabetical order."""
    order = []

    def visit(parent):
        children = [name for name, bone in bones.items() if bone["parent"] == parent]
        for name in sorted(children):
            order.append(name)
            visit(name)

    visit("")
    return order


def _strongest_bones(
    weights: dict,
    rig: Rig,
    count: int,
):
    """Numbers and weights (V, BONES_PER_VERTEX) of the bones that move each vertex most."""
    dense = np.zeros((count, len(rig.names)), np.float32)
    for bone, pairs in weights.items():
        if bone in rig.names and pairs:
            vertex, weight = np.array(pairs, np.float64).T
            dense[vertex.astype(int), rig.index(bone)] = weight

    order = np.argsort(-dense, axis=1, kind="stable")
    index = order[:, :BONES_PER_VERTEX]
    weight = np.take_along_axis(dense, index, axis=1)
    total = weight.sum(1, keepdims=True)

    return index.astype(np.int32), weight / np.maximum(total, 1e-9)
