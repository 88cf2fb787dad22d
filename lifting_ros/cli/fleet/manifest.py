# SPDX-License-Identifier: Apache-2.0
"""The record of finished work: one small JSON file for each source, so that processes on several
machines never write the same file."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lifting_ros.cli.fleet.sources import Source
from lifting_ros.io.atomic import discard, replacing
from lifting_ros.io.checkpoint import sha256_of
from lifting_ros.io.file_lock import locked

FOLDER = "manifest"
"""Where the records are, in the folder of the outputs."""


class Manifest:
    """What has been made in the folder `out`.

    task: what determines an output besides its source, as JSON has it: the verb, its options, the
    SHA-256 of its models. suffix: what an output's name ends in, behind that of its source.
    """

    def __init__(self, out: Path, task: dict[str, Any], suffix: str):
        self._out = out
        self._task = task
        self._suffix = suffix

    def output_of(self, source: Source) -> Path:
        """The output of a source. No two sources have the same one."""
        return self._out / self._name_of(source)

    def record_of(self, source: Source) -> Path:
        """The record of a source."""
        return self._out / FOLDER / f"{source.name}.json"

    @contextlib.contextmanager
    def claimed(self, source: Source) -> Iterator[None]:
        """Work on a source alone in the block; waits for another process that does."""
        with locked(self._out / f"{FOLDER}.lock", source.name):
            yield

    def is_finished(self, source: Source, read: bool = True) -> bool:
        """Whether the output is there and was made from this source by this task.

        A source whose files have the sizes and times of the record is not read again. read: False
        if another one is not to be read either; the answer is then False.
        """
        record = self._read(source)
        if record.get("task") != self._task or not self._has_output(record, source):
            return False

        stamps = stamps_of(source.path)
        if record["stamps"] == stamps:
            return True
        if not read or record["sha256"] != sha256_of_source(source.path):
            return False

        self._write(source, record | {"stamps": stamps})
        return True

    def forget(self, source: Source) -> None:
        """Remove the record of a source, and what was made of it before."""
        name = self._read(source).get("output")
        if isinstance(name, str):
            discard(self._out / name)
        discard(self.output_of(source))
        discard(self.record_of(source))

    def write_finished(
        self, source: Source, sha256: str, stamps: str, messages: Sequence[str]
    ) -> None:
        """Record that a source is finished.

        sha256, stamps: of the source before it was read. messages: what was said of it.
        """
        has_output = self.output_of(source).exists()
        record = {
            "source": str(source.path),
            "sha256": sha256,
            "stamps": stamps,
            "task": self._task,
            "output": self._name_of(source) if has_output else None,
            "messages": list(messages),
        }
        self._write(source, record)

    def write_failed(self, source: Source, reason: str) -> None:
        """Record why a source failed; the next run tries it again."""
        self._write(source, {"source": str(source.path), "task": self._task, "error": reason})

    def _has_output(self, record: dict[str, Any], source: Source) -> bool:
        """Whether the output of a record is there under its present name, or none was to be
        written."""
        if "output" not in record:
            return False
        name = record["output"]
        return name is None or (name == self._name_of(source) and self.output_of(source).exists())

    def _name_of(self, source: Source) -> str:
        """The output of a source, as records name it."""
        return f"{source.name}{self._suffix}"

    def _read(self, source: Source) -> dict[str, Any]:
        """The record of a source; empty where there is none that can be read."""
        try:
            record = json.loads(self.record_of(source).read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def _write(self, source: Source, record: dict[str, Any]) -> None:
        path = self.record_of(source)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def files_of(path: Path) -> list[Path]:
    """The files that a source consists of: itself, those of a bag, or the images of a folder."""
    from lifting_ros.cli.estimate import is_bag
    from lifting_ros.io.images import folder_images

    if not path.is_dir():
        return [path]
    if is_bag(path):
        return sorted(each for each in path.rglob("*") if each.is_file())
    return list(folder_images(path))


def sha256_of_source(path: Path) -> str:
    """SHA-256 of a file; of a folder that of the lines `sha256  name` of its files."""
    if not path.is_dir():
        return sha256_of(path)

    digest = hashlib.sha256()
    for each in files_of(path):
        digest.update(_line(sha256_of(each), each, path))
    return digest.hexdigest()


def stamps_of(path: Path) -> str:
    """SHA-256 of the sizes and times of the files of a source. It differs after any write."""
    digest = hashlib.sha256()
    for each in files_of(path):
        status = each.stat()
        numbers = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
        digest.update(_line(numbers, each, path))
    return digest.hexdigest()


def _line(text: str, path: Path, folder: Path) -> bytes:
    name = path.relative_to(folder) if path != folder else ""
    return f"{text}  {name}\n".encode("utf-8", "surrogateescape")
