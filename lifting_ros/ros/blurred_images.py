# SPDX-License-Identifier: Apache-2.0
"""Images with hidden heads, in the encoding that they came in. ConversionError for an image that
cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from lifting_ros.ros.conversions import (
    ALIASES,
    ENCODINGS,
    PIXEL_BYTES,
    PLANAR,
    ConversionError,
    array_to_image,
    checked_row,
)
from lifting_ros.viz.anonymise import HeadRegion, hide_heads

_JPEG_QUALITY = 95
_FILES = ((b"\xff\xd8", ".jpg"), (b"\x89PNG", ".png"))
"""First bytes of a file, and its suffix."""


class _Plane(NamedTuple):
    """A part of an image's rows, in blocks of samples that are blurred as one pixel."""

    rows: slice
    block_rows: int
    block_samples: int
    pixel_size: tuple[int, int]
    """Width and height of a block in pixels."""


def anonymous_image(image: np.ndarray, regions: Sequence[HeadRegion], header: Header) -> Image:
    """rgb8 message of `image` (H, W, 3) uint8 RGB with hidden heads; `image` is not changed."""
    return array_to_image(hide_heads(image, regions), "rgb8", header)


def blurred_data(message: Any, regions: Sequence[HeadRegion], size: tuple[int, int]) -> np.ndarray:
    """The bytes of a raw image with hidden heads, uint8; encoding, padding and all bytes outside
    the regions are unchanged.

    message: sensor_msgs/Image of rclpy or of rosbags. size: as in `blurred_file`.
    """
    _check_size((message.width, message.height), size)
    encoding = ALIASES.get(message.encoding, message.encoding)
    if encoding not in PIXEL_BYTES and encoding not in PLANAR:
        raise ConversionError(
            f"encoding: expected one of {', '.join(ENCODINGS)}, got {message.encoding!r}"
        )

    planes = _planes(encoding, message.height)
    row_count = planes[-1].rows.stop
    pixel_bytes = PIXEL_BYTES.get(encoding, 1)
    row = checked_row(message, encoding, pixel_bytes, row_count)

    # Whole rows: the last one may come without its padding
    data = np.frombuffer(message.data, np.uint8)
    out = np.zeros(max(len(data), message.step * row_count), np.uint8)
    out[: len(data)] = data
    rows = out[: message.step * row_count].reshape(row_count, message.step)
    kind = _sample_kind(encoding, bool(message.is_bigendian))
    samples = np.ascontiguousarray(rows[:, :row]).view(kind)

    for plane in planes:
        samples[plane.rows] = _blurred_plane(samples[plane.rows], plane, regions)

    rows[:, :row] = samples.view(np.uint8)
    return out[: len(data)]


def _check_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    """Raise ConversionError unless an image (width, height) has the size that its regions have."""
    if tuple(size) != tuple(expected):
        raise ConversionError(
            f"width, height: expected {expected[0]}x{expected[1]}, got {size[0]}x{size[1]}"
        )


def _planes(encoding: str, height: int) -> tuple[_Plane, ...]:
    """The planes of an image, first rows first."""
    whole = slice(0, height)
    if encoding in PLANAR:
        colours = slice(height, height * 3 // 2)
        return _Plane(whole, 1, 1, (1, 1)), _Plane(colours, 1, 2, (2, 2))
    if encoding.startswith("yuv422"):
        return (_Plane(whole, 1, 4, (2, 1)),)
    if encoding.startswith("bayer"):
        return (_Plane(whole, 2, 2, (2, 2)),)

    channels = PIXEL_BYTES[encoding] // _sample_kind(encoding, False).itemsize
    return (_Plane(whole, 1, channels, (1, 1)),)


def _sample_kind(encoding: str, is_bigendian: bool) -> np.dtype:
    if not encoding.endswith("16"):
        return np.dtype(np.uint8)

    return np.dtype(np.uint16).newbyteorder(">" if is_bigendian else "<")


def _blurred_plane(samples: np.ndarray, plane: _Plane, regions: Sequence[HeadRegion]) -> np.ndarray:
    """A plane (rows, samples) with hidden heads, in blocks as pixels. What is left over of an odd
    size is unchanged."""
    row_count = len(samples) // plane.block_rows
    column_count = samples.shape[1] // plane.block_samples
    height = row_count * plane.block_rows
    width = column_count * plane.block_samples

    # Blocks as channels
    blocks = samples[:height, :width].reshape(
        row_count, plane.block_rows, column_count, plane.block_samples
    )
    pixels = blocks.transpose(0, 2, 1, 3).reshape(row_count, column_count, -1)
    native = np.ascontiguousarray(pixels.astype(samples.dtype.newbyteorder("=")))
    hidden = hide_heads(native, regions, plane.pixel_size)

    # And back
    hidden = hidden.reshape(row_count, column_count, plane.block_rows, plane.block_samples)
    out = samples.copy()
    out[:height, :width] = hidden.transpose(0, 2, 1, 3).reshape(height, width)
    return out


def blurred_file(message: Any, regions: Sequence[HeadRegion], size: tuple[int, int]) -> np.ndarray:
    """The bytes of a JPEG or PNG image with hidden heads, uint8, compressed in the same way again
    (JPEG with the quality 95).

    message: sensor_msgs/CompressedImage of rclpy or of rosbags. size: width and height of the image
    that the regions belong to; an image of another size is an error. Where there is nothing to
    hide, the message's own bytes.
    """
    data = np.frombuffer(message.data, np.uint8)
    if not regions:
        return data

    start = data[:4].tobytes()
    suffixes = [suffix for first, suffix in _FILES if start.startswith(first)]
    pixels = None
    if suffixes:
        pixels = cv2.imdecode(data, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    if pixels is None:
        raise ConversionError(
            f"data: {len(data)} bytes (format {message.format!r}) do not decode as JPEG or PNG"
        )

    _check_size(pixels.shape[1::-1], size)
    hidden = hide_heads(pixels, regions)
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _, encoded = cv2.imencode(suffixes[0], hidden, options)
    return encoded.ravel()
