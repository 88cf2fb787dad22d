# SPDX-License-Identifier: Apache-2.0
"""Which library converts images: cv_bridge where it converts one, else rosbags-image; and what it
is given."""

from __future__ import annotations

import runpy
import sys
from types import ModuleType

import numpy as np
import pytest
from ros_support import image

from lifting_ros.ros import bridge
from lifting_ros.ros.conversions import image_to_rgb

PIXELS = np.array([[[1, 2, 3], [40, 50, 60]]], np.uint8)
"""(1, 2, 3) BGR."""


class WholeBridge:
    """A cv_bridge that works, as far as bgr8 goes."""

    def imgmsg_to_cv2(self, message, encoding):
        assert (message.encoding, encoding) == ("bgr8", "rgb8")
        rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
        return rows[..., ::-1]


class HalfBridge:
    """Its compiled module is imported when it converts, and is not there."""

    def imgmsg_to_cv2(self, message, encoding):
        raise ModuleNotFoundError("No module named 'cv_bridge.boost.cv_bridge_boost'")


class OldBridge:
    """Its compiled module was made for another NumPy."""

    def imgmsg_to_cv2(self, message, encoding):
        raise SystemError("initialization of cv_bridge_boost raised unreported exception")


@pytest.fixture
def bridge_with(monkeypatch):
    """Function from a class CvBridge, or None for no such package, to the names in bridge.py."""

    def load(converter: type | None) -> dict:
        package = None
        if converter is not None:
            package = ModuleType("cv_bridge")
            package.CvBridge = converter
        monkeypatch.setitem(sys.modules, "cv_bridge", package)
        return runpy.run_path(bridge.__file__)

    return load


@pytest.mark.parametrize(
    ("converter", "library"),
    [
        (WholeBridge, "cv_bridge"),
        (HalfBridge, "rosbags-image"),
        (OldBridge, "rosbags-image"),
        (None, "rosbags-image"),
    ],
)
def test_images_convert_with_any_cv_bridge(bridge_with, converter, library):
    loaded = bridge_with(converter)
    assert loaded["IMAGES_BY"] == library
    rgb = loaded["to_rgb"](image(PIXELS, "bgr8"))
    assert rgb.tolist() == [[[3, 2, 1], [60, 50, 40]]]


@pytest.mark.parametrize("encoding", ["mono16", "rgb16", "bgra8", "mono8"])
@pytest.mark.parametrize("big_endian", [False, True])
def test_library_gets_this_machines_byte_order(monkeypatch, encoding, big_endian):
    """cv_bridge swaps bytes in a way that fails on NumPy 2, even those of 8 bits."""
    channels = {"mono16": 1, "rgb16": 3, "bgra8": 4, "mono8": 1}[encoding]
    kind = np.uint16 if encoding.endswith("16") else np.uint8
    pixels = (np.arange(2 * 5 * channels).reshape(2, 5, channels) * 7 + 1).astype(kind)
    taken = []

    def take(message):
        taken.append(message)
        return np.zeros((2, 5, 3), np.uint8)

    monkeypatch.setattr(bridge, "to_rgb", take)
    sent = image(pixels, encoding, big_endian=big_endian)
    before = bytes(sent.data)
    image_to_rgb(sent)

    (message,) = taken
    assert message.is_bigendian == (sys.byteorder == "big")
    assert np.frombuffer(message.data, kind).tolist() == pixels.ravel().tolist()
    assert bytes(sent.data) == before
