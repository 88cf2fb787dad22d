# SPDX-License-Identifier: Apache-2.0
"""Coarser versions of a mesh for what is far away: edges are collapsed, those with the smallest
error first.

The error of a collapse is the root mean square distance to the planes of the triangles that the
vertex replaces (Garland and Heckbert, Surface Simplification Using Quadric Error Metrics, 1997). No
vertex is new or moved, so that skin weights and textures remain valid.
"""

from __future__ import annotations

import numpy as np

LONGEST_EDGE = 10.0
"""Longest edge that may collapse, divided by the tolerance: joints need vertices to bend."""
BORDER = 3.0
"""Weight of the planes that hold open borders in place, relative to those of the triangles."""
PASSES = 60
"""Most passes of collapses per level."""
PATIENCE = 8
"""Passes for which a vertex rests after a collapse that would have turned a triangle over."""


def coarsen(
    vertices: np.ndarray,
    faces: np.ndarray,
    tolerances_m,
    features: np.ndarray,
) -> list[np.ndarray]:
    """For each tolerance (metres, rising) an array (V,): the vertex that replaces each vertex.

    vertices (V, 3), faces (F, 3). features (V, n), in metres: differences between two vertices
    count as an error too.
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
            faces, _ = remapped(faces, step)
            goal = step[goal]

        levels.append(goal)

    return levels


def remapped(faces: np.ndarray, goal: np.ndarray):
    """The faces after each vertex is replaced by that of goal (V,).

    Returns the faces (F', 3) with three different corners, and which of the F they are (F',).
    """
    faces = goal[faces]
    a, b, c = faces.T
    whole = (a != b) & (b != c) & (c != a)
    return faces[whole], np.flatnonzero(whole)


class _Quadrics:
    """For each vertex the sum of the squared distances to its planes, as a matrix (4, 4), and the
    sum of their weights."""

    def __init__(self, vertices, faces):
        count = len(vertices)
        self.waits = np.zeros(count, int)  # passes until a vertex may collapse
        self.at = np.concatenate([vertices, np.ones((count, 1))], axis=1)
        self.quadric = np.zeros((count, 16))
        self.weight = np.full(count, 1e-12)

        # Planes of the triangles
        normal = _normals(vertices, faces)
        area = np.linalg.norm(normal, axis=1)
        self._add(faces, _planes(normal, vertices[faces[:, 0]]), area)

        # Planes along open borders, perpendicular to their triangles
        first, second, face = _borders(faces)
        self.border = np.zeros(count, bool)
        self.border[first] = True
        along = vertices[second] - vertices[first]
        wall = np.cross(along, normal[face])
        length2 = BORDER * np.sum(along**2, axis=1)
        self._add(np.stack([first, second], 1), _planes(wall, vertices[first]), length2)

    def _add(self, corners, planes, weight):
        """Add planes (F, 4) with weights (F,) to their corners (F, n)."""
        outer = planes[:, :, None] * planes[:, None] * weight[:, None, None]
        quadric = outer.reshape(-1, 16)
        for corner in corners.T:
            np.add.at(self.quadric, corner, quadric)
            np.add.at(self.weight, corner, weight)

    def error2(self, gone, kept):
        """(E,) mean squared distance of vertex `kept` to the planes of both."""
        both = (self.quadric[gone] + self.quadric[kept]).reshape(-1, 4, 4)
        at = self.at[kept]
        error = np.einsum("eij,ei,ej->e", both, at, at)
        weight = self.weight[gone] + self.weight[kept]
        return error / weight

    def merge(self, gone, kept):
        """Add the planes of `gone` to those of `kept`."""
        quadric = self.quadric[gone]
        weight = self.weight[gone]
        np.add.at(self.quadric, kept, quadric)
        np.add.at(self.weight, kept, weight)


def _collapses(state, faces, features, tolerance):
    """(V,) the vertex that replaces each vertex in one pass; no two collapses of a pass touch the
    same triangle."""
    vertices = state.at[:, :3]
    count = len(vertices)

    # Edges that may collapse
    gone, kept = _edges(faces)
    length2 = np.sum((vertices[gone] - vertices[kept]) ** 2, axis=1)
    short = length2 < (LONGEST_EDGE * tolerance) ** 2
    on_border = ~state.border[gone] | state.border[kept]
    free = short & on_border & (state.waits[gone] <= 0)
    gone = gone[free]
    kept = kept[free]
    length2 = length2[free]

    # Those with a small error, the smallest first
    apart2 = np.sum((features[gone] - features[kept]) ** 2, axis=1)
    error2 = state.error2(gone, kept) + apart2
    cheap = np.flatnonzero(error2 < tolerance**2)
    cost = error2[cheap] + 1e-4 * length2[cheap]
    cheap = cheap[np.argsort(cost, kind="stable")]
    gone = gone[cheap]
    kept = kept[cheap]

    # A collapse is done if no cheaper one touches the triangles around it
    rank = np.arange(len(gone))
    mine = np.full(count, len(gone))
    np.minimum.at(mine, gone, rank)
    np.minimum.at(mine, kept, rank)
    around = mine[faces].min(1)
    ring = np.full(count, len(gone))
    for corner in faces.T:
        np.minimum.at(ring, corner, around)
    chosen = rank == ring[gone]

    step = np.arange(count)
    step[gone[chosen]] = kept[chosen]
    return _without_flips(step, state, faces)


def _without_flips(step, state, faces):
    """The collapses (V,) without those that turn a triangle over; their vertices rest for PATIENCE
    passes."""
    vertices = state.at[:, :3]
    new = step[faces]
    before = _normals(vertices, faces)
    after = _normals(vertices, new)

    agree = np.sum(before * after, axis=1)
    size = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    bad = (agree < 0.3 * size) & (size > 0)
    moved = new[bad] != faces[bad]
    stay = faces[bad][moved]

    state.waits -= 1
    state.waits[stay] = PATIENCE
    step[stay] = stay
    return step


def _normals(vertices, faces):
    """(F, 3) normals, twice as long as the triangle's area."""
    a = vertices[faces[:, 0]]
    b = vertices[faces[:, 1]]
    c = vertices[faces[:, 2]]
    return np.cross(b - a, c - a)


def _planes(normals, points):
    """(F, 4) planes through points (F, 3): unit normal and minus the distance from the origin."""
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    unit = normals / np.maximum(length, 1e-15)
    distance = np.sum(unit * points, axis=1, keepdims=True)
    return np.concatenate([unit, -distance], axis=1)


def _edges(faces):
    """First and second vertices (3 F,) of the edges, in the order of the triangles (F, 3)."""
    following = np.roll(faces, -1, axis=1)
    return faces.reshape(-1), following.reshape(-1)


def _borders(faces):
    """First and second vertices (E,) of the edges of one triangle only, and the triangles (E,)."""
    count = int(faces.max()) + 1
    first, second = _edges(faces)
    face = np.repeat(np.arange(len(faces)), 3)

    forwards = first * count + second
    backwards = second * count + first
    alone = ~np.isin(forwards, backwards)
    return first[alone], second[alone], face[alone]
