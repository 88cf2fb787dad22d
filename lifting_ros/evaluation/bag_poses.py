# SPDX-License-Identifier: Apache-2.0
"""Poses read back from a bag with the message definitions that it carries itself: no ROS installation is needed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader, AnyReaderError

from lifting_ros.core.poses import JointStatus, Person, Skeleton2D, Skeleton3D
from lifting_ros.core.skeleton import JOINT_COUNT

_TYPE_2D, _TYPE_3D = "lifting_ros/msg/Skeleton2DArray", "lifting_ros/msg/Skeleton3DArray"


@dataclass(frozen=True)
class BagFrame:
    """The answer to one image."""

    stamp_ns: int
    frame_id: str
    persons: tuple[Person, ...]


@dataclass(frozen=True)
class BagPoses:
    """What a bag holds."""

    frames: tuple[BagFrame, ...]
    """By stamp; one for each Skeleton3DArray."""
    messages: dict[str, int]
    """Number of messages of each topic."""

    @property
    def occupied(self) -> list[BagFrame]:
        """The frames with a person."""
        return [frame for frame in self.frames if frame.persons]


def read_bag(path: Path) -> BagPoses:
    """Read a rosbag2 or rosbag1 with poses, every message of it; ValueError in one line where it cannot be read."""
    skeletons: dict[str, dict[int, Any]] = {_TYPE_2D: {}, _TYPE_3D: {}}
    messages: Counter[str] = Counter()
    try:
        with AnyReader([path]) as reader:
            messages.update(dict.fromkeys(reader.topics, 0))
            for connection, _, data in reader.messages():
                message = reader.deserialize(data, connection.msgtype)
                messages[connection.topic] += 1
                if connection.msgtype in skeletons:
                    skeletons[connection.msgtype][_stamp(message.header)] = message
    except AnyReaderError as error:
        raise ValueError(f"{path}: not a readable bag ({' '.join(str(error).split())})") from None
    in_space, in_image = skeletons[_TYPE_3D], skeletons[_TYPE_2D]
    frames = [_frame(stamp, in_space[stamp], in_image.get(stamp)) for stamp in sorted(in_space)]
    return BagPoses(tuple(frames), dict(messages))


def joint_shares(frames: tuple[BagFrame, ...]) -> dict[JointStatus, float]:
    """Share of all persons' joints with each status; NaN where there is nobody."""
    statuses = [person.skeleton_3d.status for frame in frames for person in frame.persons]
    counts = np.bincount(np.concatenate(statuses), minlength=3) if statuses else np.zeros(3)
    return {status: float(counts[status] / counts.sum()) if statuses else float("nan") for status in JointStatus}


def _stamp(header: Any) -> int:
    return header.stamp.sec * 10**9 + header.stamp.nanosec


def _frame(stamp: int, in_space: Any, in_image: Any | None) -> BagFrame:
    flat = in_image.skeletons if in_image is not None else [None] * len(in_space.skeletons)
    persons = tuple(_person(*pair) for pair in zip(flat, in_space.skeletons, strict=True))
    return BagFrame(stamp, in_space.header.frame_id, persons)


def _person(flat: Any | None, lifted: Any) -> Person:
    velocity = np.array([(j.velocity.x, j.velocity.y, j.velocity.z) for j in lifted.joints])
    age_s = lifted.age.sec + 1e-9 * lifted.age.nanosec
    return Person(lifted.id, age_s, _skeleton_2d(flat, lifted.score), _skeleton_3d(lifted), velocity)


def _skeleton_2d(message: Any | None, score: float) -> Skeleton2D:
    if message is None:
        nothing = np.full(14, np.nan)
        return Skeleton2D(np.full((14, 2), np.nan), 0 * np.nan_to_num(nothing), np.full((14, 2, 2), np.nan), nothing[:4], score)
    points = message.keypoints
    covariance = [(p.covariance_xx, p.covariance_xy, p.covariance_xy, p.covariance_yy) for p in points]
    return Skeleton2D(
        np.array([(p.x, p.y) for p in points]), np.array([p.confidence for p in points]),
        np.array(covariance).reshape(-1, 2, 2), np.array(message.box), float(message.score),
    )  # fmt: skip


def _skeleton_3d(message: Any) -> Skeleton3D:
    joints, root = message.joints, message.root_position
    return Skeleton3D(
        joints_m=np.array([(j.position.x, j.position.y, j.position.z) for j in joints]),
        root_m=np.array([root.x, root.y, root.z]),
        covariance_m2=np.array([j.covariance for j in joints]).reshape(-1, 3, 3),  # 17, 3, 3
        root_covariance_m2=np.array(message.root_covariance).reshape(3, 3),  # 3, 3
        confidence=np.array([j.confidence for j in joints]),
        status=np.array([j.status for j in joints], np.uint8),
        log_likelihood=float(message.log_likelihood),
        metric=bool(message.metric),
        hypotheses_m=np.zeros((0, JOINT_COUNT, 3)),
        hypothesis_weight=np.zeros(0),
    )
