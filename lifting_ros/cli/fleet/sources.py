# SPDX-License-Identifier: Apache-2.0
"""The bags, videos and folders of images that a fleet works on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.estimate import is_bag

BAG = "bags"
VIDEO = "videos"
IMAGES = "folders of images"

VIDEO_SUFFIXES = (
    ".3gp",
    ".avi",
    ".flv",
    ".m2ts",
    ".m4v",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpeg",
    ".mpg",
    ".mts",
    ".ogv",
    ".webm",
    ".wmv",
)
"""Files of a folder that are taken for videos. A file that is named itself may have any suffix."""


@dataclass(frozen=True)
class Source:
    """A unit of work: a bag, a video, an image or a folder of images."""

    path: Path
    """Absolute."""
    name: str
    """Its path below the folder that all SOURCES lie in, with `/`."""


def find_sources(given: Sequence[str], kinds: Sequence[str], out: Path) -> list[Source]:
    """The sources of some files and folders, each once, sorted by name.

    kinds: what to look for in folders: BAG, VIDEO, IMAGES. out: a folder that is not searched.

    CommandError for a SOURCE that is not there, has nothing of these kinds in it, or lies in `out`.
    """
    tops = [Path(os.path.abspath(name)) for name in given]
    paths = []
    for top in tops:
        paths += _sources_of(top, kinds, Path(os.path.abspath(out)))

    root = Path(os.path.commonpath([top.parent for top in tops]))
    sources = [Source(path, path.relative_to(root).as_posix()) for path in dict.fromkeys(paths)]
    return sorted(sources, key=lambda source: source.name)


def _sources_of(top: Path, kinds: Sequence[str], out: Path) -> list[Path]:
    if out in (top, *top.parents):
        raise CommandError(f"{top}: lies in --out {out}; expected a SOURCE outside")
    if not top.exists():
        raise CommandError(f"{top}: no such file or folder")
    if not top.is_dir():
        return [top]

    found = list(_search(top, kinds, out))
    if not found:
        raise CommandError(f"{top}: no {' or '.join(kinds)} in this folder")
    return found


def _search(top: Path, kinds: Sequence[str], out: Path) -> Iterator[Path]:
    """What is in a folder, at any depth, without what is hidden; links to folders are not
    followed."""
    from lifting_ros.io.images import folder_images

    for name, folders, files in os.walk(top, onerror=_raise):
        here = Path(name)
        if is_bag(here):
            if BAG in kinds:
                yield here
            folders.clear()
            continue

        folders[:] = [each for each in folders if not each.startswith(".") and here / each != out]
        if IMAGES in kinds and folder_images(here):
            yield here
        for each in files:
            path = here / each
            if not each.startswith(".") and _kind_of(path) in kinds:
                yield path


def _kind_of(path: Path) -> str:
    """BAG, VIDEO, or nothing for other files; images count by their folder."""
    if is_bag(path):
        return BAG
    return VIDEO if path.suffix.lower() in VIDEO_SUFFIXES else ""


def _raise(error: OSError) -> None:
    raise error
