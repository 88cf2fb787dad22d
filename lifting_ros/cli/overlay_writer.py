# SPDX-License-Identifier: Apache-2.0
"""Overlays as files: a contact sheet (.png) of some frames, a video (.mp4) of all; written beside,
then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from lifting_ros.cli.main import CommandError
from lifting_ros.types import Person
from lifting_ros.viz.overlay import contact_sheet, draw_overlay

SHEET_FRAMES = 6


@contextmanager
def overlay_writer(path: str | None, fps: float, total: int) -> Iterator[NoOverlay | Sheet | Video]:
    """The writer for `path` (None: one that writes nothing); the file is there once the block has
    ended well.

    total: frames to come, 0 where not known.
    """
    if not path:
        yield NoOverlay()
        return
    target = Path(path)
    beside = target.with_name(f"{target.stem}.partial{target.suffix}")
    writer = Video(beside, fps) if target.suffix == ".mp4" else Sheet(beside, total)
    try:
        yield writer
        writer.close()
        if beside.exists():
            os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)


class NoOverlay:
    """Nobody asked for one."""

    def add(self, index: int, image: np.ndarray, persons: Sequence[Person]) -> None:
        """Nothing to do."""


class Video:
    """Every frame with its skeletons."""

    def __init__(self, path: Path, fps: float):
        self._path, self._fps, self._writer = path, fps, None

    def add(self, index: int, image: np.ndarray, persons: Sequence[Person]) -> None:
        """Append frame `index`: image (H, W, 3) RGB and its persons."""
        picture = draw_overlay(image, persons, f"frame {index}")
        height, width = (side - side % 2 for side in picture.shape[:2])
        if self._writer is None:
            self._size = (width, height)
            self._writer = cv2.VideoWriter(
                str(self._path), cv2.VideoWriter_fourcc(*"mp4v"), self._fps, self._size
            )
            if not self._writer.isOpened():
                raise CommandError(f"--overlay {self._path}: the video cannot be written")
        if (width, height) != self._size:  # images of a folder may differ
            picture = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
        self._writer.write(np.ascontiguousarray(picture[: self._size[1], : self._size[0], ::-1]))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()


class Sheet:
    """Six evenly spaced frames, of those with a person where there are that many."""

    def __init__(self, path: Path, total: int, kept: int = 60):
        self._path, self._every, self._kept = path, max(1, total // kept), kept
        self._frames: list[
            tuple[int, np.ndarray, Sequence[Person]]
        ] = []  # with the image as JPEG, which is small

    def add(self, index: int, image: np.ndarray, persons: Sequence[Person]) -> None:
        """Keep frame `index` if it may be shown: memory stays bounded however long the source is."""
        if index % self._every == 0:
            self._frames.append(
                (
                    index,
                    cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1],
                    persons,
                )
            )
        if len(self._frames) > 2 * self._kept:
            self._frames, self._every = self._frames[::2], 2 * self._every

    def close(self) -> None:
        """Draw and write the sheet; nothing where there was no frame."""
        frames = chosen(self._frames) if self._frames else []
        if frames:
            write_sheet(
                self._path,
                [
                    (i, cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[..., ::-1], persons)
                    for i, jpeg, persons in frames
                ],
            )


def write_sheet(path: Path, frames: Sequence[tuple[int, np.ndarray, Sequence[Person]]]) -> None:
    """Contact sheet of `frames` (index, image (H, W, 3) RGB, persons) as an image file."""
    index, images, persons = zip(*frames, strict=True)
    sheet = contact_sheet(
        images, persons, [f"frame {i}" for i in index], columns=2 if len(images) > 1 else 1
    )
    if not cv2.imwrite(str(path), sheet[..., ::-1]):
        raise CommandError(f"{path}: the picture cannot be written")


def chosen(frames: Sequence[tuple], count: int = SHEET_FRAMES) -> list[tuple]:
    """`count` evenly spaced frames, of those with a person where there are any, but not the first
    and the last."""
    candidates = [frame for frame in frames if frame[2]] or list(frames)
    places = np.floor((np.arange(count) + 0.5) * len(candidates) / count).astype(int)
    return [candidates[k] for k in sorted(set(places.tolist()))]
