# SPDX-License-Identifier: Apache-2.0
"""The images and the camera files of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lifting_ros.cli.errors import CommandError
from lifting_ros.config import read_yaml
from lifting_ros.geometry.camera import Camera, CameraError, distortion_model_of
from lifting_ros.io.frame_source import decoded

_SCALE_TOLERANCE = 0.03
"""How far the scales of width and height may differ for a camera file to fit the images."""


def read_image(path: str | Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB; CommandError where the file is not an image."""
    if not Path(path).is_file():
        raise CommandError(f"{path}: no such file")
    image = decoded(Path(path))
    if image is None:
        raise CommandError(f"{path}: does not decode as an image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


class Cameras:
    """The camera of a calibration file for the images of a source, which may differ in size."""

    def __init__(self, path: str):
        self._path = path
        self._by_size: dict[tuple[int, int], Camera] = {}

    def of(self, image: np.ndarray, name: str) -> Camera:
        """The camera of an image (H, W, 3).

        LiftingError, with the image's name, where the calibration does not fit its size.
        """
        height, width = image.shape[:2]
        if (width, height) not in self._by_size:
            try:
                self._by_size[width, height] = read_camera(self._path, width, height)
            except SizeError as error:
                raise CommandError(f"{error} ({name})") from None
        return self._by_size[width, height]


class SizeError(CommandError):
    """A calibration of images with other proportions."""


def read_camera(path: str, width: int, height: int) -> Camera:
    """The camera of a calibration YAML (as camera_calibration writes it) for images of `width` x
    `height` pixels.

    LiftingError that names what is wrong.
    """
    values = read_yaml(path)
    if not isinstance(values, Mapping):
        raise CommandError(f"{path}: expected the YAML of a camera calibration")

    x_scale = _scale(values, "image_width", width, path)
    y_scale = _scale(values, "image_height", height, path)
    if abs(x_scale / y_scale - 1) > _SCALE_TOLERANCE:
        raise SizeError(
            f"{path}: image_width x image_height does not fit images of {width} x {height}"
        )

    matrix = _data(values, "camera_matrix", path)
    if matrix.size != 9:
        raise CommandError(f"{path}: camera_matrix: expected 9 numbers, got {matrix.size}")
    k = matrix.reshape(3, 3)

    # Pixel (0, 0) is the centre of the top left one; images are scaled about its corner.
    k[:2, 2] += 0.5
    k[:2] *= np.array([x_scale, y_scale])[:, None]
    k[:2, 2] -= 0.5

    distortion = np.zeros(0)
    if "distortion_coefficients" in values:
        distortion = _data(values, "distortion_coefficients", path)
    try:
        return Camera(k, distortion, distortion_model_of(values))
    except CameraError as error:
        raise CommandError(f"{path}: {error}") from None


def _scale(values: Mapping[str, Any], key: str, pixels: int, path: str) -> float:
    size = values.get(key)
    if not isinstance(size, int) or size <= 0:
        raise CommandError(f"{path}: {key}: expected a number of pixels, got {size!r}")
    return pixels / size


def _data(values: Mapping[str, Any], key: str, path: str) -> np.ndarray:
    """The finite numbers (n,) of a matrix."""
    block = values.get(key)
    try:
        numbers = np.array(block["data"], np.float64).ravel()
    except (TypeError, KeyError, ValueError):
        numbers = np.array([np.nan])
    if not np.isfinite(numbers).all():
        raise CommandError(f"{path}: {key}: expected data: [finite numbers], got {block!r}")
    return numbers
