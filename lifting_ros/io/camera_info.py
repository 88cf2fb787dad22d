# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/CameraInfo, of rclpy or of rosbags, to `Camera`, for images that were binned, cropped
or resized.

Pixel (0, 0) is the centre of the top left pixel.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from lifting_ros.geometry.camera import ASPECT_TOLERANCE, Camera, CameraError, scale_intrinsics


def camera_of_info(
    info: Any, size: tuple[int, int] | None = None, rectified: bool = False
) -> Camera:
    """The camera of the images that belong to a CameraInfo. Cached by content.

    size: (W, H) of the images; None where it is not known, for the size that `info` states.
    rectified: the images are rectified, so P applies instead of K and D. CameraError if the camera
    is not calibrated or `info` does not fit the images.
    """
    roi = info.roi
    matrix = tuple(np.reshape(info.p, (3, 4))[:, :3].ravel()) if rectified else tuple(info.k)
    distortion = () if rectified else tuple(info.d)
    region = (roi.x_offset, roi.y_offset, roi.width or info.width, roi.height or info.height)
    binning = (max(info.binning_x, 1), max(info.binning_y, 1))

    return _camera(matrix, distortion, info.distortion_model, region, binning, size)


@lru_cache(maxsize=32)
def _camera(
    matrix: tuple,
    distortion: tuple,
    model: str,
    region: tuple,
    binning: tuple,
    size: tuple[int, int] | None,
) -> Camera:
    x_offset, y_offset, *region_size = region
    scale = [1.0 / binning[0], 1.0 / binning[1]]
    if size is not None:
        scale = [_scale(size[i], region_size[i], binning[i]) for i in range(2)]
        if not abs(scale[0] * binning[0] / (scale[1] * binning[1]) - 1) < ASPECT_TOLERANCE:
            raise CameraError(
                f"{region_size[0]}x{region_size[1]} pixels with binning "
                f"{binning[0]}x{binning[1]}, "
                f"which does not fit an image of {size[0]}x{size[1]}"
            )

    k = np.array(matrix, np.float64).reshape(3, 3)
    k[0, 2] -= x_offset
    k[1, 2] -= y_offset

    # Checked before scaling, so that an error shows the numbers that were sent.
    Camera(k, np.array(distortion), model)
    return Camera(scale_intrinsics(k, *scale), np.array(distortion), model)


def _scale(image: int, region: int, binning: int) -> float:
    """Image pixels per sensor pixel. A region of zero, which some drivers send, means the image's
    size."""
    return image / region if region else 1.0 / binning
