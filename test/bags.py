# SPDX-License-Identifier: Apache-2.0
"""Bags that the tests record themselves: images of one camera or several, and messages that have
nothing to do with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from clip import CLIP
from clip import frames as frames  # for those who record them
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

CALIBRATION = CLIP.with_suffix(".yaml")
START_NS = 1_700_000_000_123_456_789
PERIOD_NS = 100_000_001
OPTICAL_FRAME = "camera_optical_frame"
STORE = get_typestore(Stores.ROS2_HUMBLE)
STORE.register(get_types_from_msg("float64 charge\nstring[] cells\n", "strange_msgs/msg/Battery"))
STORE.register(get_types_from_msg("sensor_msgs/Image rgb\n", "strange_msgs/msg/Rgbd"))
BEST_EFFORT = Qos(
    QosHistory.KEEP_LAST,
    5,
    QosReliability.BEST_EFFORT,
    QosDurability.VOLATILE,
    QosTime(1, 2),
    QosTime(3, 4),
    QosLiveliness.AUTOMATIC,
    QosTime(5, 6),
    False,
)


def make(kind: str, **fields):
    """A message of type `kind` (package/Type) with plain values."""
    package, name = kind.split("/")
    return STORE.types[f"{package}/msg/{name}"](**fields)


def header(stamp_ns: int):
    stamp = STORE.types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9))
    return make("std_msgs/Header", stamp=stamp, frame_id=OPTICAL_FRAME)


def image(pixels: np.ndarray, stamp_ns: int, encoding: str = "rgb8"):
    height, width = pixels.shape[:2]
    data = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
    fields = {
        "height": height,
        "width": width,
        "encoding": encoding,
        "is_bigendian": 0,
        "step": data.size // height,
    }
    return make("sensor_msgs/Image", header=header(stamp_ns), data=data, **fields)


def compressed(pixels: np.ndarray, stamp_ns: int):
    data = np.frombuffer(cv2.imencode(".png", pixels[..., ::-1])[1].tobytes(), np.uint8)
    return make("sensor_msgs/CompressedImage", header=header(stamp_ns), format="png", data=data)


def camera_info(stamp_ns: int, focal: float = 600.0, width: int = 640, height: int = 480):
    k = np.array([focal, 0, (width - 1) / 2, 0, focal, (height - 1) / 2, 0, 0, 1.0])
    p = np.hstack([k.reshape(3, 3), np.zeros((3, 1))]).ravel()
    roi = make(
        "sensor_msgs/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
    )
    fields = {
        "height": height,
        "width": width,
        "distortion_model": "plumb_bob",
        "d": np.zeros(5),
        "k": k,
        "r": np.eye(3).ravel(),
        "p": p,
    }
    return make(
        "sensor_msgs/CameraInfo",
        header=header(stamp_ns),
        binning_x=0,
        binning_y=0,
        roi=roi,
        **fields,
    )


def write_bag(
    path: Path,
    messages: Sequence[tuple[str, int, object]],
    storage: StoragePlugin = StoragePlugin.MCAP,
) -> Path:
    """A folder with a bag of (topic, time in ns, message); raw bytes are written as an Image that
    they are not."""
    with Writer(path, version=8, storage_plugin=storage) as writer:
        connections = {}
        for topic, time_ns, message in messages:
            kind = "sensor_msgs/msg/Image" if isinstance(message, bytes) else message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(
                    topic, kind, typestore=STORE, offered_qos_profiles=[BEST_EFFORT]
                )
            data = (
                message if isinstance(message, bytes) else bytes(STORE.serialize_cdr(message, kind))
            )
            writer.write(connections[topic], time_ns, data)
    return path


def read_raw(path: Path) -> list[tuple[str, str, int, bytes, tuple]]:
    """Topic, type, time (ns), bytes and quality of service of every message, in order."""
    with Reader(path) as reader:
        return [
            (c.topic, c.msgtype, time, bytes(data), tuple(c.ext.offered_qos_profiles))
            for c, time, data in reader.messages()
        ]
