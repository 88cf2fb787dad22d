# SPDX-License-Identifier: Apache-2.0
"""The inner loops of the ray caster, compiled: pixels that need rays, surfaces that rays meet,
light, and samples put into pixels."""

from __future__ import annotations

import numpy as np

from lifting_ros.compiled import compiled

NEAR_M = 0.05


@compiled
def covered_pixels(  # noqa: C901 - one compiled loop
    vertices,
    faces,
    K,
    window,
):
    """Pixels (P, 2) int32 column, row inside the window (left, top, right, bottom) that a triangle
    may touch, row by row.

    vertices (V, 3) float32, faces (F, 3) int32, K (3, 3) float64, window (4,) int64.
    """
    left, top, right, bottom = window
    mask = np.zeros((max(bottom - top, 0), max(right - left, 0)), np.bool_)

    for f in range(len(faces)):
        low_x = 1e9
        low_y = 1e9
        high_x = -1e9
        high_y = -1e9
        ahead = 0

        for k in range(3):
            x, y, z = vertices[faces[f, k]]
            if z > NEAR_M:
                ahead += 1
                column = (K[0, 0] * x + K[0, 1] * y) / z + K[0, 2]
                row = K[1, 1] * y / z + K[1, 2]
                low_x = min(low_x, column)
                high_x = max(high_x, column)
                low_y = min(low_y, row)
                high_y = max(high_y, row)

        if ahead == 0:
            continue

        if ahead < 3:  # reaches behind the camera: anywhere
            low_x = -1e9
            low_y = -1e9
            high_x = 1e9
            high_y = 1e9

        first = int(max(np.floor(low_x), left)) - left
        last = int(min(np.ceil(high_x), right - 1)) - left

        for row in range(
            int(max(np.floor(low_y), top)) - top, int(min(np.ceil(high_y), bottom - 1)) - top + 1
        ):
            for column in range(first, last + 1):
                mask[row, column] = True

    pixels = np.empty((mask.sum(), 2), np.int32)
    n = 0

    for row in range(mask.shape[0]):
        for column in range(mask.shape[1]):
            if mask[row, column]:
                pixels[n, 0] = column + left
                pixels[n, 1] = row + top
                n += 1

    return pixels


@compiled
def shown_areas(vertices, faces):
    """Middles (F, 3) of the triangles and the areas (F,) in the picture, up to a factor, of those
    that face a camera at the origin."""
    middle = np.empty((len(faces), 3), np.float32)
    area = np.zeros(len(faces), np.float32)

    for f in range(len(faces)):
        a = vertices[faces[f, 0]]
        b = vertices[faces[f, 1]]
        c = vertices[faces[f, 2]]
        along = np.float32(0)

        for k in range(3):
            i = (k + 1) % 3
            j = (k + 2) % 3
            middle[f, k] = (a[k] + b[k] + c[k]) / 3
            along += ((b[i] - a[i]) * (c[j] - a[j]) - (b[j] - a[j]) * (c[i] - a[i])) * middle[f, k]

        if middle[f, 2] > NEAR_M and along < 0:
            area[f] = -along / middle[f, 2] ** 3

    return middle, area


@compiled
def rays_through(pixels, K, samples):
    """Directions (P samples samples, 3) float32 with z = 1: `samples` rays each way through every
    pixel (P, 2) column, row."""
    out = np.empty((len(pixels) * samples * samples, 3), np.float32)
    n = 0

    for p in range(len(pixels)):
        for i in range(samples):
            y = (pixels[p, 1] + (i + 0.5) / samples - 0.5 - K[1, 2]) / K[1, 1]
            for j in range(samples):
                x = pixels[p, 0] + (j + 0.5) / samples - 0.5
                out[n, 0] = (x - K[0, 2] - K[0, 1] * y) / K[0, 0]
                out[n, 1] = y
                out[n, 2] = 1
                n += 1

    return out


@compiled
def surfaces(  # noqa: PLR0913 - compiled: plain arrays
    prim,
    u,
    v,
    far,
    start,
    directions,
    faces,
    vertices,
    normals,
    rest,
):
    """Of the rays that met a triangle (prim >= 0): ray (N,), face (N,), point (N, 3), unit normal
    (N, 3), rest position (N, 3).

    prim, u, v, far (R,), start and directions (R, 3), the rest as in a mesh. Normals face the
    viewer where the triangle's back is seen.
    """
    count = 0
    for r in range(len(prim)):
        count += prim[r] >= 0

    ray = np.empty(count, np.int64)
    face = np.empty(count, np.int64)
    point = np.empty((count, 3), np.float32)
    normal = np.empty((count, 3), np.float32)
    still = np.empty((count, 3), np.float32)
    n = 0

    for r in range(len(prim)):
        if prim[r] < 0:
            continue

        ray[n] = r
        face[n] = prim[r]
        a, b, c = faces[prim[r]]
        length2 = np.float32(0)
        toward = np.float32(0)
        away = np.float32(0)

        for k in range(3):
            w = 1 - u[r] - v[r]
            point[n, k] = start[r, k] + far[r] * directions[r, k]
            still[n, k] = w * rest[a, k] + u[r] * rest[b, k] + v[r] * rest[c, k]
            smooth = w * normals[a, k] + u[r] * normals[b, k] + v[r] * normals[c, k]
            i = (k + 1) % 3
            j = (k + 2) % 3
            flat = (vertices[b, i] - vertices[a, i]) * (vertices[c, j] - vertices[a, j]) - (
                vertices[b, j] - vertices[a, j]
            ) * (vertices[c, i] - vertices[a, i])
            normal[n, k] = smooth
            length2 += smooth * smooth
            toward += smooth * directions[r, k]
            away += flat * directions[r, k]

        scale = 1 / max(np.sqrt(length2), np.float32(1e-9))

        for k in range(3):
            normal[n, k] *= -scale if toward > 0 and away > 0 else scale

        n += 1

    return ray, face, point, normal, still


@compiled
def lighting(  # noqa: PLR0913 - compiled: plain arrays
    normal,
    albedo,
    gloss,
    lit,
    toward,
    view,
    up,
    sun,
    sky,
    ground,
):
    """Colours (N, 3) in [0, 1] under a sky, a floor and lamps. lit (L, N) bool, toward (L, 3), view
    (N, 3) rays, colours (3,)."""
    out = np.empty_like(albedo)
    half = np.empty(3, np.float32)

    for n in range(len(normal)):
        above = np.float32(0.5) + np.float32(0.5) * (
            normal[n, 0] * up[0] + normal[n, 1] * up[1] + normal[n, 2] * up[2]
        )
        direct = np.float32(0)
        shine = np.float32(0)

        for k in range(len(toward)):
            facing = (
                normal[n, 0] * toward[k, 0]
                + normal[n, 1] * toward[k, 1]
                + normal[n, 2] * toward[k, 2]
            )
            if facing <= 0 or not lit[k, n]:
                continue

            direct += facing

            if gloss[n] > 0:
                far = np.sqrt(view[n, 0] ** 2 + view[n, 1] ** 2 + view[n, 2] ** 2)
                length2 = np.float32(1e-12)
                along = np.float32(0)

                for i in range(3):
                    half[i] = toward[k, i] - view[n, i] / far
                    length2 += half[i] * half[i]
                    along += half[i] * normal[n, i]

                along2 = max(along, np.float32(0)) ** 2 / length2
                along4 = along2 * along2
                along8 = along4 * along4
                shine += gloss[n] * along8 * along8 * along8 * along4 * along2  # to the power 30

        for i in range(3):
            lamp = (albedo[n, i] * direct + shine) * sun[i] / len(toward)
            out[n, i] = min(
                max(
                    albedo[n, i] * (above * sky[i] + (1 - above) * ground[i]) + lamp, np.float32(0)
                ),
                np.float32(1),
            )

    return out


@compiled
def pooled(pixels, rays_a_pixel, ray, colour, shape):
    """Samples put into pixels: colour (H, W, 3) times alpha, alpha (H, W).

    pixels (P, 2); ray (N,) in the order of the pixels, colour (N, 3); shape (H, W).
    """
    image = np.zeros((shape[0], shape[1], 3), np.float32)
    alpha = np.zeros(shape, np.float32)
    share = np.float32(1 / rays_a_pixel)

    for n in range(len(ray)):
        column, row = pixels[ray[n] // rays_a_pixel]
        alpha[row, column] += share
        for k in range(3):
            image[row, column, k] += share * colour[n, k]

    return image, alpha


@compiled
def sphere_colours(sphere, normal):
    """(N, 3) colours that a lit sphere (S, S, 3) shows at unit normals (N, 3)."""
    out = np.empty_like(normal)
    half = (len(sphere) - 1) / 2
    for n in range(len(normal)):
        column = int(half * (1 + 0.96 * normal[n, 0]) + 0.5)
        row = int(half * (1 + 0.96 * normal[n, 1]) + 0.5)
        for k in range(3):
            out[n, k] = sphere[row, column, k]

    return out
