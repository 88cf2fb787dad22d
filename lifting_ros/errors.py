# SPDX-License-Identifier: Apache-2.0
"""The exceptions that become one line for the user; every other exception is a bug."""

from __future__ import annotations


class LiftingError(ValueError):
    """Bad input, of whatever kind. The text is one line and names the file, option or key."""


class DataError(LiftingError):
    """A file of the user that cannot be read, or whose content is not what was expected."""


def one_line(error: Exception) -> str:
    """The text of an error in one line; its kind where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
