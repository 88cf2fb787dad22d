# SPDX-License-Identifier: Apache-2.0
"""Measurements of joints from an aligned depth image: per keypoint the z of its joint in the
optical frame, and its variance.

What lies under a keypoint is often not the person: the background beside a thin limb, a hole, the
arm before the far hip. Therefore a window is sampled whose size grows with the person. The nearer
part of it is taken, and depths further from the trunk than a person reaches are rejected. What
remains is a surface; the joint lies behind it by the thickness of the body. Occlusion that cannot
be detected here is left to `depth_fusion`, which knows the pose.
"""

from __future__ import annotations

import numpy as np

from lifting_ros.compiled import compiled
from lifting_ros.skeleton import KEYPOINT_COUNT, KEYPOINT_NAMES

LEAST_M = 0.1
"""Depths below this are holes."""

MOST_M = 65.0
"""Depths above this are holes: 65.5 m is the largest number of a 16-bit image, and some drivers
write it for a missing depth."""

REACH_M = 1.2
"""Largest distance of a body part from the trunk along the view."""

LEAST_CONFIDENCE = 0.3
"""Keypoints below this confidence are not sampled: too many lie off the person."""

SENSOR_NOISE = 0.0025
"""Standard deviation (std) of a depth divided by its square, 1/m: that of a structured-light or
stereo camera, 1 cm at 2 m."""

WINDOW = 0.015
"""Half side of the sampled window divided by the larger side of the person's box: 2 to 3 cm, less
than a forearm."""

MOST_WINDOW_PX = 12
"""Largest half side of the window, pixels."""

NEARER = 0.25
"""Quantile of the window at which the person is searched: the background is never nearer."""

LAYER_M = 0.1
"""Largest difference from that quantile of depths on the same surface."""

LEAST_SHARE = 0.2
"""Least share of the window that must lie on the surface."""

# fmt: off
SURFACE_TO_JOINT_M = np.array([
    0.06, 0.085, 0.08, 0.04, 0.03, 0.08, 0.04, 0.03, 0.115, 0.065, 0.046, 0.115, 0.065, 0.046,
])
"""(14,) how far the joint lies behind the surface, metres, by keypoint: mean over rendered people
seen from every side."""

SURFACE_TO_JOINT_STD_M = np.array([
    0.025, 0.035, 0.035, 0.026, 0.025, 0.035, 0.026, 0.025, 0.045, 0.022, 0.018, 0.045, 0.022,
    0.018,
])
"""(14,) its std: the side that is seen, the build, the clothes."""
# fmt: on

_TRUNK_NAMES = ("neck", "right_shoulder", "left_shoulder", "right_hip", "left_hip")
_TRUNK = tuple(i for i, name in enumerate(KEYPOINT_NAMES) if name in _TRUNK_NAMES)

_IQR_PER_STD = 1.349
"""Interquartile range of a normal distribution divided by its std."""


def measure_depth(
    depth_m: np.ndarray,
    keypoints_px: np.ndarray,
    confidence: np.ndarray,
    image_size: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Measured z (N, 14), metres, and its variance (N, 14), m^2; NaN and inf where there is none.

    depth_m: (H, W), aligned with the image: the same view, of any size; 0, NaN and inf are holes.
    keypoints_px: (N, 14, 2) in the image of `image_size` (w, h), by default of the depth image's
    size. confidence: (N, 14). Raises ValueError in one line for other shapes.
    """
    shape = np.shape(depth_m)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"depth: expected (H, W) metres, got {shape}")

    given = np.shape(keypoints_px)
    fits = given[1:] == (KEYPOINT_COUNT, 2) and np.shape(confidence) == given[:2]
    if not fits:
        raise ValueError(f"keypoints_px: expected (N, {KEYPOINT_COUNT}, 2), got {given}")

    # Keypoints in the depth image; pixel (0, 0) is the centre of the top left pixel
    scale = np.ones(2)
    if image_size is not None:
        scale = np.array(shape[::-1]) / image_size
    points = np.asarray(keypoints_px, np.float64)
    points = (points + 0.5) * scale - 0.5

    # Surfaces, and the joints behind them
    depths = np.ascontiguousarray(depth_m, np.float32)
    weight = np.asarray(confidence, np.float64)
    surface, spread = _find_surfaces(depths, points, weight)
    sensor_std = SENSOR_NOISE * surface**2
    variance = SURFACE_TO_JOINT_STD_M**2 + sensor_std**2 + spread**2
    variance = np.where(np.isfinite(surface), variance, np.inf)

    return surface + SURFACE_TO_JOINT_M, variance


@compiled
def _find_surfaces(
    depth_m,
    points,
    confidence,
):
    """Depth (N, 14) of the person's surface under keypoints (N, 14, 2) of the depth image, and its
    std (N, 14); NaN where there is none."""
    count = len(points)
    z = np.full((count, KEYPOINT_COUNT), np.nan)
    spread = np.full((count, KEYPOINT_COUNT), np.nan)
    window = np.empty((KEYPOINT_COUNT, (2 * MOST_WINDOW_PX + 1) ** 2), np.float32)
    length = np.zeros(KEYPOINT_COUNT, np.int64)

    for n in range(count):
        half = _half_window(points[n], confidence[n])
        for k in range(KEYPOINT_COUNT):
            length[k] = 0
            if half > 0 and confidence[n, k] >= LEAST_CONFIDENCE:
                length[k] = _read_window(depth_m, points[n, k], half, window[k])

        trunk = _trunk_depth(window, length)
        for k in range(KEYPOINT_COUNT):
            z[n, k], spread[n, k] = _nearest_layer(window[k, : length[k]], trunk)

    return z, spread


@compiled
def _half_window(
    points,
    confidence,
):
    """Half side of the windows of a person, pixels; 0 with fewer than two keypoints."""
    low = np.full(2, np.inf)
    high = np.full(2, -np.inf)
    seen = 0
    for k in range(KEYPOINT_COUNT):
        if confidence[k] >= LEAST_CONFIDENCE and np.isfinite(points[k]).all():
            seen += 1
            low = np.minimum(low, points[k])
            high = np.maximum(high, points[k])

    if seen < 2:
        return 0

    wanted = np.rint(WINDOW * (high - low).max())
    return int(min(max(wanted, 1.0), MOST_WINDOW_PX))


@compiled
def _read_window(
    depth_m,
    point,
    half,
    window,
):
    """Write the valid depths about a pixel into `window`, in ascending order; return how many."""
    height, width = depth_m.shape
    if not (-0.5 <= point[0] < width - 0.5 and -0.5 <= point[1] < height - 0.5):  # false for NaN
        return 0

    x = int(np.rint(point[0]))
    y = int(np.rint(point[1]))
    found = 0
    for row in range(max(y - half, 0), min(y + half + 1, height)):
        for column in range(max(x - half, 0), min(x + half + 1, width)):
            value = depth_m[row, column]
            if LEAST_M < value < MOST_M:  # false for NaN
                window[found] = value
                found += 1

    window[:found] = np.sort(window[:found])

    return found


@compiled
def _quantile(
    ordered,
    share,
):
    """Quantile `share` of ascending values (n,)."""
    return ordered[int(share * (len(ordered) - 1))]


@compiled
def _trunk_depth(
    window,
    length,
):
    """Depth of the trunk: the median under its keypoints, or under all keypoints where fewer than
    two of the trunk are known; NaN for none."""
    depths = [_quantile(window[k, : length[k]], NEARER) for k in _TRUNK if length[k] > 0]
    if len(depths) < 2:
        everywhere = range(KEYPOINT_COUNT)
        depths = [_quantile(window[k, : length[k]], NEARER) for k in everywhere if length[k] > 0]

    if len(depths) == 0:
        return np.float32(np.nan)

    return _quantile(np.sort(np.array(depths)), 0.5)


@compiled
def _nearest_layer(
    ordered,
    trunk,
):
    """Depth and std of the nearer surface among the ascending values (n,) of a window, within reach
    of the trunk; NaN where there is none."""
    near = ordered[np.abs(ordered - trunk) < REACH_M]
    if len(near) == 0:
        return np.nan, np.nan

    layer = near[np.abs(near - _quantile(near, NEARER)) < LAYER_M]
    if len(layer) < LEAST_SHARE * len(ordered):
        return np.nan, np.nan

    middle = float(_quantile(layer, 0.5))
    quartiles = float(_quantile(layer, 0.75) - _quantile(layer, 0.25))
    return middle, quartiles / _IQR_PER_STD
