# SPDX-License-Identifier: Apache-2.0
"""Persons and images that the tests of the ROS side share."""

from __future__ import annotations

import numpy as np
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from lifting_ros.types import JointStatus, Person, Skeleton2D, Skeleton3D

FRAME = "camera_optical_frame"


def header(seconds: int = 12, nanoseconds: int = 345) -> Header:
    out = Header(frame_id=FRAME)
    out.stamp.sec, out.stamp.nanosec = seconds, nanoseconds
    return out


def covariances(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    factors = rng.normal(size=(count, size, size)) * 0.05
    return factors @ factors.transpose(0, 2, 1)


def person(
    rng: np.random.Generator, track_id: int = 0, inferred: tuple = (3,), invalid: tuple = ()
) -> Person:
    """A person of random numbers; `inferred` and `invalid` name joints."""
    confidence = rng.uniform(0.2, 1, 14)
    skeleton_2d = Skeleton2D(
        rng.uniform(10, 200, (14, 2)),
        confidence,
        covariances(rng, 14, 2),
        np.array([10.0, 20.0, 200.0, 220.0]),
        0.75,
    )
    joints, covariance, status = (
        rng.normal([0, 0, 4], 0.4, (17, 3)),
        covariances(rng, 17, 3),
        np.full(17, 2, np.uint8),
    )
    covariance[0] = 0
    status[list(inferred)], status[list(invalid)] = JointStatus.INFERRED, JointStatus.INVALID
    joints[list(invalid)], covariance[list(invalid)] = np.nan, np.nan
    skeleton_3d = Skeleton3D(
        joints_m=joints,
        root_m=joints[0],
        covariance_m2=covariance,
        root_covariance_m2=covariances(rng, 1, 3)[0],
        confidence=rng.uniform(0, 1, 17),
        status=status,
        log_likelihood=-12.5,
        metric=True,
        hypotheses_m=np.zeros((0, 17, 3)),
        hypothesis_weight=np.zeros(0),
    )
    return Person(track_id, 1.25, skeleton_2d, skeleton_3d, rng.normal(size=(17, 3)))


def image(pixels: np.ndarray, encoding: str, padding: int = 0, big_endian: bool = False) -> Image:
    """Image message of `pixels` with `padding` bytes behind each row."""
    if pixels.dtype == np.uint16:
        pixels = pixels.astype(">u2" if big_endian else "<u2")
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    data = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    message = Image(
        header=header(), height=pixels.shape[0], width=pixels.shape[1], encoding=encoding
    )
    message.step, message.is_bigendian, message.data = (
        data.shape[1],
        int(big_endian),
        data.tobytes(),
    )
    return message


def camera_info(width: int = 640, height: int = 480, focal: float = 600.0) -> CameraInfo:
    info = CameraInfo(
        header=header(), width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5
    )
    info.k = [focal, 0.0, (width - 1) / 2, 0.0, focal, (height - 1) / 2, 0.0, 0.0, 1.0]
    info.r = np.eye(3).ravel()
    info.p = [
        focal,
        0.0,
        (width - 1) / 2,
        0.0,
        0.0,
        focal,
        (height - 1) / 2,
        0.0,
        0.0,
        0.0,
        1.0,
        0.0,
    ]
    return info
