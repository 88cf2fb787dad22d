# SPDX-License-Identifier: Apache-2.0
"""Frames of a video file, a folder of images, a camera device or a stream, through OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lifting_ros.errors import DataError

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_FOLDER_FPS = 10.0
_DEVICE_FPS = 30.0


@dataclass(frozen=True)
class FrameSource:
    """Where frames come from; `frames` can be called once."""

    name: str
    fps: float
    """The source's own rate."""
    live: bool
    """A device: its frames come when they come."""
    _images: tuple[Path, ...] = ()
    _capture: cv2.VideoCapture | None = None

    def frames(self) -> Iterator[np.ndarray]:
        """Each frame, (H, W, 3) uint8 BGR. DataError at an image that does not decode."""
        yield from self._of_files() if self._capture is None else self._of_capture()

    def _of_files(self) -> Iterator[np.ndarray]:
        for path in self._images:
            image = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if image is None:
                raise DataError(f"source {path}: does not decode as an image")
            yield image

    def _of_capture(self) -> Iterator[np.ndarray]:
        try:
            while True:
                ok, image = self._capture.read()
                if not ok:
                    return
                yield image
        finally:
            self._capture.release()


def open_source(source: str) -> FrameSource:
    """Open a file, a folder, a device (`0`, `/dev/video0`) or a URL; DataError in one line where
    that fails."""
    path = Path(source)
    if not source:
        raise DataError(
            "source: expected a video file, a folder of images or a camera device, got ''"
        )

    if path.is_dir():
        images = tuple(sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES))
        if not images:
            raise DataError(
                f"source {source}: no images ({', '.join(IMAGE_SUFFIXES)}) in this folder"
            )

        return FrameSource(source, _FOLDER_FPS, False, _images=images)

    if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        return FrameSource(source, _FOLDER_FPS, False, _images=(path,))

    live = source.isdigit() or source.startswith("/dev/")
    if not (live or "://" in source or path.is_file()):
        raise DataError(f"source {source}: no such file or folder")

    capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
    if not capture.isOpened():
        raise DataError(f"source {source}: does not open as a {'camera' if live else 'video'}")

    fps = capture.get(cv2.CAP_PROP_FPS)

    return FrameSource(source, fps if 0 < fps < 1000 else _DEVICE_FPS, live, _capture=capture)
