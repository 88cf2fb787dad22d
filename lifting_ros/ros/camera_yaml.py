# SPDX-License-Identifier: Apache-2.0
"""CameraInfo from the YAML files of camera_calibration; guessed and resized CameraInfo."""

from __future__ import annotations

import numpy as np
from sensor_msgs.msg import CameraInfo

from lifting_ros.config import ConfigError
from lifting_ros.geometry.camera import ASPECT_TOLERANCE, scale_intrinsics
from lifting_ros.io.camera_files import read_camera_file

FOCAL_PER_LONG_SIDE = 1.1
"""Focal length of a guessed camera, in long sides of the image: about 49 degrees across."""


def camera_yaml_to_info(path: str) -> CameraInfo:
    """CameraInfo of a calibration file; ConfigError in one line that names the key."""
    calibration = read_camera_file(path)
    return CameraInfo(
        width=calibration.width,
        height=calibration.height,
        distortion_model=calibration.model,
        d=calibration.distortion,
        k=calibration.matrix.ravel(),
        r=calibration.rectification.ravel(),
        p=calibration.projection.ravel(),
    )


def guessed_info(width: int, height: int) -> CameraInfo:
    """CameraInfo of a camera without distortion whose focal length is a guess."""
    focal = FOCAL_PER_LONG_SIDE * max(width, height)
    k = np.array([[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]])
    info = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5)
    info.k = k.ravel()
    info.r = np.eye(3).ravel()
    info.p = np.hstack([k, np.zeros((3, 1))]).ravel()

    return info


def resized_info(info: CameraInfo, width: int, height: int) -> CameraInfo:
    """`info` for its whole image resized to `width` x `height`.

    ConfigError where that has other proportions: the image is then another part of the picture.
    """
    scale = width / info.width, height / info.height
    if not abs(scale[0] / scale[1] - 1) < ASPECT_TOLERANCE:
        raise ConfigError(
            f"image_width x image_height ({info.width} x {info.height}) does not fit images of"
            f" {width} x {height}"
        )

    out = CameraInfo(
        width=width, height=height, distortion_model=info.distortion_model, d=list(info.d), r=info.r
    )
    p = np.array(info.p).reshape(3, 4)  # 3, 4
    shift = p[:, 3] * (*scale, 1.0)
    out.k = scale_intrinsics(np.array(info.k).reshape(3, 3), *scale).ravel()
    out.p = np.column_stack([scale_intrinsics(p[:, :3], *scale), shift]).ravel()

    return out
