# SPDX-License-Identifier: Apache-2.0
"""CameraInfo from the YAML files of camera_calibration; guessed and resized CameraInfo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo

from lifting_ros.config import ConfigError, read_yaml
from lifting_ros.geometry.camera import Camera, CameraError, distortion_model_of
from lifting_ros.ros.calibration import ASPECT_TOLERANCE, scale_intrinsics

FOCAL_PER_LONG_SIDE = 1.1
"""Focal length of a guessed camera, in long sides of the image: about 49 degrees across."""


def camera_yaml_to_info(path: str) -> CameraInfo:
    """CameraInfo of a calibration file; ConfigError in one line that names the key."""
    values = read_yaml(path)
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path}: expected the YAML of a camera calibration")

    info = CameraInfo()
    info.width, info.height = (_size(values, key, path) for key in ("image_width", "image_height"))
    info.k = _numbers(values, "camera_matrix", 9, path)
    info.d = (
        _numbers(values, "distortion_coefficients", None, path)
        if "distortion_coefficients" in values
        else []
    )

    if "rectification_matrix" in values:
        info.r = _numbers(values, "rectification_matrix", 9, path)
    else:
        info.r = np.eye(3).ravel()

    if "projection_matrix" in values:
        info.p = _numbers(values, "projection_matrix", 12, path)
    else:
        info.p = np.hstack([np.reshape(info.k, (3, 3)), np.zeros((3, 1))]).ravel()

    try:
        info.distortion_model = distortion_model_of(values)
        Camera(np.reshape(info.k, (3, 3)), np.array(info.d), info.distortion_model)
    except CameraError as error:
        raise ConfigError(f"{path}: {error}") from None

    return info


def _size(values: Mapping[str, Any], key: str, path: str) -> int:
    value = values.get(key)
    if not isinstance(value, int) or value <= 0:
        raise ConfigError(f"{path}: {key}: expected a number of pixels, got {value!r}")
    return value


def _numbers(values: Mapping[str, Any], key: str, count: int | None, path: str) -> np.ndarray:
    block = values.get(key)
    data = block.get("data") if isinstance(block, Mapping) else None
    try:
        numbers = np.array(data, np.float64)
    except (TypeError, ValueError):
        numbers = np.array(np.nan)

    if numbers.ndim != 1 or not np.isfinite(numbers).all() or count not in (None, len(numbers)):
        raise ConfigError(
            f"{path}: {key}: expected data: [{count or 'any number of'} finite numbers], got "
            f"{data!r}"
        )

    return numbers


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
