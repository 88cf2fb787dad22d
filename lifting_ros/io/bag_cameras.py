# SPDX-License-Identifier: Apache-2.0
"""Calibrations and places of the cameras of a rosbag2, without a ROS installation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lifting_ros.errors import DataError
from lifting_ros.geometry.camera import Camera, CameraError, scale_intrinsics
from lifting_ros.geometry.transform_tree import TransformTree
from lifting_ros.io.bag_poses import INFO_TYPE, read_messages, topic_counts

TF_TYPE = "tf2_msgs/msg/TFMessage"
TF_STATIC = "/tf_static"

_FOREVER_NS = 2**62


def read_cameras(path: Path, rectified: bool = False) -> dict[str, Camera]:
    """The camera of each frame_id that the bag has CameraInfo of, for images of the size that it
    states.

    rectified: P applies instead of K and D. DataError where the bag cannot be read, a calibration
    cannot be used, or two topics differ under the same frame_id.
    """
    cameras: dict[str, Camera] = {}
    origin: dict[str, str] = {}
    for topic in topic_counts(path, INFO_TYPE):
        for _, info in read_messages(path, topic, INFO_TYPE):
            frame = info.header.frame_id
            try:
                camera = camera_of_info(info, rectified)
            except CameraError as error:
                raise DataError(f"{path}: {topic}: {error}") from None

            known = cameras.setdefault(frame, camera)
            if not np.array_equal(known.matrix, camera.matrix):
                raise DataError(
                    f"{path}: {origin[frame]} and {topic} have the same frame_id {frame!r}"
                    " and different calibrations"
                )
            origin.setdefault(frame, topic)
            break  # cameras do not zoom

    return cameras


def read_transforms(path: Path) -> TransformTree:
    """The transforms on /tf_static and /tf."""
    tree = TransformTree(keep_ns=_FOREVER_NS)
    for topic in topic_counts(path, TF_TYPE):
        for _, message in read_messages(path, topic, TF_TYPE):
            for one in message.transforms:
                _add(tree, one, topic == TF_STATIC)
    return tree


def _add(tree: TransformTree, one: Any, static: bool) -> None:
    stamp = one.header.stamp
    stamp_ns = stamp.sec * 10**9 + stamp.nanosec
    place = one.transform.translation
    turn = one.transform.rotation
    translation = (place.x, place.y, place.z)
    quaternion = (turn.x, turn.y, turn.z, turn.w)
    try:
        tree.add(
            one.header.frame_id,
            one.child_frame_id,
            stamp_ns,
            translation,
            quaternion,
            static,
        )
    except ValueError:
        return  # not a pose: a lookup reports it as missing


def camera_of_info(info: Any, rectified: bool = False) -> Camera:
    """The camera of the images that belong to a CameraInfo of rosbags or of rclpy, binned and
    cropped as it says.

    rectified: P applies instead of K and D. CameraError where the calibration cannot be used.
    """
    matrix = np.array(info.k, np.float64).reshape(3, 3)
    distortion = np.array(info.d, np.float64)
    if rectified:
        matrix = np.array(info.p, np.float64).reshape(3, 4)[:, :3]
        distortion = np.zeros(0)

    whole = Camera(matrix, distortion, info.distortion_model)
    cropped = whole.matrix.copy()
    cropped[0, 2] -= info.roi.x_offset
    cropped[1, 2] -= info.roi.y_offset

    across = 1 / max(info.binning_x, 1)
    down = 1 / max(info.binning_y, 1)
    scaled = scale_intrinsics(cropped, across, down)
    return Camera(scaled, distortion, info.distortion_model)
