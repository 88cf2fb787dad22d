# SPDX-License-Identifier: Apache-2.0
"""The range of brightness that a camera uses of the 16 bits that its images have.

Infrared and thermal cameras use 10, 12 or 14 bits of them, or a narrow band. Divided by 256, as 8
bits are made of 16, their images are black.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

WHITE = 65535
NARROW = 0.25
"""Share of the 16 bits; a camera that uses less is stretched."""
_PERCENTILES = (0.5, 99.5)
"""What counts as black and as white: a few pixels are always broken."""
_FOLLOWS = 0.1
"""Share of each new image in the running percentiles, so that the picture does not flicker."""
_LEAST_SPAN = 64.0
"""Smaller ranges are the noise of a camera that sees nothing."""
_SAMPLES = 20_000
"""Pixels that the percentiles are taken of, about."""


def decoded_bgr(data: np.ndarray, brightness: BrightnessRange | None) -> np.ndarray | None:
    """(H, W, 3) uint8 BGR of an image file's bytes; None where they do not decode. cv2.error where
    OpenCV refuses them.

    brightness: the camera's, for images of 16 bits.
    """
    if brightness is None:
        return cv2.imdecode(data, cv2.IMREAD_COLOR)
    bgr = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if bgr is None or bgr.dtype == np.uint8:
        return bgr
    if bgr.dtype != np.uint16:
        return cv2.imdecode(data, cv2.IMREAD_COLOR)

    is_grey = bool((bgr[::4, ::4, :1] == bgr[::4, ::4]).all())
    return (brightness.stretched(bgr, is_grey) >> 8).astype(np.uint8)


class BrightnessRange:
    """The range of one camera. The output depends on the images so far alone."""

    def __init__(self, say: Callable[[str], None] = lambda text: None):
        """say: called once, with one line, when images are stretched."""
        self._say = say
        self._black = np.nan
        self._white = np.nan
        self._is_narrow = False

    def stretched(self, pixels: np.ndarray, is_grey: bool) -> np.ndarray:
        """uint16 pixels of any shape (H, W, ...) over the whole range; unchanged while the camera
        uses a good part of it.

        is_grey: black is what the darkest pixels have; else it is 0, which keeps the colours.
        """
        every = max(1, int(np.sqrt(pixels[..., :1].size / _SAMPLES)))
        colours = pixels[::every, ::every]
        if pixels.ndim == 3:
            colours = colours[..., :3]  # alpha is none

        black, white = np.percentile(colours, _PERCENTILES)
        black = black if is_grey else 0.0
        if white - black < _LEAST_SPAN and not self._is_narrow:
            return pixels  # a black image says nothing about the camera

        self._follow(black, white)

        span = max(self._white - self._black, _LEAST_SPAN)
        if not self._is_narrow:
            if span >= NARROW * WHITE:
                return pixels
            self._is_narrow = True
            self._say(
                f"encoding: 16 bits, of which {self._black:.0f} to {self._white:.0f} are used;"
                " that range is stretched"
            )
        values = (pixels - np.float32(self._black)) * np.float32(WHITE / span)
        return np.clip(values, 0, WHITE).astype(np.uint16)

    def _follow(self, black: float, white: float) -> None:
        """Move the running percentiles."""
        if np.isnan(self._white):
            self._black = black
            self._white = white
        self._black += _FOLLOWS * (black - self._black)
        self._white += _FOLLOWS * (white - self._white)
