# SPDX-License-Identifier: Apache-2.0
"""The compiled loops of the ray caster: pixels that need rays, surfaces that rays meet, lighting,
and the sum of the samples of each pixel."""

from __future__ import annotations

import numpy as np

from lifting_ros.compiled import compiled

NEAR_M = 0.05
"""Vertices with a smaller z are behind the camera."""


@compiled
def covered_pixels(  # noqa: C901 - one compiled loop
    vertices,
    faces,
    K,
    window,
):
    """Pixels (P, 2) int32 column, row, inside the window (left, top, right, bottom), that the box
    around a triangle covers; row by row.

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

        if ahead < 3:  # reaches behind the camera and may be anywhere
            low_x = -1e9
            low_y = -1e9
            high_x = 1e9
            high_y = 1e9

        first_column = int(max(np.floor(low_x), left)) - left
        last_column = int(min(np.ceil(high_x), right - 1)) - left
        first_row = int(max(np.floor(low_y), top)) - top
        last_row = int(min(np.ceil(high_y), bottom - 1)) - top

        for i in range(first_row, last_row + 1):
            for j in range(first_column, last_column + 1):
                mask[i, j] = True

    pixels = np.empty((mask.sum(), 2), np.int32)
    n = 0

    for i in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            if mask[i, j]:
                pixels[n, 0] = j + left
                pixels[n, 1] = i + top
                n += 1

    return pixels


@compiled
def shown_areas(vertices, faces):
    """Centres (F, 3) of the triangles, and their areas (F,) in the picture up to a common factor;
    0 for those that do not face a camera at the origin."""
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
            normal = (b[i] - a[i]) * (c[j] - a[j]) - (b[j] - a[j]) * (c[i] - a[i])
            along += normal * middle[f, k]

        if middle[f, 2] > NEAR_M and along < 0:
            area[f] = -along / middle[f, 2] ** 3

    return middle, area


@compiled
def rays_through(pixels, K, samples):
    """Directions (P * samples * samples, 3) float32 with z = 1 through pixels (P, 2) column, row;
    `samples` rays per pixel along each axis."""
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
    """Number of the ray (N,) and of the triangle (N,), point (N, 3), unit normal (N, 3) and rest
    position (N, 3) of the rays that meet a triangle (prim >= 0).

    prim, u, v, far (R,): answers of Embree; start and directions (R, 3); the others as in a mesh.
    Where the back of a triangle is seen, the normal is turned towards the viewer.
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
            first_i = vertices[b, i] - vertices[a, i]
            first_j = vertices[b, j] - vertices[a, j]
            second_i = vertices[c, i] - vertices[a, i]
            second_j = vertices[c, j] - vertices[a, j]
            flat = first_i * second_j - first_j * second_i
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
    """Colours (N, 3) in [0, 1] under a sky, a floor and lamps.

    lit (L, N) bool: where the light of each lamp arrives; toward (L, 3): directions to the lamps;
    view (N, 3): directions of the rays; up (3,); colours (3,).
    """
    out = np.empty_like(albedo)
    half = np.empty(3, np.float32)

    for n in range(len(normal)):
        upwards = normal[n, 0] * up[0] + normal[n, 1] * up[1] + normal[n, 2] * up[2]
        above = np.float32(0.5) + np.float32(0.5) * upwards
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
                shine += gloss[n] * along8 * along8 * along8 * along4 * along2  # power 30

        for i in range(3):
            lamp = (albedo[n, i] * direct + shine) * sun[i] / len(toward)
            ambient = above * sky[i] + (1 - above) * ground[i]
            colour = albedo[n, i] * ambient + lamp
            out[n, i] = min(max(colour, np.float32(0)), np.float32(1))

    return out


@compiled
def pooled(pixels, rays_a_pixel, ray, colour, shape):
    """Picture (H, W, 3), multiplied by alpha, and alpha (H, W): the means over the rays of each
    pixel.

    pixels (P, 2) column, row; ray (N,): numbers of the rays that met something, in the order of the
    pixels; colour (N, 3); shape (H, W).
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
    """(N, 3) colours of a lit sphere (S, S, 3) at unit normals (N, 3)."""
    out = np.empty_like(normal)
    half = (len(sphere) - 1) / 2
    for n in range(len(normal)):
        column = int(half * (1 + 0.96 * normal[n, 0]) + 0.5)
        row = int(half * (1 + 0.96 * normal[n, 1]) + 0.5)
        for k in range(3):
            out[n, k] = sphere[row, column, k]

    return out
