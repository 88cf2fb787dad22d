# SPDX-License-Identifier: Apache-2.0
"""An aligned depth image as measurements of joints: per keypoint the z of its joint in the optical
frame, and the variance of that.

What lies under a keypoint is often not the person: the background beside a thin limb, a hole, the
arm before the far hip. So a window is sampled that grows with the person, the nearer part of it is
taken, what lies further from the trunk than a person reaches is left out, and what remains is a
surface, behind which the joint lies by the thickness of the body. Occlusion that this cannot tell
is left to `depth_fusion`, which knows the pose.
"""

from __future__ import annotations

import numpy as np

from lifting_ros.compiled import compiled
from lifting_ros.skeleton import KEYPOINT_COUNT, KEYPOINT_NAMES

LEAST_M, MOST_M = 0.1, 65.0
"""Depths outside are holes: 65.5 m is the largest number of a 16-bit image, and what some drivers
write for none."""
REACH_M = 1.2
"""How far from the trunk along the view a part of a person lies at most."""
LEAST_CONFIDENCE = 0.3
"""Keypoints below lie too often off the person."""

SENSOR_NOISE = 0.0025
"""Deviation of a depth in metres over its square: that of a structured-light or stereo camera, 1 cm
at 2 m."""
WINDOW = 0.015
"""Half of the sampled window over the larger side of the person's box: 2 to 3 cm, less than a
forearm."""
MOST_WINDOW_PX = 12
NEARER = 0.25
"""Quantile of the window at which the person is sought: the background is never before it."""
LAYER_M = 0.1
"""How far values may lie from that quantile and belong to the same surface."""
LEAST_SHARE = 0.2
"""Share of the window that must belong to it."""

FLESH_M = np.array(
    [0.06, 0.085, 0.08, 0.04, 0.03, 0.08, 0.04, 0.03, 0.115, 0.065, 0.046, 0.115, 0.065, 0.046]
)
"""How far the joint lies behind the surface, metres, by keypoint: mean over rendered people seen
from every side."""
FLESH_STD_M = np.array(
    [
        0.025,
        0.035,
        0.035,
        0.026,
        0.025,
        0.035,
        0.026,
        0.025,
        0.045,
        0.022,
        0.018,
        0.045,
        0.022,
        0.018,
    ]
)
"""Its deviation: the side that is seen, the build, the clothes."""

_TRUNK = tuple(
    i
    for i, name in enumerate(KEYPOINT_NAMES)
    if name == "neck" or name.endswith(("shoulder", "hip"))
)


def measure_depth(
    depth_m: np.ndarray,
    keypoints_px: np.ndarray,
    confidence: np.ndarray,
    image_size: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Measurements of z (N, 14), metres, and their variances (N, 14), m^2, of persons; NaN and inf
    where there is none.

    depth_m: (H, W) aligned with the image, of the same view and any size; 0, NaN and inf are holes.
    keypoints_px: (N, 14, 2) in the image of `image_size` (w, h), by default of the depth's own
    size. confidence: (N, 14). Raises ValueError in one line for other shapes.
    """
    if np.ndim(depth_m) != 2 or 0 in np.shape(depth_m):
        raise ValueError(f"depth: expected (H, W) metres, got {np.shape(depth_m)}")
    if (
        np.shape(keypoints_px)[1:] != (KEYPOINT_COUNT, 2)
        or np.shape(confidence) != np.shape(keypoints_px)[:2]
    ):
        raise ValueError(
            f"keypoints_px: expected (N, {KEYPOINT_COUNT}, 2), got {np.shape(keypoints_px)}"
        )
    scale = 1.0 if image_size is None else np.array(np.shape(depth_m)[::-1]) / image_size
    points = (
        np.asarray(keypoints_px, np.float64) + 0.5
    ) * scale - 0.5  # pixel (0, 0) is the centre of the top left one
    z, spread = _surfaces(
        np.ascontiguousarray(depth_m, np.float32), points, np.asarray(confidence, np.float64)
    )
    variance = FLESH_STD_M**2 + (SENSOR_NOISE * z**2) ** 2 + spread**2
    return z + FLESH_M, np.where(np.isfinite(z), variance, np.inf)


@compiled
def _surfaces(depth_m, points, confidence):
    """Depth (N, 14) of the person's surface under keypoints (N, 14, 2) of the depth image, NaN
    where none, and its spread (N, 14)."""
    count = len(points)
    z, spread = np.full((count, KEYPOINT_COUNT), np.nan), np.full((count, KEYPOINT_COUNT), np.nan)
    window = np.empty((KEYPOINT_COUNT, (2 * MOST_WINDOW_PX + 1) ** 2), np.float32)
    length = np.zeros(KEYPOINT_COUNT, np.int64)
    for n in range(count):
        half = _half_window(points[n], confidence[n])
        for k in range(KEYPOINT_COUNT):
            usable = half > 0 and confidence[n, k] >= LEAST_CONFIDENCE
            length[k] = _fill(depth_m, points[n, k], half, window[k]) if usable else 0
        trunk = _middle(window, length)
        for k in range(KEYPOINT_COUNT):
            z[n, k], spread[n, k] = _layer(window[k, : length[k]], trunk)
    return z, spread


@compiled
def _half_window(points, confidence):
    """Half of the side of the windows of a person, pixels; 0 where fewer than two keypoints are
    known."""
    low, high, seen = np.full(2, np.inf), np.full(2, -np.inf), 0
    for k in range(KEYPOINT_COUNT):
        if confidence[k] >= LEAST_CONFIDENCE and np.isfinite(points[k]).all():
            seen += 1
            low, high = np.minimum(low, points[k]), np.maximum(high, points[k])
    return (
        int(min(max(np.rint(WINDOW * (high - low).max()), 1.0), MOST_WINDOW_PX)) if seen > 1 else 0
    )


@compiled
def _fill(depth_m, point, half, window):
    """The valid depths about a pixel, in order, into `window`; returns how many there are."""
    height, width = depth_m.shape
    if not (-0.5 <= point[0] < width - 0.5 and -0.5 <= point[1] < height - 0.5):  # false for NaN
        return 0
    x, y, found = int(np.rint(point[0])), int(np.rint(point[1])), 0
    for row in range(max(y - half, 0), min(y + half + 1, height)):
        for column in range(max(x - half, 0), min(x + half + 1, width)):
            value = depth_m[row, column]
            if LEAST_M < value < MOST_M:  # false for NaN
                window[found] = value
                found += 1
    window[:found] = np.sort(window[:found])
    return found


@compiled
def _quantile(ordered, share):
    return ordered[int(share * (len(ordered) - 1))]


@compiled
def _middle(window, length):
    """Depth of the trunk: the median of what lies under its keypoints, or under all where fewer
    than two are known; NaN for none."""
    trunk = [_quantile(window[k, : length[k]], NEARER) for k in _TRUNK if length[k] > 0]
    if len(trunk) < 2:
        trunk = [
            _quantile(window[k, : length[k]], NEARER)
            for k in range(KEYPOINT_COUNT)
            if length[k] > 0
        ]
    return _quantile(np.sort(np.array(trunk)), 0.5) if len(trunk) else np.float32(np.nan)


@compiled
def _layer(ordered, trunk):
    """Depth and deviation of the nearer surface among the values (n,) of a window, within reach of
    the trunk; NaN where there is none."""
    near = ordered[np.abs(ordered - trunk) < REACH_M]
    if len(near) == 0:
        return np.nan, np.nan
    layer = near[np.abs(near - _quantile(near, NEARER)) < LAYER_M]
    if len(layer) < LEAST_SHARE * len(ordered):
        return np.nan, np.nan
    return float(_quantile(layer, 0.5)), float(
        _quantile(layer, 0.75) - _quantile(layer, 0.25)
    ) / 1.349
