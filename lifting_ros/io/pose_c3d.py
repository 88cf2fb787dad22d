# SPDX-License-Identifier: Apache-2.0
"""C3D, the files of motion capture: joints as points, millimetres, y up.

The residual of a point is the standard deviation of its position in mm, the root mean square of
three axes. As https://www.c3d.org/HTML/default.htm defines it: -1 where there is no point, 0 where
it was interpolated over a gap or its covariance is not known.
"""

from __future__ import annotations

import io
import warnings

import numpy as np

from lifting_ros.errors import DataError
from lifting_ros.io.uniform_track import UniformTrack
from lifting_ros.skeleton import JOINT_COUNT, JOINT_NAMES

_MOST_FRAMES = 65535
"""The number of a frame has 16 bits."""

_LARGEST_INTEGER = 32000
"""Coordinates divided by POINT:SCALE must not be larger, so that files can be converted."""

_LARGEST_RESIDUAL = 255
"""A residual divided by POINT:SCALE is a byte."""


def encode_c3d(track: UniformTrack, name: str) -> tuple[bytes, str]:
    """The content of a C3D file, and no note.

    Frames count from the recording's earliest stamp, as for all people of a recording. DataError
    where there are too many for the format, or where the package c3d is not installed.
    """
    try:
        import c3d
    except ImportError:
        raise DataError(f"{name}: C3D files require the package c3d: pip install c3d") from None

    count = len(track.joints_m)
    if track.first + count > _MOST_FRAMES:
        raise DataError(
            f"{name}: person {track.person_id} ends in frame {track.first + count} of the"
            f" recording; a C3D file counts to {_MOST_FRAMES}"
        )

    points_mm = 1000 * track.joints_m
    points_mm[~track.known] = 0.0
    residuals_mm = _residuals_mm(track)
    largest_mm = np.abs(points_mm).max()
    scale = max(
        1.0,
        largest_mm / _LARGEST_INTEGER,
        residuals_mm.max() / _LARGEST_RESIDUAL,
    )

    # The sign of the scale says that coordinates are floating-point numbers
    writer = c3d.Writer(point_rate=track.rate_hz, point_scale=-scale, point_units="mm")
    writer.set_point_labels(JOINT_NAMES)
    writer.set_screen_axis("+X", "+Y")
    writer.set_start_frame(track.first + 1)

    no_cameras = np.zeros((count, JOINT_COUNT, 1))
    no_analog = np.zeros((0, 1))
    rows = np.concatenate([points_mm, residuals_mm[..., None], no_cameras], -1)
    writer.add_frames([(row, no_analog) for row in rows])

    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No analog data")
        writer.write(content)
    return content.getvalue(), ""


def _residuals_mm(track: UniformTrack) -> np.ndarray:
    """(T, 17); at least 1 where a point was measured."""
    std_mm = 1000 * track.std_m
    residuals = np.maximum(std_mm, 1.0)
    unmeasured = np.isnan(std_mm) | track.filled
    residuals[unmeasured] = 0.0
    residuals[~track.known] = -1.0
    return residuals
