# SPDX-License-Identifier: Apache-2.0
"""Rotations of bones, and skinning. The loops are compiled: a person takes some hundred
rotations."""

from __future__ import annotations

import numpy as np

from lifting_ros.compiled import compiled


def turn(axis, angle: float) -> np.ndarray:
    """(3, 3) rotation by `angle` radians about `axis` (3,)."""
    return _turn(_vector(axis), float(angle))


def swing(start, end) -> np.ndarray:
    """(3, 3) smallest rotation from direction `start` (3,) to direction `end` (3,)."""
    return _swing(_vector(start), _vector(end))


def between(
    first,
    second,
    share: float,
) -> np.ndarray:
    """(3, 3) rotation the fraction `share` of the way from `first` (3, 3) to `second` (3, 3)."""
    return _between(_vector(first), _vector(second), float(share))


def frame(direction, side) -> np.ndarray:
    """(3, 3) columns: `direction` (3,), then `side` (3,) made perpendicular to it, then their cross
    product."""
    return _frame(_vector(direction), _vector(side))


def place_bones(parents, rest_heads, rotations, root) -> np.ndarray:
    """(B, 3) heads of the posed bones: forward kinematics with world rotations (B, 3, 3).

    root (3,): head of the root bone; parents (B,); rest_heads (B, 3).
    """
    numbers = np.asarray(parents, np.int64)
    return _place_bones(numbers, _vector(rest_heads), _vector(rotations), _vector(root))


def skin(  # noqa: PLR0913 - the arrays of a skinned mesh
    rest,
    rest_normals,
    bone_index,
    bone_weight,
    rotations,
    rest_heads,
    heads,
):
    """Linear blend skinning: posed vertices (V, 3) and unit normals (V, 3), both float32.

    rest, rest_normals (V, 3); bone_index, bone_weight (V, k); rotations (B, 3, 3); rest_heads and
    posed heads (B, 3).
    """
    shift = heads - np.einsum("bij,bj->bi", rotations, rest_heads)
    move = np.concatenate([rotations, shift[:, :, None]], axis=2).astype(np.float32)  # (B, 3, 4)

    return _skin(
        np.ascontiguousarray(rest, np.float32),
        np.ascontiguousarray(rest_normals, np.float32),
        np.ascontiguousarray(bone_index, np.int32),
        np.ascontiguousarray(bone_weight, np.float32),
        move,
    )


def _vector(values):
    return np.ascontiguousarray(values, np.float64)


@compiled
def _cross(a, b):
    x = a[1] * b[2] - a[2] * b[1]
    y = a[2] * b[0] - a[0] * b[2]
    z = a[0] * b[1] - a[1] * b[0]
    return np.array([x, y, z])


@compiled
def _unit(a):
    length = np.sqrt(a[0] * a[0] + a[1] * a[1] + a[2] * a[2])
    return a / max(length, 1e-12)


@compiled
def _turn(axis, angle):
    """Rodrigues' formula."""
    x, y, z = _unit(axis)
    s = np.sin(angle)
    c = 1 - np.cos(angle)

    return np.array(
        [
            [1 - c * (y * y + z * z), c * x * y - s * z, c * x * z + s * y],
            [c * x * y + s * z, 1 - c * (x * x + z * z), c * y * z - s * x],
            [c * x * z - s * y, c * y * z + s * x, 1 - c * (x * x + y * y)],
        ]
    )


@compiled
def _swing(start, end):
    start = _unit(start)
    end = _unit(end)
    axis = _cross(start, end)
    cosine = start[0] * end[0] + start[1] * end[1] + start[2] * end[2]
    sine = np.sqrt(axis[0] ** 2 + axis[1] ** 2 + axis[2] ** 2)
    if sine >= 1e-9:
        return _turn(axis, np.arctan2(sine, cosine))
    if cosine > 0:
        return np.eye(3)

    # Opposite directions: half a turn about any perpendicular axis
    other = np.array([start[2] + 0.3, start[0], start[1]])
    return _turn(_cross(start, other), np.pi)


@compiled
def _between(first, second, share):
    # The rotation from the first to the second
    delta = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            for k in range(3):
                delta[i, j] += second[i, k] * first[j, k]

    # Its axis and angle
    x = delta[2, 1] - delta[1, 2]
    y = delta[0, 2] - delta[2, 0]
    z = delta[1, 0] - delta[0, 1]
    axis = np.array([x, y, z])
    length = np.sqrt(axis[0] ** 2 + axis[1] ** 2 + axis[2] ** 2)
    if length <= 1e-9:
        return first.copy()
    angle = np.arctan2(length, delta[0, 0] + delta[1, 1] + delta[2, 2] - 1)

    # A share of it, after the first
    part = _turn(axis, share * angle)
    out = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            for k in range(3):
                out[i, j] += part[i, k] * first[k, j]

    return out


@compiled
def _frame(direction, side):
    first = _unit(direction)
    along = side[0] * first[0] + side[1] * first[1] + side[2] * first[2]
    second = _unit(side - along * first)
    third = _cross(first, second)

    out = np.empty((3, 3))
    out[:, 0] = first
    out[:, 1] = second
    out[:, 2] = third
    return out


@compiled
def _place_bones(parents, rest_heads, rotations, root):
    heads = np.zeros((len(parents), 3))
    for bone in range(len(parents)):
        parent = parents[bone]
        for i in range(3):
            if parent < 0:
                heads[bone, i] = root[i]
                continue

            heads[bone, i] = heads[parent, i]
            for j in range(3):
                along = rest_heads[bone, j] - rest_heads[parent, j]
                heads[bone, i] += rotations[parent, i, j] * along

    return heads


@compiled
def _skin(rest, rest_normals, bone_index, bone_weight, move):
    vertices = np.empty_like(rest)
    normals = np.empty_like(rest)
    blend = np.empty((3, 4), np.float32)

    for v in range(len(rest)):
        blend[:] = 0
        for k in range(bone_index.shape[1]):
            weight = bone_weight[v, k]
            bone = bone_index[v, k]
            if weight > 0:
                for i in range(3):
                    for j in range(4):
                        blend[i, j] += weight * move[bone, i, j]

        for i in range(3):
            vertices[v, i] = (
                blend[i, 0] * rest[v, 0]
                + blend[i, 1] * rest[v, 1]
                + blend[i, 2] * rest[v, 2]
                + blend[i, 3]
            )
            normals[v, i] = (
                blend[i, 0] * rest_normals[v, 0]
                + blend[i, 1] * rest_normals[v, 1]
                + blend[i, 2] * rest_normals[v, 2]
            )

        length = np.sqrt(normals[v, 0] ** 2 + normals[v, 1] ** 2 + normals[v, 2] ** 2)

        for i in range(3):
            normals[v, i] /= max(length, np.float32(1e-12))

    return vertices, normals
