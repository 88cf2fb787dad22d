# SPDX-License-Identifier: Apache-2.0
"""Errors of rendering. They are apart from the renderer so that the command line can catch them
without importing it."""

from lifting_ros.errors import LiftingError


class RenderError(LiftingError):
    """Pictures cannot be rendered; the text is one line."""


class RendererMissingError(RenderError):
    """The optional package `embreex` is not installed."""
