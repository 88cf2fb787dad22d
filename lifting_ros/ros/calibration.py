# SPDX-License-Identifier: Apache-2.0
"""The camera of an image that came with a sensor_msgs/CameraInfo; see `io.camera_info`."""

from __future__ import annotations

from collections.abc import Callable

from sensor_msgs.msg import CameraInfo

from lifting_ros.geometry.camera import Camera, CameraError
from lifting_ros.io.camera_info import camera_of_info
from lifting_ros.ros.conversions import ConversionError


def camera_info_to_camera(
    info: CameraInfo, width: int, height: int, rectified: bool = False
) -> Camera:
    """Camera of an image of `width` x `height` pixels that came with `info`. Cached by content.

    rectified: the image is rectified, so P applies instead of K and D. ConversionError if the
    camera is not calibrated or `info` does not fit the image.
    """
    try:
        return camera_of_info(info, (width, height), rectified)
    except CameraError as error:
        raise ConversionError(f"camera_info: {error}") from None


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
