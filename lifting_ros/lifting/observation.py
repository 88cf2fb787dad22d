# SPDX-License-Identifier: Apache-2.0
"""Keypoints in pixels to rays with covariances, and rays into the view frame: z towards the person,
up in the y-z plane."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.compiled import assign, compiled
from lifting_ros.geometry.camera import Camera
from lifting_ros.skeleton import KEYPOINT_COUNT

ORTHOGRAPHIC_DISTANCE = 20.0
"""Distance at which a person without a camera is placed, in heights of the person in the image:
nearly an orthographic view."""

MAX_RAY = 20.0
"""Rays further out (87 degrees) are not used: no pinhole camera sees them."""

PITCH_STEP = np.radians(5.0)
"""Step of the pitch grid, radians. Candidates are tabulated for these pitches, and the view frame
is turned towards the person as nearly as the grid allows."""

PITCHES = (0, 6, -6, 12, -12)
"""Steps of PITCH_STEP in which up is searched where it is unknown."""

ROLLS = 12
"""Rolls about the viewing direction in which up is searched where it is unknown."""

LEVELS = 2
"""Noise levels per octave: the standard deviation (std) of a common noise divided by the spread of
the rays is rounded to 2^(level / LEVELS), by at most 19 %."""

DIFFERENT = 10**6
"""Code in place of a noise level: keypoints are missing or differ in noise."""

FEW = 10**6 + 1
"""Code in place of a noise level: at most FEW_SEEN keypoints are seen, so that most of the pose is
inferred."""

NONE = 10**6 + 2
"""Code in place of a noise level: the person cannot be lifted."""

FEW_SEEN = 6
"""Largest number of keypoints with which a person counts as FEW."""

LEAST_CONFIDENCE = 1e-3
"""Keypoints below this fraction of the person's best confidence count as not seen."""

LOST = 9.0
"""Largest variance of the best keypoint, divided by that of the person. Above it no keypoint can be
assigned to a part of the person."""

_MAX_PIXEL = 1e7
"""Largest coordinate of a valid keypoint."""

_NO_NEWS = 1e4
"""Largest variance of a keypoint, divided by that of the person: a std of a hundred persons."""

_COMMON = 1.5
"""Largest ratio of variances at which keypoints count as having one noise."""


class Rays(NamedTuple):
    """What the image states about N persons."""

    rays: np.ndarray
    """(N, 14, 2) normalised image coordinates; 0 where not seen."""
    noise: np.ndarray
    """(N, 14, 3) their covariance: xx, xy, yy."""
    seen: np.ndarray
    """(N, 14) bool."""


class Views(NamedTuple):
    """V persons in view frames; float32 except seen, pitch and level."""

    rays: np.ndarray
    """(V, 14, 2) x / z, y / z."""
    centred: np.ndarray
    """(V, 28) rays about the mean of the seen ones; 0 where not seen."""
    noise: np.ndarray
    """(V, 14, 3) covariance xx, xy, yy divided by the mean square of the centred rays."""
    seen: np.ndarray
    """(V, 14) bool."""
    frame: np.ndarray
    """(V, 3, 3) rotation from the optical frame."""
    pitch: np.ndarray
    """(V,) angle by which up leans along the view, in steps of PITCH_STEP."""
    level: np.ndarray
    """(V,) level of the noise that all keypoints have in common, or DIFFERENT, FEW, NONE."""


class _View(NamedTuple):
    """One row of `Views`."""

    rays: np.ndarray
    centred: np.ndarray
    noise: np.ndarray
    seen: np.ndarray


def to_rays(
    keypoints_px,
    confidence,
    covariance_px2,
    camera: Camera | None,
    relative_noise: float,
    noise_floor_px: float,
) -> Rays:
    """Rays of keypoints (N, 14, 2) with confidence (N, 14) and covariance (N, 14, 2, 2) or None.

    The square of noise_floor_px is added to a given covariance. The std of a keypoint without a
    valid covariance is relative_noise times the person's extent, at least noise_floor_px, divided
    by the root of its confidence. Without a camera the view is nearly orthographic.
    """
    pixels = np.ascontiguousarray(keypoints_px, np.float64)
    weight = np.ascontiguousarray(confidence, np.float64)
    given = np.full((1, 1, 2, 2), np.nan)
    if covariance_px2 is not None:
        given = np.ascontiguousarray(covariance_px2, np.float64)
    clean, noise, seen, centre, focal = _clean(
        pixels, weight, given, relative_noise, noise_floor_px
    )

    if camera is None:
        rays = (clean - centre[:, None]) / focal[:, None, None]
        noise = noise / (focal**2)[:, None, None]
    else:
        distorted = camera.is_distorted
        rays = camera.rays(clean) if distorted else np.empty_like(clean)
        noise = _normalise(clean, noise, camera.matrix, rays, distorted)
        if distorted:
            _undistort(noise, camera.undistort_jacobian(rays), seen)

    _hide_far(rays, seen)

    return Rays(rays, noise, seen)


@compiled
def _clean(
    pixels,
    weight,
    given,
    relative_noise,
    floor,
):
    """Valid keypoints, without a camera's help.

    Returns pixels (N, 14, 2), 0 where not seen; covariances (N, 14, 3); seen (N, 14); the centre
    (N, 2) of the seen ones; and a focal length (N,) for persons without a camera.
    """
    count = len(pixels)
    clean = np.zeros((count, KEYPOINT_COUNT, 2))
    noise = np.zeros((count, KEYPOINT_COUNT, 3))
    seen = np.zeros((count, KEYPOINT_COUNT), np.bool_)
    centre = np.zeros((count, 2))
    focal = np.ones(count)
    low = np.empty(2)
    high = np.empty(2)

    for n in range(count):
        total = _find_seen(pixels[n], weight[n], seen[n])
        if total == 0:
            continue

        # Pixels and their extent
        low[:] = np.inf
        high[:] = -np.inf
        for k in range(KEYPOINT_COUNT):
            if seen[n, k]:
                for axis in range(2):
                    value = pixels[n, k, axis]
                    clean[n, k, axis] = value
                    low[axis] = min(low[axis], value)
                    high[axis] = max(high[axis], value)
                    centre[n, axis] += value
        for axis in range(2):
            centre[n, axis] /= total
        extent = max(high[0] - low[0], high[1] - low[1], 1.0)
        focal[n] = ORTHOGRAPHIC_DISTANCE * extent

        # Covariances
        for k in range(KEYPOINT_COUNT):
            if seen[n, k]:
                certainty = min(max(weight[n, k], 1e-6), 1.0)
                default = max(relative_noise * extent, floor) ** 2 / certainty
                own = given[n % len(given), k % given.shape[1]]
                _write_noise(own, default, floor, noise[n, k])

    return clean, noise, seen, centre, focal


@compiled
def _find_seen(
    pixels,
    weight,
    seen,
):
    """Write which keypoints (14, 2) of one person are seen (14,), by their confidences (14,);
    return how many are."""
    best = 0.0
    for k in range(KEYPOINT_COUNT):
        if weight[k] > best:
            best = min(weight[k], 1.0)

    # Comparisons are false for NaN
    total = 0
    for k in range(KEYPOINT_COUNT):
        confident = weight[k] > LEAST_CONFIDENCE * best
        inside = abs(pixels[k, 0]) < _MAX_PIXEL and abs(pixels[k, 1]) < _MAX_PIXEL
        seen[k] = confident and inside
        if seen[k]:
            total += 1

    return total


@compiled
def _write_noise(
    given,
    default,
    floor,
    out,
):
    """Write the covariance xx, xy, yy of a keypoint; `default` is the variance of one whose `given`
    (2, 2) is invalid."""
    xx = given[0, 0]
    xy = 0.5 * (given[0, 1] + given[1, 0])
    yy = given[1, 1]
    if 0 <= xx < 1e14 and 0 <= yy < 1e14 and xy * xy <= xx * yy:  # false for NaN
        out[0] = xx + floor**2
        out[1] = xy
        out[2] = yy + floor**2
    else:
        out[0] = default
        out[1] = 0.0
        out[2] = default


@compiled
def _normalise(
    pixels,
    noise,
    matrix,
    rays,
    distorted,
):
    """Covariances (N, 14, 3) of normalised image coordinates, before the lens is undistorted.

    Also writes the rays (N, 14, 2) of a camera that is not `distorted`. matrix: the camera's K.
    """
    out = np.empty_like(noise)
    a = 1 / matrix[0, 0]
    b = -matrix[0, 1] / (matrix[0, 0] * matrix[1, 1])
    d = 1 / matrix[1, 1]

    for n in range(len(noise)):
        for k in range(KEYPOINT_COUNT):
            if not distorted:
                pixel = pixels[n, k]
                y = d * (pixel[1] - matrix[1, 2])
                x = a * (pixel[0] - matrix[0, 2] - matrix[0, 1] * y)
                rays[n, k, 0] = x
                rays[n, k, 1] = y

            own = out[n, k]
            xx, xy, yy = noise[n, k]
            own[0] = a * a * xx + 2 * a * b * xy + b * b * yy
            own[1] = a * d * xy + b * d * yy
            own[2] = d * d * yy

    return out


@compiled
def _undistort(
    noise,
    jacobian,
    seen,
):
    """Transform covariances (N, 14, 3) by the Jacobian of the lens (N, 14, 2, 2), in place.

    Keypoints outside the lens model become not seen.
    """
    for n in range(len(noise)):
        for k in range(KEYPOINT_COUNT):
            own = noise[n, k]
            (a, b), (c, d) = jacobian[n, k]
            xx, xy, yy = own
            own[0] = a * a * xx + 2 * a * b * xy + b * b * yy
            own[1] = a * c * xx + (a * d + b * c) * xy + b * d * yy
            own[2] = c * c * xx + 2 * c * d * xy + d * d * yy

            finite = abs(own[0]) < np.inf and abs(own[2]) < np.inf
            if not finite:
                own[:] = 0.0
                seen[n, k] = False


@compiled
def _hide_far(
    rays,
    seen,
):
    """Mark rays (N, 14, 2) beyond MAX_RAY as not seen, in place."""
    for n in range(len(rays)):
        for k in range(KEYPOINT_COUNT):
            inside = abs(rays[n, k, 0]) < MAX_RAY and abs(rays[n, k, 1]) < MAX_RAY
            if not (seen[n, k] and inside):
                seen[n, k] = False
                rays[n, k] = 0.0


@compiled
def into_views(
    rays,
    noise,
    seen,
    up,
):
    """The fields of `Views` of rays (V, 14, 2), covariances (V, 14, 3) and seen (V, 14).

    up (V, 3): unit vectors in the optical frame.
    """
    count = len(rays)
    turned = np.zeros((count, KEYPOINT_COUNT, 2), np.float32)
    centred = np.zeros((count, 2 * KEYPOINT_COUNT), np.float32)
    relative = np.zeros((count, KEYPOINT_COUNT, 3), np.float32)
    visible = np.zeros((count, KEYPOINT_COUNT), np.bool_)
    frames = np.empty((count, 3, 3), np.float32)
    pitch = np.zeros(count, np.int64)
    level = np.empty(count, np.int64)
    level[:] = NONE
    frame = np.empty((3, 3))

    for v in range(count):
        x = 0.0
        y = 0.0
        z = 0.0
        for k in range(KEYPOINT_COUNT):
            if seen[v, k]:
                x += rays[v, k, 0]
                y += rays[v, k, 1]
                z += 1.0
        if z == 0:
            continue

        pitch[v] = _write_frame(x, y, z, up[v], frame)
        for axis in range(3):
            assign(frames[v, axis], frame[axis])
        view = _View(turned[v], centred[v], relative[v], visible[v])
        _turn_rays(frame, rays[v], noise[v], seen[v], view)
        level[v] = _find_level(view)
        if level[v] == NONE:
            visible[v] = False

    return turned, centred, relative, visible, frames, pitch, level


@compiled
def _write_frame(
    x,
    y,
    z,
    up,
    frame,
):
    """Write the rotation (3, 3) from the optical frame into one that looks along (x, y, z), except
    for the rounding of the pitch; return the pitch in steps.

    up (3,): unit vector.
    """
    # Pitch of the direction
    length = np.sqrt(x * x + y * y + z * z)
    x = x / length
    y = y / length
    z = z / length
    along = min(max(x * up[0] + y * up[1] + z * up[2], -1.0), 1.0)
    steps = np.rint(np.arcsin(along) / PITCH_STEP)

    # Its level part
    x = x - along * up[0]
    y = y - along * up[1]
    z = z - along * up[2]
    level = np.sqrt(x * x + y * y + z * z)
    if level < 1e-6:  # the camera looks straight up or down: any level direction will do
        x, y, z = (0.0, -up[2], up[1]) if abs(up[0]) < 0.9 else (up[2], 0.0, -up[0])
        level = np.sqrt(x * x + y * y + z * z)

    # Axes
    c = np.cos(steps * PITCH_STEP)
    s = np.sin(steps * PITCH_STEP)
    ahead = (x / level, y / level, z / level)
    for axis, part in enumerate(ahead):
        frame[2, axis] = c * part + s * up[axis]
        frame[1, axis] = s * part - c * up[axis]

    for axis in range(3):
        b = (axis + 1) % 3
        d = (axis + 2) % 3
        frame[0, axis] = frame[1, b] * frame[2, d] - frame[1, d] * frame[2, b]

    return int(steps)


def every_way_up(
    rays: np.ndarray,
    seen: np.ndarray,
) -> np.ndarray:
    """Unit vectors (V, 3) in which up may point, for a person with rays (14, 2) and seen (14,).

    Empty where nothing is seen.
    """
    if not seen.any():
        return np.zeros((0, 3))

    middle = np.append(rays[seen].mean(0), 1.0)
    direction = middle / np.linalg.norm(middle)
    other = [0.0, 1.0, 0.0] if abs(direction[1]) < 0.9 else [1.0, 0.0, 0.0]
    across = np.cross(direction, other)
    across /= np.linalg.norm(across)

    roll = np.arange(ROLLS) * 2 * np.pi / ROLLS
    along_first = np.outer(np.cos(roll), np.cross(direction, across))
    along_second = np.outer(np.sin(roll), across)
    level = along_first + along_second  # (R, 3)

    pitch = np.array(PITCHES)[:, None, None] * PITCH_STEP
    ups = np.sin(pitch) * direction + np.cos(pitch) * level  # (P, R, 3)
    return ups.reshape(-1, 3)


@compiled
def _turn_rays(
    frame,
    rays,
    noise,
    seen,
    view,
):
    """Write rays, centred rays and seen of one person in the view frame; and the covariances, not
    yet divided by the spread."""
    right = frame[0]
    down = frame[1]
    forward = frame[2]

    total = 0
    mean_x = 0.0
    mean_y = 0.0
    for k in range(KEYPOINT_COUNT):
        ray = rays[k]
        x = right[0] * ray[0] + right[1] * ray[1] + right[2]
        y = down[0] * ray[0] + down[1] * ray[1] + down[2]
        z = forward[0] * ray[0] + forward[1] * ray[1] + forward[2]
        beside = z < 0.05 * (abs(x) + abs(y))  # the other keypoints are far off
        if not seen[k] or beside:
            continue

        total += 1
        view.seen[k] = True
        u = x / z
        v = y / z
        view.rays[k, 0] = u
        view.rays[k, 1] = v
        mean_x += u
        mean_y += v

        # Jacobian of the rotation, and the covariance
        ux = (right[0] - u * forward[0]) / z
        uy = (right[1] - u * forward[1]) / z
        vx = (down[0] - v * forward[0]) / z
        vy = (down[1] - v * forward[1]) / z
        xx, xy, yy = noise[k]
        own = view.noise[k]
        own[0] = ux * ux * xx + 2 * ux * uy * xy + uy * uy * yy
        own[1] = ux * vx * xx + (ux * vy + uy * vx) * xy + uy * vy * yy
        own[2] = vx * vx * xx + 2 * vx * vy * xy + vy * vy * yy

    if total < 2:  # one ray has no spread
        return

    for k in range(KEYPOINT_COUNT):
        if view.seen[k]:
            view.centred[2 * k] = view.rays[k, 0] - mean_x / total
            view.centred[2 * k + 1] = view.rays[k, 1] - mean_y / total


@compiled
def _find_level(view):
    """Divide the covariances of one person by the spread of the rays; return the noise level."""
    total = 0
    spread = 0.0
    for k in range(KEYPOINT_COUNT):
        if view.seen[k]:
            total += 1
            spread += view.centred[2 * k] ** 2 + view.centred[2 * k + 1] ** 2

    if total < 2:
        return NONE

    spread = spread / total + 1e-16

    least = np.inf
    most = 0.0
    for k in range(KEYPOINT_COUNT):
        if view.seen[k]:
            noise = view.noise[k]
            noise /= np.float32(spread)
            if not max(noise[0], noise[2]) < _NO_NEWS:
                noise[0] = _NO_NEWS
                noise[1] = 0.0
                noise[2] = _NO_NEWS
            least = min(least, noise[0], noise[2])
            most = max(most, noise[0], noise[2])
            most = max(most, noise[0] + abs(noise[1]))

    if least > LOST:  # all keypoints lie within their noise
        return NONE

    if total <= FEW_SEEN:
        return FEW

    if total < KEYPOINT_COUNT or most > _COMMON * least:
        return DIFFERENT

    return int(np.rint(0.25 * LEVELS * np.log2(least * most)))
