# SPDX-License-Identifier: Apache-2.0
"""Calibrations and places of the cameras of a rosbag2, without a ROS installation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lifting_ros.errors import DataError
from lifting_ros.geometry.camera import Camera, CameraError
from lifting_ros.geometry.transform_tree import TransformTree
from lifting_ros.io.bag_poses import (
    IMAGE_TYPES,
    INFO_TYPE,
    TYPE_3D,
    read_messages,
    topic_counts,
)
from lifting_ros.io.camera_info import camera_of_info

TF_TYPE = "tf2_msgs/msg/TFMessage"
TF_STATIC = "/tf_static"

_FOREVER_NS = 2**62


def read_cameras(path: Path, rectified: bool = False) -> dict[str, Camera]:
    """The camera of each frame_id that the bag has CameraInfo of.

    It is for images of the size of those in the bag with that frame_id. Where there are none, or
    they have several sizes, it is for images of the size that CameraInfo states.

    rectified: P applies instead of K and D. DataError where the bag cannot be read, a calibration
    cannot be used, or two topics differ under the same frame_id.
    """
    sizes = _image_sizes(path)
    cameras: dict[str, Camera] = {}
    origin: dict[str, str] = {}
    for topic in topic_counts(path, INFO_TYPE):
        for _, info in read_messages(path, topic, INFO_TYPE):
            frame = info.header.frame_id
            try:
                camera = camera_of_info(info, sizes.get(frame), rectified)
            except CameraError as error:
                raise DataError(f"{path}: {topic}: {error}") from None

            known = cameras.setdefault(frame, camera)
            if not np.allclose(known.matrix, camera.matrix):
                raise DataError(
                    f"{path}: {origin[frame]} and {topic} have the same frame_id {frame!r}"
                    " and different calibrations"
                )
            origin.setdefault(frame, topic)
            break  # cameras do not zoom

    return cameras


def _image_sizes(path: Path) -> dict[str, tuple[int, int]]:
    """Size (W, H) of the images of each frame_id whose images have one size.

    Images beside skeletons are left out: maps of the network are not of the camera's size.
    """
    of_nodes = {topic.rpartition("/")[0] for topic in topic_counts(path, TYPE_3D)}
    found: dict[str, set[tuple[int, int]]] = {}
    for topic in topic_counts(path, *IMAGE_TYPES):
        if topic.rpartition("/")[0] in of_nodes:
            continue

        for _, image in read_messages(path, topic, *IMAGE_TYPES):
            size = _size(image)
            if size is not None:
                found.setdefault(image.header.frame_id, set()).add(size)
            break  # nor do they change their size

    return {frame: sizes.pop() for frame, sizes in found.items() if len(sizes) == 1}


def _size(image: Any) -> tuple[int, int] | None:
    """Size (W, H) of an Image or a CompressedImage; None where it does not decode."""
    if hasattr(image, "width"):
        return image.width, image.height

    data = np.asarray(image.data, np.uint8)
    decoded = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    return None if decoded is None else (decoded.shape[1], decoded.shape[0])


def read_transforms(path: Path) -> TransformTree:
    """The transforms on /tf_static and /tf."""
    tree = TransformTree(keep_ns=_FOREVER_NS)
    for topic in topic_counts(path, TF_TYPE):
        for _, message in read_messages(path, topic, TF_TYPE):
            for one in message.transforms:
                tree.add_message(one, topic == TF_STATIC)
    return tree
