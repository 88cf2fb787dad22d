# SPDX-License-Identifier: Apache-2.0
"""Why pictures of synthetic people cannot be made; apart from the renderer, so that the command
line knows them without loading it."""

from lifting_ros.errors import LiftingError


class RenderError(LiftingError):
    """Pictures that cannot be made; the text is one line."""


class RendererMissingError(RenderError):
    """The optional package `embreex` is not installed."""
