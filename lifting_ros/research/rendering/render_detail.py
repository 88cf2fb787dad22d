# SPDX-License-Identifier: Apache-2.0
"""Coarser versions of a mesh for what is far away: edges are collapsed, cheapest first, onto
vertices that the mesh already has.

The error of a collapse is the root mean square distance to the planes that the vertex stood for
(Garland and Heckbert, Surface Simplification Using Quadric Error Metrics, 1997); since every vertex
that stays is an old one, skin weights and textures stay with it.
"""

from __future__ import annotations

import numpy as np

LONGEST_EDGE = 10.0  # times the tolerance: bends need vertices
BORDER = 3.0  # weight of the planes that hold open borders in place, beside those of the triangles
PASSES = 60
PATIENCE = 8  # passes until a collapse that turned a triangle over is tried again


def coarsen(
    vertices: np.ndarray, faces: np.ndarray, tolerances_m, features: np.ndarray
) -> list[np.ndarray]:
    """For every tolerance (metres, rising) an array (V,): the vertex that each vertex of the mesh
    becomes.

    vertices (V, 3), faces (F, 3). features (V, n): numbers in metres whose difference between two
    vertices counts as an error too.
    """
    goal = np.arange(len(vertices))
    state = _Quadrics(np.asarray(vertices, np.float64), faces)
    levels = []

    for tolerance in tolerances_m:
        for _ in range(PASSES):
            step = _collapses(state, faces, features, tolerance)
            moved = np.flatnonzero(step != np.arange(len(step)))
            if len(moved) < 0.002 * len(faces):
                break

            state.merge(moved, step[moved])
            faces = remapped(faces, step)[0]
            goal = step[goal]

        levels.append(goal)

    return levels


def remapped(faces: np.ndarray, goal: np.ndarray):
    """The faces (F', 3) whose corners stay apart when every vertex becomes goal (V,) of it, and
    which of the F they are (F',)."""
    faces = goal[faces]
    whole = (
        (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    )

    return faces[whole], np.flatnonzero(whole)


class _Quadrics:
    """For each vertex the sum of the squared distances to its planes, as a matrix (4, 4), and the
    sum of their weights."""

    def __init__(self, vertices, faces):
        self.waits = np.zeros(len(vertices), int)  # passes until a vertex may go
        self.at = np.concatenate([vertices, np.ones((len(vertices), 1))], axis=1)
        normal = _normals(vertices, faces)
        area = np.linalg.norm(normal, axis=1)
        self.quadric = np.zeros((len(vertices), 16))
        self.weight = np.full(len(vertices), 1e-12)
        self._add(faces, _planes(normal, vertices[faces[:, 0]]), area)
        first, second, face = _borders(faces)
        self.border = np.zeros(len(vertices), bool)
        self.border[first] = True
        along = vertices[second] - vertices[first]
        wall = np.cross(along, normal[face])
        length2 = BORDER * np.sum(along**2, axis=1)
        self._add(np.stack([first, second], 1), _planes(wall, vertices[first]), length2)

    def _add(self, corners, planes, weight):
        # (F, 16)
        outer = (planes[:, :, None] * planes[:, None] * weight[:, None, None]).reshape(-1, 16)
        for corner in corners.T:
            np.add.at(self.quadric, corner, outer)
            np.add.at(self.weight, corner, weight)

    def error2(self, gone, kept):
        """(E,) mean squared distance of vertex `kept` to the planes of both."""
        both = (self.quadric[gone] + self.quadric[kept]).reshape(-1, 4, 4)
        at = self.at[kept]
        error = np.einsum("eij,ei,ej->e", both, at, at)
        weight = self.weight[gone] + self.weight[kept]
        return error / weight

    def merge(self, gone, kept):
        """The planes of `gone` belong to `kept` from now on."""
        np.add.at(self.quadric, kept, self.quadric[gone])
        np.add.at(self.weight, kept, self.weight[gone])


def _collapses(state, faces, features, tolerance):
    """(V,) what each vertex becomes in one pass of collapses that do not touch each other's
    triangles."""
    vertices = state.at[:, :3]
    count = len(state.at)
    # (3 F,) each
    gone, kept = faces[:, [0, 1, 2, 1, 2, 0]].reshape(-1, 2, 3).transpose(1, 0, 2).reshape(2, -1)
    length2 = np.sum((vertices[gone] - vertices[kept]) ** 2, axis=1)
    free = (
        (length2 < (LONGEST_EDGE * tolerance) ** 2)
        & (~state.border[gone] | state.border[kept])
        & (state.waits[gone] <= 0)
    )
    gone = gone[free]
    kept = kept[free]
    length2 = length2[free]
    error2 = state.error2(gone, kept) + np.sum((features[gone] - features[kept]) ** 2, axis=1)
    cheap = np.flatnonzero(error2 < tolerance**2)
    cheap = cheap[np.argsort(error2[cheap] + 1e-4 * length2[cheap], kind="stable")]
    gone = gone[cheap]
    kept = kept[cheap]
    rank = np.arange(len(gone))
    mine = np.full(count, len(gone))

    for end in (gone, kept):
        np.minimum.at(mine, end, rank)

    around = mine[faces].min(1)
    ring = np.full(count, len(gone))

    for corner in faces.T:
        np.minimum.at(ring, corner, around)

    chosen = rank == ring[gone]
    step = np.arange(count)
    step[gone[chosen]] = kept[chosen]

    return _without_flips(step, state, faces)


def _without_flips(step, state, faces):
    """The collapses without those that turn a triangle over; their vertices wait a while."""
    vertices = state.at[:, :3]
    new = step[faces]
    before = _normals(vertices, faces)
    after = _normals(vertices, new)
    agree = np.sum(before * after, axis=1)
    size = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    bad = (agree < 0.3 * size) & (size > 0)
    stay = faces[bad][new[bad] != faces[bad]]
    state.waits -= 1
    state.waits[stay] = PATIENCE
    step[stay] = stay

    return step


def _normals(vertices, faces):
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


def _planes(normals, points):
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    unit = normals / np.maximum(length, 1e-15)
    distance = np.sum(unit * points, axis=1, keepdims=True)
    return np.concatenate([unit, -distance], axis=1)


def _borders(faces):
    """Edges of one triangle only: their first and second vertices and their triangles."""
    count = int(faces.max()) + 1
    first = faces[:, [0, 1, 2]].reshape(-1)
    second = faces[:, [1, 2, 0]].reshape(-1)
    face = np.repeat(np.arange(len(faces)), 3)
    alone = ~np.isin(first * count + second, second * count + first)

    return first[alone], second[alone], face[alone]
