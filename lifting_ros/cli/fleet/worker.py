# SPDX-License-Identifier: Apache-2.0
"""Runs a verb on one source after another, with the same models."""

from __future__ import annotations

import contextlib
import io
import os
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lifting_ros.cli.fleet.manifest import Manifest, sha256_of_source, stamps_of
from lifting_ros.cli.fleet.sources import Source
from lifting_ros.cli.fleet.verbs import VERBS
from lifting_ros.cli.label import NobodyFound
from lifting_ros.cli.main import describe_bug
from lifting_ros.cli.models import Models
from lifting_ros.errors import DataError, LiftingError, one_line
from lifting_ros.io.atomic import beside

DONE = "done"
SKIPPED = "skipped"
FAILED = "failed"
BUG = "bug"


@dataclass(frozen=True)
class Job:
    """What is done with every source."""

    verb: str
    options: dict[str, Any]
    """Arguments of the verb, without source and output."""
    task: dict[str, Any]
    """As `Verb.task` returns it."""
    out: Path
    """Existing folder, absolute."""
    suffix: str
    """Of the outputs."""

    @property
    def manifest(self) -> Manifest:
        """The records of finished work."""
        return Manifest(self.out, self.task, self.suffix)


@dataclass(frozen=True)
class Outcome:
    """What became of a source."""

    name: str
    """Of the source."""
    status: str
    """DONE, SKIPPED (finished before), FAILED, or BUG: failed for no known reason."""
    reason: str = ""
    """One line on why it failed."""
    messages: tuple[str, ...] = ()
    """Warnings of the verb, a line each."""
    traceback: str = ""
    """Where it failed."""


class Worker:
    """Processes sources in this process. The models are loaded for the first one that is not
    finished."""

    def __init__(self, job: Job):
        self._job = job
        self._manifest = job.manifest
        self._models = Models()

    def process(self, source: Source) -> Outcome:
        """Make the output of a source, unless it is finished; what fails is recorded."""
        try:
            with self._manifest.claimed(source):
                if self._manifest.is_finished(source):
                    return Outcome(source.name, SKIPPED)
                self._manifest.forget(source)
                return Outcome(source.name, DONE, messages=self._make(source))
        except (LiftingError, OSError) as error:
            reason = one_line(error)
            failed = Outcome(source.name, FAILED, reason, traceback=traceback.format_exc())
        except Exception as error:
            reason = describe_bug(error)
            failed = Outcome(source.name, BUG, reason, traceback=traceback.format_exc())

        # Where the record cannot be written, the reason is reported all the same.
        with contextlib.suppress(OSError):
            self._manifest.write_failed(source, failed.reason)
        return failed

    def _make(self, source: Source) -> tuple[str, ...]:
        """Make and record the output; returns what the verb said."""
        stamps = stamps_of(source.path)
        sha256 = sha256_of_source(source.path)
        output = self._manifest.output_of(source)
        output.parent.mkdir(parents=True, exist_ok=True)

        # What a killed process leaves is in this folder, which the next one removes.
        with beside(output) as work:
            work.mkdir()
            made = work / output.name
            messages = self._run_verb(source, made)
            if stamps_of(source.path) != stamps:
                raise DataError(f"{source.path}: changed while it was read")
            if made.exists():
                os.replace(made, output)

        self._manifest.write_finished(source, sha256, stamps, messages)
        return messages

    def _run_verb(self, source: Source, out: Path) -> tuple[str, ...]:
        said = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            try:
                verb = VERBS[self._job.verb]
                verb.run(self._job.options, source.path, out, self._models)
            except NobodyFound as error:
                return (str(error),)

        # Lines without the prefix are progress.
        prefix = f"lifting {self._job.verb}: "
        lines = said.getvalue().splitlines()
        return tuple(line.removeprefix(prefix) for line in lines if line.startswith("lifting "))
