# SPDX-License-Identifier: Apache-2.0
"""The error of the command line."""

from __future__ import annotations

from lifting_ros.errors import LiftingError


class CommandError(LiftingError):
    """An option or an argument that cannot be used; the text is one line."""
