# SPDX-License-Identifier: Apache-2.0
"""Overlays as files: a contact sheet (.png) of some frames, or a video (.mp4) of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lifting_ros.cli.errors import CommandError
from lifting_ros.io.atomic import replacing
from lifting_ros.types import Person
from lifting_ros.viz.overlay import contact_sheet, draw_overlay

SHEET_FRAMES = 6
KEPT_FRAMES = 60
"""Frames from which those of a sheet are chosen; at most twice as many are kept in memory."""
_JPEG_QUALITY = 95


@contextmanager
def overlay_writer(path: str | None, fps: float, total: int) -> Iterator[NoOverlay | Sheet | Video]:
    """The writer for `path`, or one that writes nothing; the file appears at the end of the block.

    total: frames to come, 0 where that is not known.
    """
    if not path:
        yield NoOverlay()
        return

    with replacing(path, keep_suffix=True) as partial:
        writer = Video(partial, fps) if partial.suffix == ".mp4" else Sheet(partial, total)
        yield writer
        writer.close()


class NoOverlay:
    """Writes nothing."""

    def add(self, index: int, image: np.ndarray, persons: Sequence[Person]) -> None:
        """Do nothing."""


class Video:
    """A video of every frame with its skeletons."""

    def __init__(self, path: Path, fps: float):
        self._path = path
        self._fps = fps
        self._size: tuple[int, int] = (0, 0)
        self._writer: cv2.VideoWriter | None = None

    def add(self, index: int, image: np.ndarray, persons: Sequence[Person]) -> None:
        """Append frame `index`: image (H, W, 3) RGB and its persons."""
        picture = draw_overlay(image, persons, f"frame {index}")
        height, width = (side - side % 2 for side in picture.shape[:2])
        if self._writer is None:
            self._open(width, height)
        if (width, height) != self._size:  # the images of a folder may differ in size
            picture = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)

        even = picture[: self._size[1], : self._size[0]]
        self._writer.write(np.ascontiguousarray(even[..., ::-1]))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()

    def _open(self, width: int, height: int) -> None:
        self._size = (width, height)
        fourcc = cv2.VideoWriter_fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(self._path), fourcc, self._fps, self._size)
        if not self._writer.isOpened():
            raise CommandError(f"--overlay {self._path}: the video cannot be written")


@dataclass(frozen=True)
class SheetFrame:
    """A frame that may be shown on a contact sheet."""

    index: int
    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    persons: Sequence[Person]


class Sheet:
    """A contact sheet of evenly spaced frames; memory stays bounded however long the source is."""

    def __init__(self, path: Path, total: int):
        self._path = path
        self._every = max(1, total // KEPT_FRAMES)
        # With the image as JPEG, which is small.
        self._frames: list[tuple[int, np.ndarray, Sequence[Person]]] = []

    def add(self, index: int, image: np.ndarray, persons: Sequence[Person]) -> None:
        """Keep frame `index` if it may be shown: image (H, W, 3) RGB and its persons."""
        if index % self._every == 0:
            options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
            jpeg = cv2.imencode(".jpg", image[..., ::-1], options)[1]
            self._frames.append((index, jpeg, persons))

        if len(self._frames) > 2 * KEPT_FRAMES:
            self._frames = self._frames[::2]
            self._every *= 2

    def close(self) -> None:
        """Draw and write the sheet; write nothing where there was no frame."""
        if not self._frames:
            return

        frames = []
        for k in chosen([persons for _, _, persons in self._frames]):
            index, jpeg, persons = self._frames[k]
            image = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[..., ::-1]
            frames.append(SheetFrame(index, image, persons))
        write_sheet(self._path, frames)


def write_sheet(path: Path, frames: Sequence[SheetFrame]) -> None:
    """Write a contact sheet of frames as an image file."""
    sheet = contact_sheet(
        [frame.image for frame in frames],
        [frame.persons for frame in frames],
        [f"frame {frame.index}" for frame in frames],
        columns=2 if len(frames) > 1 else 1,
    )
    if not cv2.imwrite(str(path), sheet[..., ::-1]):
        raise CommandError(f"{path}: the picture cannot be written")


def chosen(persons: Sequence[Sequence[Person]]) -> list[int]:
    """SHEET_FRAMES evenly spaced frames, without the first and the last, by index into `persons`.

    They are chosen from the frames with a person, or from all where nobody is seen.
    """
    occupied = [k for k, each in enumerate(persons) if each]
    candidates = occupied or list(range(len(persons)))
    places = np.floor((np.arange(SHEET_FRAMES) + 0.5) * len(candidates) / SHEET_FRAMES).astype(int)
    return [candidates[k] for k in sorted(set(places.tolist()))]
