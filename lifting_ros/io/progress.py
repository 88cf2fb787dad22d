# SPDX-License-Identifier: Apache-2.0
"""Progress bars that suit a terminal, and lines that suit a log."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from tqdm import tqdm

_LOG_PERIOD_S = 10.0
"""Time between two lines where standard error is not a terminal."""


class _Lines:
    """A file that gets each state of a bar as a line of its own."""

    encoding = "ascii"
    """Bars of plain characters: a log may not show others."""

    def __init__(self, file: TextIO):
        self._file = file

    def write(self, text: str) -> None:
        """Write what a bar shows, unless it is blank."""
        line = text.strip("\r\n ")
        if line:
            self._file.write(f"{line}\n")

    def flush(self) -> None:
        """Flush the file."""
        self._file.flush()


class Progress(tqdm):
    """tqdm's bar on a terminal; else a line every ten seconds, and one at the end."""

    def __init__(self, *args: Any, **options: Any):
        if options.get("file") is None and not sys.stderr.isatty():
            options["file"] = _Lines(sys.stderr)
            options["mininterval"] = _LOG_PERIOD_S
            options["maxinterval"] = _LOG_PERIOD_S
        super().__init__(*args, **options)
