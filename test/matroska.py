# SPDX-License-Identifier: Apache-2.0
"""Videos with the time stamps that a test wants: Matroska with JPEG frames."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

EBML = 0x1A45DFA3
SEGMENT = 0x18538067
INFO = 0x1549A966
TRACKS = 0x1654AE6B
CLUSTER = 0x1F43B675


def element(number: int, content: bytes | int | float | str) -> bytes:
    """An element with its number and size."""
    if isinstance(content, int):
        content = content.to_bytes(8, "big")
    elif isinstance(content, float):
        content = struct.pack(">d", content)
    elif isinstance(content, str):
        content = content.encode()
    name = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return name + ((1 << 56) | len(content)).to_bytes(8, "big") + content


def write_video(
    path: Path, images: Sequence[np.ndarray | None], stamps_ms: Sequence[int], end_ms: int = 0
) -> Path:
    """Write images (H, W, 3) BGR with their time stamps; None is a frame that does not decode.

    end_ms: the duration that the header states; 0: none.
    """
    height, width = next(image for image in images if image is not None).shape[:2]
    info = element(0x2AD7B1, 1_000_000) + element(0x4D80, "test") + element(0x5741, "test")
    if end_ms:
        info += element(0x4489, float(end_ms))
    track = [
        element(0xD7, 1),
        element(0x73C5, 1),
        element(0x83, 1),
        element(0x86, "V_MJPEG"),
        element(0xE0, element(0xB0, width) + element(0xBA, height)),
    ]
    parts = [element(INFO, info), element(TRACKS, element(0xAE, b"".join(track)))]
    for image, stamp_ms in zip(images, stamps_ms, strict=True):
        data = b"\0" * 500
        if image is not None:
            data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
        block = element(0xA3, b"\x81\0\0\x80" + data)
        parts.append(element(CLUSTER, element(0xE7, stamp_ms) + block))
    head = element(0x4282, "matroska") + element(0x4287, 4) + element(0x4285, 2)
    path.write_bytes(element(EBML, head) + element(SEGMENT, b"".join(parts)))
    return path
