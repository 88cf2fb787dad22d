# SPDX-License-Identifier: Apache-2.0
"""Images from files, folders, videos, camera devices and streams, through OpenCV."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from lifting_ros.errors import DataError
from lifting_ros.io.brightness_range import BrightnessRange, decoded_bgr
from lifting_ros.io.video_headers import VideoHeader, read_video_header

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_FOLDER_FPS = 10.0
"""Rate at which the images of a folder are shown."""
_UNKNOWN_FPS = 30.0
"""Rate of a video or a device that does not state its own."""
_COUNTING_SUFFIXES = (".3gp", ".avi", ".m4v", ".mov", ".mp4")
"""Containers that store their number of frames; of others it is estimated from the duration."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_ROUNDING_S = 1e-3
"""Most that a container rounds a time stamp by: Matroska stores milliseconds."""
_HALF_A_FRAME = 0.5
"""Hidden frames up to which a video has no edit list: durations are rounded, too."""
_LEAST_PATIENCE = 1000
_MOST_PATIENCE = 100_000
"""Failures in a row after which a video has ended, whatever its header says; 14 us each."""
_NAMED = 5
"""Unreadable images that a message names."""


@dataclass
class Losses:
    """What of a source came, and what did not; filled by `ImageSource.stamped`."""

    came: int = 0
    """Frames that were read."""
    unreadable: list[str] = field(default_factory=list)
    """Names of the images that do not decode."""
    missing: int = 0
    """Frames of a video that its container states and that did not come."""
    undecoded: int = 0
    """Of these, frames before others that came."""
    cut_off: bool = False
    """The video's file ends before the end that its headers state."""

    @property
    def text(self) -> str:
        """One line on what did not come; empty where all came."""
        if self.unreadable:
            total = self.came + len(self.unreadable)
            names = listed(self.unreadable)
            return f"{len(self.unreadable)} of {total} images do not decode: {names}"
        if self.missing:
            total = self.came + self.missing
            stated = f"the container states {total} frames, {self.came} came"
            if self.cut_off:
                return f"{stated}: the file is cut off"
            if self.undecoded:
                return f"{stated}: {self.undecoded} do not decode"
            return stated  # the number may be wrong
        return ""


@dataclass(frozen=True)
class Frame:
    """A frame of a source."""

    stamp_ns: int
    """From the first frame on."""
    bgr: np.ndarray
    """(H, W, 3) uint8."""
    name: str
    """Of the image file, or of the source."""

    @property
    def rgb(self) -> np.ndarray:
        """(H, W, 3) uint8."""
        return cv2.cvtColor(self.bgr, cv2.COLOR_BGR2RGB)


@dataclass(frozen=True)
class ImageSource:
    """An image, a folder of images, a video, a camera device or a stream."""

    name: str
    fps: float
    """The source's own rate; of a video with varying rate, the mean."""
    count: int
    """Frames; 0 where that is not known before the end."""
    live: bool
    """Whether it is a device or a stream, which has no end."""
    images: tuple[Path, ...] = ()
    """Of a folder, in natural order."""

    def frames(self) -> Iterator[np.ndarray]:
        """Each frame, (H, W, 3) uint8 RGB; DataError as `stamped`."""
        for frame in self.stamped():
            yield frame.rgb

    def stamped(self, losses: Losses | None = None) -> Iterator[Frame]:
        """Each frame with its time.

        What cannot be read is left out, and its time too; `losses` says afterwards how much that
        was. DataError where nothing can be read.
        """
        losses = Losses() if losses is None else losses
        yield from self._of_files(losses) if self.images else self._of_capture(losses)

    def _of_files(self, losses: Losses) -> Iterator[Frame]:
        brightness = BrightnessRange()
        for place, path in enumerate(self.images):
            image = decoded(path, brightness)
            if image is None:
                losses.unreadable.append(path.name)
                continue

            losses.came += 1
            yield Frame(round(place * 1e9 / self.fps), image, path.name)

        if not losses.came:
            if len(self.images) == 1:
                raise DataError(f"{self.images[0]}: does not decode as an image")
            raise DataError(
                f"{self.name}: none of the {len(self.images)} images decodes:"
                f" {listed(losses.unreadable)}"
            )

    def _of_capture(self, losses: Losses) -> Iterator[Frame]:
        capture = _capture(self.name, Path(self.name).is_file())
        clock = _FrameClock(self.fps)
        skipped = 0
        failed = 0  # in a row

        try:
            while failed <= self._patience(losses.came + skipped):
                image = _read(capture)
                if image is None:
                    failed += 1
                    continue

                losses.came += 1
                skipped += failed
                failed = 0

                stamp_ns = clock.stamp_ns(capture.get(cv2.CAP_PROP_POS_MSEC))
                yield Frame(stamp_ns, image, self.name)
        finally:
            capture.release()

        if not losses.came:
            raise DataError(f"{self.name}: no frame can be read")

        if not self.live:
            header = read_video_header(Path(self.name))
            losses.missing = self._missing(losses.came, skipped, clock, header)
            losses.undecoded = min(skipped, losses.missing)
            losses.cut_off = header.is_cut_off

    def _patience(self, read: int) -> int:
        """Failures in a row after which there is nothing more to come.

        A reader that has met a damaged frame may find the next one whole; at the end of a file
        every further attempt fails.
        """
        if self.live:
            return 0

        return min(max(self.count - read, _LEAST_PATIENCE), _MOST_PATIENCE)

    def _missing(self, came: int, skipped: int, clock: _FrameClock, header: VideoHeader) -> int:
        """Frames of a video that its container states and that did not come."""
        if Path(self.name).suffix.lower() in _COUNTING_SUFFIXES:
            hidden = self.count * (1 - header.shown)
            hidden = math.ceil(hidden) if hidden > _HALF_A_FRAME else 0
            return max(self.count - hidden - came, 0)

        # The number is an estimate, or not known; and where the rate varies, the last frame may
        # last long.
        short_s = self.count / self.fps - clock.end_s
        cut = round(short_s * self.fps) if short_s > clock.longest_s else 0
        return skipped + cut


class _FrameClock:
    """Times of a video's frames as its container has them, from the first one on.

    While all are multiples of the frame's period, but for the container's rounding, they are
    exactly that. Where a container has no time stamps, or one that is not later than the last, the
    frame is one period later.
    """

    def __init__(self, fps: float):
        self._fps = fps
        self._first_s: float | None = None
        self._last_s = 0.0
        self._is_even = True
        self.longest_s = 1.5 / fps
        """Longest time between two frames, and at least one and a half periods."""

    @property
    def end_s(self) -> float:
        """Time at which the last frame ends, if it lasts one period."""
        return self._last_s + 1 / self._fps

    def stamp_ns(self, container_ms: float) -> int:
        """The time of the next frame, given what the container says."""
        seconds = container_ms / 1e3
        if self._first_s is None:
            self._first_s = seconds
            return 0

        seconds -= self._first_s
        if not seconds > self._last_s:
            seconds = self._last_s + 1 / self._fps

        place = round(seconds * self._fps)
        self._is_even = self._is_even and abs(place / self._fps - seconds) <= _ROUNDING_S
        stamp_ns = round(place * 1e9 / self._fps) if self._is_even else round(seconds * 1e9)

        self.longest_s = max(self.longest_s, seconds - self._last_s)
        self._last_s = seconds
        return stamp_ns


def open_source(name: str) -> ImageSource:
    """Look at a source without reading its frames; DataError where it cannot be used.

    name: of a file or a folder, a device (`0`, `/dev/video0`) or a URL.
    """
    if not name:
        raise DataError("expected a video file, a folder of images or a camera device, got ''")

    path = Path(name)
    is_file = os.path.isfile(name)  # unlike Path's, False for a name that is too long
    if os.path.isdir(name):
        images = folder_images(path)
        if not images:
            raise DataError(f"{name}: no images ({', '.join(IMAGE_SUFFIXES)}) in this folder")

        return ImageSource(name, _FOLDER_FPS, len(images), live=False, images=images)

    if path.suffix.lower() in IMAGE_SUFFIXES and is_file:
        return ImageSource(name, _FOLDER_FPS, 1, live=False, images=(path,))

    is_device = name.isdecimal() or name.startswith("/dev/")
    is_url = bool(_URL.match(name))
    if not (is_device or is_url or is_file):
        raise DataError(f"{name}: no such file or folder; nor is it a camera device or a URL")

    capture = _capture(name, is_file)
    fps = capture.get(cv2.CAP_PROP_FPS)
    count = 0.0 if is_device else max(0.0, capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()

    if not 0 < fps < 1000:
        # Where the rate varies, the container may give that of its clock, and the number of ticks.
        if fps > 0 and path.suffix.lower() not in _COUNTING_SUFFIXES:
            count *= _UNKNOWN_FPS / fps
        fps = _UNKNOWN_FPS

    # A URL with a known number of frames is a video on a server.
    live = is_device or (is_url and not count)
    return ImageSource(name, fps, round(count), live)


def read_image(path: str | Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB; DataError where the file is not an image."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")

    image = decoded(path)
    if image is None:
        raise DataError(f"{path}: does not decode as an image")

    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def folder_images(folder: Path) -> tuple[Path, ...]:
    """The images of a folder, without hidden files, in natural order: frame_2 before frame_10."""
    paths = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not path.name.startswith(".")
        and not path.is_dir()
    ]
    return tuple(sorted(paths, key=lambda path: (natural_key(path.name), path.name)))


def natural_key(name: str) -> list[str | int]:
    """A key that sorts numbers in names by their values."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def decoded(path: Path, brightness: BrightnessRange | None = None) -> np.ndarray | None:
    """An image file, (H, W, 3) uint8 BGR; None where it does not decode.

    brightness: of the camera that took it, for an image of 16 bits; None: of this image.
    """
    try:
        data = np.fromfile(path, np.uint8)
        return decoded_bgr(data, brightness or BrightnessRange()) if len(data) else None
    except (cv2.error, OSError):  # such as a header that claims too many pixels
        return None


def listed(names: list[str]) -> str:
    """The first few of some names."""
    more = "" if len(names) <= _NAMED else f" and {len(names) - _NAMED} more"
    return ", ".join(names[:_NAMED]) + more


def _capture(name: str, is_file: bool) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(int(name) if name.isdecimal() else name)
    if not capture.isOpened():
        kind = "video" if is_file else "camera or a stream"
        raise DataError(f"{name}: does not open as a {kind}")

    return capture


def _read(capture: cv2.VideoCapture) -> np.ndarray | None:
    """The next frame, (H, W, 3) uint8 BGR; None where there is none, or it does not decode."""
    try:
        is_there, image = capture.read()
    except cv2.error:
        return None

    return image if is_there else None
