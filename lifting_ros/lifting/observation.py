# SPDX-License-Identifier: Apache-2.0
"""Keypoints in pixels to rays with covariances, and into the view frame: z towards the person, up
in the y-z plane."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.compiled import compiled
from lifting_ros.geometry.camera import Camera
from lifting_ros.skeleton import KEYPOINT_COUNT

ORTHOGRAPHIC_DISTANCE = 20.0
"""Distance, in heights of the person in the image, at which a person without a camera is put: near
enough to an orthographic view."""

MAX_RAY = 20.0
"""Rays further out than this (87 degrees) are not used: no pinhole camera sees them."""

PITCH_STEP = np.radians(5.0)
"""The view frame is turned towards the person as nearly as a pitch on this grid allows: candidates
are tabulated for these."""

PITCHES, ROLLS = (0, 6, -6, 12, -12), 12
"""Steps of PITCH_STEP, and rolls about the view, in which up is sought where it is not known."""

LEVELS = 2
"""Noise levels an octave: the deviation of a common noise over the spread of the rays is rounded to
2^(level / LEVELS), 19 % at most."""

DIFFERENT, FEW, NONE = 10**6, 10**6 + 1, 10**6 + 2
"""Levels that are none: keypoints differ in noise or are missing, so few are seen that most is
guessed, nothing can be said."""

FEW_SEEN = 6
"""Keypoints up to which a person counts as FEW."""

LEAST_CONFIDENCE = 1e-3
"""Keypoints with less of the person's best confidence count as not seen: where they lie says
nothing."""

LOST = 9.0
"""Variance over that of the person: where even the best keypoint has more, none tells where in the
person it is."""

_MAX_PIXEL = 1e7
_NO_NEWS = 1e4  # variance over that of the person: a keypoint a hundred persons off
_COMMON = 1.5  # ratio of variances up to which keypoints count as of one noise


class Rays(NamedTuple):
    """What the image says of N persons."""

    rays: np.ndarray
    """(N, 14, 2) normalised image coordinates; 0 where not seen."""
    noise: np.ndarray
    """(N, 14, 3) their covariance: xx, xy, yy."""
    seen: np.ndarray
    """(N, 14) bool."""


class Views(NamedTuple):
    """Persons in view frames; float32 but for the pitch."""

    rays: np.ndarray
    """(V, 14, 2) x / z, y / z."""
    centred: np.ndarray
    """(V, 28) about the mean of the seen ones; 0 where not seen."""
    noise: np.ndarray
    """(V, 14, 3) covariance xx, xy, yy over the mean square of the centred rays."""
    seen: np.ndarray
    """(V, 14) bool."""
    frame: np.ndarray
    """(V, 3, 3) rotation from the optical frame."""
    pitch: np.ndarray
    """(V,) steps of PITCH_STEP: how far up points along the view."""
    level: np.ndarray
    """(V,) steps of the noise that all keypoints have in common, or DIFFERENT, FEW, NONE."""


def to_rays(
    keypoints_px,
    confidence,
    covariance_px2,
    camera: Camera | None,
    relative_noise: float,
    noise_floor_px: float,
) -> Rays:
    """Keypoints (N, 14, 2), confidences (N, 14) and covariances (N, 14, 2, 2) or None.

    A covariance is taken as it is; a keypoint without a usable one gets the square of
    `relative_noise` of the person's extent, divided by its confidence. Without a camera the view is
    all but orthographic.
    """
    pixels = np.ascontiguousarray(keypoints_px, np.float64)
    weight = np.ascontiguousarray(confidence, np.float64)
    given = (
        np.full((1, 1, 2, 2), np.nan)
        if covariance_px2 is None
        else np.ascontiguousarray(covariance_px2, np.float64)
    )
    clean, noise, seen, centre, focal = _read(pixels, weight, given, relative_noise, noise_floor_px)
    if camera is None:
        rays, noise = (
            (clean - centre[:, None]) / focal[:, None, None],
            noise / (focal**2)[:, None, None],
        )
    else:
        rays = camera.rays(clean) if camera.is_distorted else np.empty_like(clean)
        noise = _into_rays(clean, noise, camera.matrix, rays, camera.is_distorted)
        if camera.is_distorted:
            _undistort(noise, camera.undistort_jacobian(rays), seen)
    _hide_far(rays, seen)
    return Rays(rays, noise, seen)


@compiled
def _read(pixels, weight, given, relative_noise, floor):
    """Pixels with zeros where nothing is seen, covariances (N, 14, 3), seen (N, 14), centre (N, 2),
    focal length without a camera (N,)."""
    count = len(pixels)
    clean, noise = np.zeros((count, KEYPOINT_COUNT, 2)), np.zeros((count, KEYPOINT_COUNT, 3))
    seen, centre, focal = (
        np.zeros((count, KEYPOINT_COUNT), np.bool_),
        np.zeros((count, 2)),
        np.ones(count),
    )
    for n in range(count):
        low, high, total = np.full(2, np.inf), np.full(2, -np.inf), 0
        best = 0.0
        for k in range(KEYPOINT_COUNT):
            if weight[n, k] > best:
                best = min(weight[n, k], 1.0)
        for k in range(KEYPOINT_COUNT):
            x, y = pixels[n, k]
            if (
                weight[n, k] > LEAST_CONFIDENCE * best
                and abs(x) < _MAX_PIXEL
                and abs(y) < _MAX_PIXEL
            ):  # false for NaN
                seen[n, k], total = True, total + 1
                for axis in range(2):
                    value = clean[n, k, axis] = pixels[n, k, axis]
                    low[axis], high[axis] = min(low[axis], value), max(high[axis], value)
                    centre[n, axis] += value
        if total == 0:
            continue
        centre[n] /= total
        extent = max(high[0] - low[0], high[1] - low[1], 1.0)
        focal[n] = ORTHOGRAPHIC_DISTANCE * extent
        for k in range(KEYPOINT_COUNT):
            if seen[n, k]:
                default = max(relative_noise * extent, floor) ** 2 / min(
                    max(weight[n, k], 1e-6), 1.0
                )
                _keypoint_noise(
                    given[n % len(given), k % given.shape[1]], default, floor, noise[n, k]
                )
    return clean, noise, seen, centre, focal


@compiled
def _keypoint_noise(given, default, floor, out):
    xx, xy, yy = given[0, 0], 0.5 * (given[0, 1] + given[1, 0]), given[1, 1]
    if 0 <= xx < 1e14 and 0 <= yy < 1e14 and xy * xy <= xx * yy:  # false for NaN
        out[0], out[1], out[2] = xx + floor**2, xy, yy + floor**2
    else:
        out[0], out[1], out[2] = default, 0.0, default


@compiled
def _into_rays(pixels, noise, matrix, rays, distorted):
    """Fills in rays (N, 14, 2) of a camera without distortion; covariances (N, 14, 3) before the
    lens is undone."""
    out = np.empty_like(noise)
    a, b, d = 1 / matrix[0, 0], -matrix[0, 1] / (matrix[0, 0] * matrix[1, 1]), 1 / matrix[1, 1]
    for n in range(len(noise)):
        for k in range(KEYPOINT_COUNT):
            if not distorted:
                y = d * (pixels[n, k, 1] - matrix[1, 2])
                rays[n, k, 0], rays[n, k, 1] = (
                    a * (pixels[n, k, 0] - matrix[0, 2] - matrix[0, 1] * y),
                    y,
                )
            xx, xy, yy = noise[n, k]
            out[n, k, 0] = a * a * xx + 2 * a * b * xy + b * b * yy
            out[n, k, 1] = a * d * xy + b * d * yy
            out[n, k, 2] = d * d * yy
    return out


@compiled
def _undistort(noise, jacobian, seen):
    """Covariances (N, 14, 3) as the lens (N, 14, 2, 2) stretches them, in place; not seen where the
    lens model ends."""
    for n in range(len(noise)):
        for k in range(KEYPOINT_COUNT):
            (a, b), (c, d) = jacobian[n, k]
            xx, xy, yy = noise[n, k]
            noise[n, k, 0] = a * a * xx + 2 * a * b * xy + b * b * yy
            noise[n, k, 1] = a * c * xx + (a * d + b * c) * xy + b * d * yy
            noise[n, k, 2] = c * c * xx + 2 * c * d * xy + d * d * yy
            if not (abs(noise[n, k, 0]) < np.inf and abs(noise[n, k, 2]) < np.inf):
                noise[n, k] = 0.0
                seen[n, k] = False


@compiled
def _hide_far(rays, seen):
    for n in range(len(rays)):
        for k in range(KEYPOINT_COUNT):
            if not (seen[n, k] and abs(rays[n, k, 0]) < MAX_RAY and abs(rays[n, k, 1]) < MAX_RAY):
                seen[n, k] = False
                rays[n, k] = 0.0


@compiled
def into_views(rays, noise, seen, up):
    """Rays (V, 14, 2), covariances (V, 14, 3), seen (V, 14) and unit vectors up (V, 3) to the
    fields of `Views`."""
    count = len(rays)
    turned, centred = (
        np.zeros((count, KEYPOINT_COUNT, 2), np.float32),
        np.zeros((count, 2 * KEYPOINT_COUNT), np.float32),
    )
    relative, visible = (
        np.zeros((count, KEYPOINT_COUNT, 3), np.float32),
        np.zeros((count, KEYPOINT_COUNT), np.bool_),
    )
    frames, pitch, level = (
        np.empty((count, 3, 3), np.float32),
        np.zeros(count, np.int64),
        np.full(count, NONE),
    )
    frame = np.empty((3, 3))
    for v in range(count):
        x, y, z = 0.0, 0.0, 0.0
        for k in range(KEYPOINT_COUNT):
            if seen[v, k]:
                x, y, z = x + rays[v, k, 0], y + rays[v, k, 1], z + 1.0
        if z == 0:
            continue
        pitch[v] = view_frame(x, y, z, up[v], frame)
        frames[v] = frame
        level[v] = _turn(
            frame, rays[v], noise[v], seen[v], turned[v], centred[v], relative[v], visible[v]
        )
    return turned, centred, relative, visible, frames, pitch, level


@compiled
def view_frame(x, y, z, up, frame):
    """Rotation from the optical frame into one that looks along (x, y, z), but for what the pitch
    is off its grid; returns the pitch."""
    length = np.sqrt(x * x + y * y + z * z)
    x, y, z = x / length, y / length, z / length
    along = min(max(x * up[0] + y * up[1] + z * up[2], -1.0), 1.0)
    steps = np.rint(np.arcsin(along) / PITCH_STEP)
    x, y, z = x - along * up[0], y - along * up[1], z - along * up[2]
    level = np.sqrt(x * x + y * y + z * z)
    if level < 1e-6:  # the camera looks straight up or down: any level direction will do
        x, y, z = (0.0, -up[2], up[1]) if abs(up[0]) < 0.9 else (up[2], 0.0, -up[0])
        level = np.sqrt(x * x + y * y + z * z)
    c, s = np.cos(steps * PITCH_STEP), np.sin(steps * PITCH_STEP)
    for axis, part in enumerate((x / level, y / level, z / level)):
        frame[2, axis], frame[1, axis] = c * part + s * up[axis], s * part - c * up[axis]
    for axis in range(3):
        b, d = (axis + 1) % 3, (axis + 2) % 3
        frame[0, axis] = frame[1, b] * frame[2, d] - frame[1, d] * frame[2, b]
    return int(steps)


def every_way_up(rays: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Unit vectors (V, 3) in which up may point for a person with rays (14, 2), seen (14,); none
    where nothing is seen."""
    if not seen.any():
        return np.zeros((0, 3))
    middle = np.append(rays[seen].mean(0), 1.0)
    direction = middle / np.linalg.norm(middle)
    across = np.cross(direction, [0.0, 1.0, 0.0] if abs(direction[1]) < 0.9 else [1.0, 0.0, 0.0])
    across /= np.linalg.norm(across)
    roll = np.arange(ROLLS) * 2 * np.pi / ROLLS
    level = np.outer(np.cos(roll), np.cross(direction, across)) + np.outer(
        np.sin(roll), across
    )  # (R, 3)
    pitch = np.array(PITCHES)[:, None, None] * PITCH_STEP
    return (np.sin(pitch) * direction + np.cos(pitch) * level).reshape(-1, 3)


@compiled
def _turn(frame, rays, noise, seen, turned, centred, relative, visible):
    """One person into the view frame; returns the noise level."""
    total, mean_x, mean_y = 0, 0.0, 0.0
    for k in range(KEYPOINT_COUNT):
        x = frame[0, 0] * rays[k, 0] + frame[0, 1] * rays[k, 1] + frame[0, 2]
        y = frame[1, 0] * rays[k, 0] + frame[1, 1] * rays[k, 1] + frame[1, 2]
        z = frame[2, 0] * rays[k, 0] + frame[2, 1] * rays[k, 1] + frame[2, 2]
        if not seen[k] or z < 0.05 * (
            abs(x) + abs(y)
        ):  # beside the view: some other keypoint is far off
            continue
        visible[k], total = True, total + 1
        turned[k, 0], turned[k, 1] = x / z, y / z
        mean_x, mean_y = mean_x + x / z, mean_y + y / z
        ax, ay = (frame[0, 0] - x / z * frame[2, 0]) / z, (frame[0, 1] - x / z * frame[2, 1]) / z
        bx, by = (frame[1, 0] - y / z * frame[2, 0]) / z, (frame[1, 1] - y / z * frame[2, 1]) / z
        xx, xy, yy = noise[k]
        relative[k, 0] = ax * ax * xx + 2 * ax * ay * xy + ay * ay * yy
        relative[k, 1] = ax * bx * xx + (ax * by + ay * bx) * xy + ay * by * yy
        relative[k, 2] = bx * bx * xx + 2 * bx * by * xy + by * by * yy
    if total < 2:
        visible[:] = False
        return NONE
    spread = 0.0
    for k in range(KEYPOINT_COUNT):
        if visible[k]:
            centred[2 * k], centred[2 * k + 1] = (
                turned[k, 0] - mean_x / total,
                turned[k, 1] - mean_y / total,
            )
            spread += centred[2 * k] ** 2 + centred[2 * k + 1] ** 2
    spread = spread / total + 1e-16
    least, most = np.inf, 0.0
    for k in range(KEYPOINT_COUNT):
        if visible[k]:
            relative[k] /= np.float32(spread)
            if not max(relative[k, 0], relative[k, 2]) < _NO_NEWS:
                relative[k, 0], relative[k, 1], relative[k, 2] = _NO_NEWS, 0.0, _NO_NEWS
            least, most = (
                min(least, relative[k, 0], relative[k, 2]),
                max(most, relative[k, 0], relative[k, 2]),
            )
            most = max(most, relative[k, 0] + abs(relative[k, 1]))
    if least > LOST:  # all keypoints well within their noise
        visible[:] = False
        return NONE
    if total <= FEW_SEEN:
        return FEW
    if total < KEYPOINT_COUNT or most > _COMMON * least:
        return DIFFERENT
    return int(np.rint(0.25 * LEVELS * np.log2(least * most)))
