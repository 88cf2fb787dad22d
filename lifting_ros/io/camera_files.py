# SPDX-License-Identifier: Apache-2.0
"""The YAML files of a camera's calibration, as camera_calibration writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lifting_ros.config import ConfigError, read_yaml
from lifting_ros.geometry.camera import (
    ASPECT_TOLERANCE,
    Camera,
    CameraError,
    distortion_model_of,
    scale_intrinsics,
)


class SizeError(ConfigError):
    """A calibration of images with other proportions."""


@dataclass(frozen=True)
class CameraFile:
    """The content of a calibration file, which is that of a `Camera`."""

    path: str
    width: int
    height: int
    matrix: np.ndarray
    """K (3, 3)."""
    distortion: np.ndarray
    """(n,), as `model` orders them."""
    model: str
    """The distortion model as ROS names it."""
    rectification: np.ndarray
    """R (3, 3)."""
    projection: np.ndarray
    """P (3, 4)."""

    def camera(self, width: int, height: int) -> Camera:
        """The camera of the whole image resized to `width` x `height` pixels.

        SizeError where that has other proportions; ConfigError where the numbers are too large.
        """
        x_scale = width / self.width
        y_scale = height / self.height
        if abs(x_scale / y_scale - 1) > ASPECT_TOLERANCE:
            raise SizeError(
                f"{self.path}: image_width x image_height does not fit images of {width} x {height}"
            )

        matrix = scale_intrinsics(self.matrix, x_scale, y_scale)
        try:
            return Camera(matrix, self.distortion, self.model)
        except CameraError as error:
            raise ConfigError(f"{self.path}: {error}") from None


class Cameras:
    """The camera of a calibration file for the images of a source, which may differ in size."""

    def __init__(self, path: str):
        """path: of the file; errors as `read_camera_file`."""
        self._file = read_camera_file(path)
        self._by_size: dict[tuple[int, int], Camera] = {}

    def of(self, image: np.ndarray, name: str) -> Camera:
        """The camera of an image (H, W, 3).

        SizeError, with the image's name, where the calibration does not fit its size.
        """
        height, width = image.shape[:2]
        if (width, height) not in self._by_size:
            try:
                self._by_size[width, height] = self._file.camera(width, height)
            except SizeError as error:
                raise SizeError(f"{error} ({name})") from None
        return self._by_size[width, height]


def read_camera_file(path: str | Path) -> CameraFile:
    """Read a calibration file; ConfigError in one line that names the key."""
    path = str(path)
    values = read_yaml(path)
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path}: expected the YAML of a camera calibration")

    width = _pixels(values, "image_width", path)
    height = _pixels(values, "image_height", path)
    matrix = _numbers(values, "camera_matrix", 9, path).reshape(3, 3)

    distortion = np.zeros(0)
    if "distortion_coefficients" in values:
        distortion = _numbers(values, "distortion_coefficients", None, path)

    # What a single camera does without
    rectification = np.eye(3)
    if "rectification_matrix" in values:
        rectification = _numbers(values, "rectification_matrix", 9, path).reshape(3, 3)
    projection = np.hstack([matrix, np.zeros((3, 1))])
    if "projection_matrix" in values:
        projection = _numbers(values, "projection_matrix", 12, path).reshape(3, 4)

    try:
        model = distortion_model_of(values)
        Camera(matrix, distortion, model)
    except CameraError as error:
        raise ConfigError(f"{path}: {error}") from None

    return CameraFile(
        path=path,
        width=width,
        height=height,
        matrix=matrix,
        distortion=distortion,
        model=model,
        rectification=rectification,
        projection=projection,
    )


def _pixels(values: Mapping[str, Any], key: str, path: str) -> int:
    value = values.get(key)
    if not isinstance(value, int) or value <= 0:
        raise ConfigError(f"{path}: {key}: expected a number of pixels, got {value!r}")
    return value


def _numbers(values: Mapping[str, Any], key: str, count: int | None, path: str) -> np.ndarray:
    """The finite numbers (n,) of a matrix; count: how many, None: any."""
    block = values.get(key)
    data = block.get("data") if isinstance(block, Mapping) else None
    try:
        numbers = np.array(data, np.float64)
    except (TypeError, ValueError):
        numbers = np.array(np.nan)

    fits = numbers.ndim == 1 and count in (None, len(numbers))
    if not fits or not np.isfinite(numbers).all():
        expected = f"data: [{count or 'any number of'} finite numbers]"
        raise ConfigError(f"{path}: {key}: expected {expected}, got {data!r}")
    return numbers
