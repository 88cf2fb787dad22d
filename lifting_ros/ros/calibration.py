# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/CameraInfo to `Camera`, for images that were binned, cropped or resized.

Pixel (0, 0) is the centre of the top left pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from sensor_msgs.msg import CameraInfo

from lifting_ros.geometry.camera import ASPECT_TOLERANCE, Camera, CameraError, scale_intrinsics
from lifting_ros.ros.conversions import ConversionError


def camera_info_to_camera(
    info: CameraInfo, width: int, height: int, rectified: bool = False
) -> Camera:
    """Camera of an image of `width` x `height` pixels that came with `info`. Cached by content.

    rectified: the image is rectified, so P applies instead of K and D. ConversionError if the
    camera is not calibrated or `info` does not fit the image.
    """
    roi = info.roi
    d = tuple(info.d)
    matrix = tuple(np.reshape(info.p, (3, 4))[:, :3].ravel()) if rectified else tuple(info.k)
    region = (roi.x_offset, roi.y_offset, roi.width or info.width, roi.height or info.height)
    binning = (max(info.binning_x, 1), max(info.binning_y, 1))

    return _camera(
        matrix, () if rectified else d, info.distortion_model, region, binning, (width, height)
    )


def usable_camera(
    find: Callable[[], CameraInfo | None],
    size: tuple[int, int] | None,
    rectified: bool,
    warn: Callable[[str], None],
    where: str = "received",
) -> Camera | None:
    """The camera of an image of `size` (W, H), or None and one warning if it has none.

    find: returns the camera_info or None, or raises ConversionError. size: None for the size that
    camera_info states. where: words for the warning, such as "received".
    """
    try:
        info = find()
        if info is None:
            warn(f"camera_info: none {where}, so the skeletons are not metric")
            return None

        width, height = size or (info.width, info.height)
        return camera_info_to_camera(info, width, height, rectified)
    except ConversionError as error:
        warn(f"{error}; the skeletons are not metric")
        return None


@lru_cache(maxsize=32)
def _camera(
    matrix: tuple, distortion: tuple, model: str, region: tuple, binning: tuple, size: tuple
) -> Camera:
    x_offset, y_offset, *region_size = region
    scale = [_scale(size[i], region_size[i], binning[i]) for i in range(2)]
    if not abs(scale[0] * binning[0] / (scale[1] * binning[1]) - 1) < ASPECT_TOLERANCE:
        raise ConversionError(
            f"camera_info: {region_size[0]}x{region_size[1]} pixels with binning "
            f"{binning[0]}x{binning[1]}, "
            f"which does not fit an image of {size[0]}x{size[1]}"
        )

    k = np.array(matrix).reshape(3, 3)  # 3, 3
    k[0, 2] -= x_offset
    k[1, 2] -= y_offset

    try:
        # Checked before scaling, so that an error shows the numbers that were sent.
        Camera(k, np.array(distortion), model)
        return Camera(scale_intrinsics(k, *scale), np.array(distortion), model)
    except CameraError as error:
        raise ConversionError(f"camera_info: {error}") from None


def _scale(image: int, region: int, binning: int) -> float:
    """Image pixels per sensor pixel. A region of zero, which some drivers send, means the image's
    size."""
    return image / region if region else 1.0 / binning
