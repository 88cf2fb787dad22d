# SPDX-License-Identifier: Apache-2.0
"""Poses as JSON: one object with the frames, their persons, and what names and units mean.

docs/bags.md has the schema. A person has the values of an .npz row under the same names; null
stands for what is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lifting_ros.errors import DataError
from lifting_ros.io.atomic import replacing
from lifting_ros.io.pose_table import (
    KEYPOINT_COLUMNS,
    POSE_COLUMNS,
    TRACK_COLUMNS,
    Column,
    PoseFrame,
    persons_of,
)
from lifting_ros.io.progress import Progress
from lifting_ros.skeleton import JOINT_NAMES, JOINT_PARENTS, KEYPOINT_NAMES
from lifting_ros.types import JointStatus, Person

FORMAT = "lifting_ros poses"
VERSION = 1

_OF_TRACK = ("track_id", "age_s", "coasting", "velocity_mps", "bone_lengths_m")
_OF_POSE = (
    "metric",
    "root_m",
    "joints_m",
    "covariance_m2",
    "root_covariance_m2",
    "joint_confidence",
    "status",
)
_OF_KEYPOINTS = ("score", "box_px", "keypoints_px", "confidence")

_COLUMNS: dict[str, Column] = {
    **{name: TRACK_COLUMNS[name] for name in _OF_TRACK},
    **{name: POSE_COLUMNS[name] for name in _OF_POSE},
    **{name: KEYPOINT_COLUMNS[name] for name in _OF_KEYPOINTS},
}
"""What a person has."""

_UNITS = {
    "stamp_ns": "ns",
    "time_s": "s since the first frame",
    "joints_m": "m, in the coordinate frame frame_id",
    "covariance_m2": "m2, of a joint relative to root_m",
    "root_covariance_m2": "m2, of root_m alone",
    "keypoints_px": "px",
}


def write_json(path: str | Path, frames: Sequence[PoseFrame]) -> None:
    """Write the frames as JSON, a line for each frame, whole or not at all."""
    head = {
        "format": FORMAT,
        "version": VERSION,
        "units": _UNITS,
        "joint_names": JOINT_NAMES,
        "joint_parents": JOINT_PARENTS,
        "keypoint_names": KEYPOINT_NAMES,
        "status_names": [status.name.lower() for status in JointStatus],
    }
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write("{\n")
        for name, value in head.items():
            file.write(f"{json.dumps(name)}: {json.dumps(value)},\n")
        file.write('"frames": [')
        between = "\n"
        for frame in Progress(frames, desc="writing", unit=" frames", delay=2):
            entry = _frame_entry(frame, frames[0].stamp_ns)
            file.write(between + json.dumps(entry, allow_nan=False))
            between = ",\n"
        file.write("\n]}\n")


def read_json(path: str | Path) -> list[PoseFrame]:
    """The frames of a file that `write_json` wrote.

    FileNotFoundError where there is no file; DataError where it is another one or damaged.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        content = json.loads(text)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable JSON ({error})") from None

    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path}: format: expected {FORMAT!r}, as `lifting poses` writes it")
    version = content.get("version")
    if version != VERSION:
        raise DataError(f"{path}: version: expected {VERSION}, got {version}")

    try:
        return [_frame_of(entry) for entry in content["frames"]]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: frames: not as `lifting poses` writes them ({error!r})") from None


def _frame_entry(frame: PoseFrame, start_ns: int) -> dict[str, Any]:
    """A frame as it is written."""
    return {
        "stamp_ns": frame.stamp_ns,
        "time_s": (frame.stamp_ns - start_ns) * 1e-9,
        "frame_id": frame.frame_id,
        "persons": [_person_entry(person) for person in frame.persons],
    }


def _person_entry(person: Person) -> dict[str, Any]:
    """A person as it is written."""
    entry = {}
    for names, holder in (
        (_OF_TRACK, person),
        (_OF_POSE, person.skeleton_3d),
        (_OF_KEYPOINTS, person.skeleton_2d),
    ):
        for name in names:
            column = _COLUMNS[name]
            value: np.ndarray = np.array(getattr(holder, column.attribute), column.kind)
            written = value.astype(object)
            written[~np.isfinite(value)] = None
            entry[name] = written.tolist()
    return entry


def _frame_of(entry: Mapping[str, Any]) -> PoseFrame:
    """The frame of an entry; KeyError, TypeError or ValueError for anything else."""
    persons: list[Person] = []
    for values in entry["persons"]:
        row = {}
        for name, column in _COLUMNS.items():
            value: np.ndarray = np.array(values[name], column.kind)  # null becomes NaN
            shape = (1, *column.shape)
            row[name] = value.reshape(shape)
        persons += persons_of(row)

    stamp_ns = int(entry["stamp_ns"])
    frame_id = str(entry["frame_id"])
    return PoseFrame(stamp_ns, frame_id, tuple(persons))
