# SPDX-License-Identifier: Apache-2.0
"""Images from files, folders, videos, camera devices and streams, through OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lifting_ros.errors import DataError

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_FOLDER_FPS = 10.0
"""Rate at which the images of a folder are shown."""
_UNKNOWN_FPS = 30.0
"""Rate of a video or a device that does not state its own."""


@dataclass(frozen=True)
class ImageSource:
    """An image, a folder of images, a video, a camera device or a stream."""

    name: str
    fps: float
    """The source's own rate."""
    count: int
    """Frames; 0 where that is not known before the end."""
    live: bool
    """Whether it is a device: it has no end, and sets the pace."""
    images: tuple[Path, ...] = ()

    def frames(self) -> Iterator[np.ndarray]:
        """Each frame, (H, W, 3) uint8 RGB; DataError at an image that does not decode."""
        for frame in self.frames_bgr():
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)

    def frames_bgr(self) -> Iterator[np.ndarray]:
        """As `frames`, in OpenCV's order of the colours."""
        if self.images:
            yield from map(_read_bgr, self.images)
            return

        capture = _open_capture(self.name)
        try:
            while True:
                decoded, frame = capture.read()
                if not decoded:
                    return
                yield frame
        finally:
            capture.release()


def read_image(path: str | Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB; DataError where the file is not an image."""
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file")

    image = _read_bgr(path)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def open_source(name: str) -> ImageSource:
    """Look at a source without reading its frames; DataError where it cannot be used.

    name: of a file or a folder, a device (`0`, `/dev/video0`) or a URL.
    """
    if not name:
        raise DataError("expected a video file, a folder of images or a camera device, got ''")

    path = Path(name)
    if path.is_dir():
        entries = sorted(path.iterdir())
        images = tuple(entry for entry in entries if entry.suffix.lower() in IMAGE_SUFFIXES)
        if not images:
            raise DataError(f"{name}: no images ({', '.join(IMAGE_SUFFIXES)}) in this folder")
        return ImageSource(name, _FOLDER_FPS, len(images), live=False, images=images)

    if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        return ImageSource(name, _FOLDER_FPS, 1, live=False, images=(path,))

    live = _is_device(name)
    if not (live or "://" in name or path.is_file()):
        raise DataError(f"{name}: no such file or folder, and not a camera device")

    capture = _open_capture(name)
    fps = capture.get(cv2.CAP_PROP_FPS)
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()

    known_fps = fps if 0 < fps < 1000 else _UNKNOWN_FPS
    return ImageSource(name, known_fps, 0 if live else max(0, count), live)


def _read_bgr(path: str | Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(f"{path}: does not decode as an image")
    return image


def _is_device(name: str) -> bool:
    return name.isdigit() or name.startswith("/dev/")


def _open_capture(name: str) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(int(name)) if name.isdigit() else cv2.VideoCapture(name)
    if not capture.isOpened():
        kind = "camera" if _is_device(name) else "video"
        raise DataError(f"{name}: does not open as a {kind}")
    return capture
