# SPDX-License-Identifier: Apache-2.0
"""The sources of images and the camera files of the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lifting_ros.cli.errors import CommandError
from lifting_ros.config import read_yaml
from lifting_ros.geometry.camera import Camera, CameraError, distortion_model_of

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_FOLDER_FPS = 10.0
"""Rate at which the images of a folder are shown."""
_UNKNOWN_FPS = 30.0
"""Rate of a video or a device that does not tell its own."""
_SCALE_TOLERANCE = 0.03
"""How far the scales of width and height may differ for a camera file to fit the images."""


@dataclass(frozen=True)
class Source:
    """An image, a folder of images, a video or a camera device."""

    name: str
    fps: float
    count: int
    """Frames; 0 where that is not known before the end."""
    live: bool
    """Whether it is a device, which has no end."""
    images: tuple[Path, ...] = ()

    def frames(self) -> Iterator[np.ndarray]:
        """Each frame, (H, W, 3) uint8 RGB; CommandError at an image that does not decode."""
        if self.images:
            yield from map(read_image, self.images)
            return

        capture = _capture(self.name)
        try:
            while True:
                decoded, image = capture.read()
                if not decoded:
                    return
                yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        finally:
            capture.release()


def read_image(path: str | Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB; CommandError where the file is not an image."""
    if not Path(path).is_file():
        raise CommandError(f"{path}: no such file")
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise CommandError(f"{path}: does not decode as an image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def open_source(name: str) -> Source:
    """Look at a source without reading its frames; CommandError where it cannot be used."""
    path = Path(name)
    if path.is_dir():
        images = tuple(sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES))
        if not images:
            raise CommandError(f"{name}: no images ({', '.join(IMAGE_SUFFIXES)}) in this folder")
        return Source(name, _FOLDER_FPS, len(images), live=False, images=images)

    if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        return Source(name, _FOLDER_FPS, 1, live=False, images=(path,))

    live = name.isdigit() or name.startswith("/dev/")
    if not live and not path.is_file():
        raise CommandError(f"{name}: no such file, folder or camera device")

    capture = _capture(name)
    fps = capture.get(cv2.CAP_PROP_FPS)
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    capture.release()
    return Source(
        name,
        fps if 0 < fps < 1000 else _UNKNOWN_FPS,
        0 if live else max(0, int(count)),
        live,
    )


def _capture(name: str) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(int(name) if name.isdigit() else name)
    if not capture.isOpened():
        raise CommandError(f"{name}: does not open as a video or a camera")
    return capture


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
        raise CommandError(
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
