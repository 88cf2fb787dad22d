# SPDX-License-Identifier: Apache-2.0
"""The exceptions that become one line for the user; every other exception is a bug."""

from __future__ import annotations


class LiftingError(ValueError):
    """Bad input, of whatever kind. The text is one line and names the file, option or key."""


class DataError(LiftingError):
    """A file of the user that cannot be read, or whose content is not what was expected."""
