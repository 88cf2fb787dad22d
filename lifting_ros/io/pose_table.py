# SPDX-License-Identifier: Apache-2.0
"""Persons as a table of arrays, a row per person: the one list of columns for every .npz of poses.

`lifting detect` writes KEYPOINT_COLUMNS; `lifting estimate` and `lifting poses` write all columns;
`lifting lift` writes those of POSE_COLUMNS that `types.LiftedPoses` has; `lifting view` reads any
of the last three.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lifting_ros.errors import DataError
from lifting_ros.io.arrays import as_numbers, read_npz, write_npz
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT
from lifting_ros.types import Person, Skeleton2D, Skeleton3D

Arrays = dict[str, np.ndarray]
M = TypeVar("M", int, None)

STILL_PERIOD_NS = 100_000_000
"""Time between poses without stamps, which are shown one after the other."""

_MODES = -1
"""In place of the number of hypotheses, which is the same for all persons of a table."""


@dataclass(frozen=True)
class Column:
    """A column of a table, which holds one attribute of every person."""

    attribute: str
    """Of `Skeleton2D`, `Skeleton3D` or `Person`."""
    shape: tuple[int, ...] = ()
    """Of one person's value."""
    kind: type = np.float64

    def shape_with(self, modes: M) -> tuple[int | M, ...]:
        """The shape with the number of hypotheses filled in."""
        return tuple(modes if side == _MODES else side for side in self.shape)


KEYPOINT_COLUMNS = {
    "box_px": Column("box_px", (4,)),
    "score": Column("score"),
    "keypoints_px": Column("keypoints_px", (KEYPOINT_COUNT, 2)),
    "confidence": Column("confidence", (KEYPOINT_COUNT,)),
    "keypoint_covariance_px2": Column("covariance_px2", (KEYPOINT_COUNT, 2, 2)),
}
"""Array name -> attribute of `Skeleton2D`."""

POSE_COLUMNS = {
    "joints_m": Column("joints_m", (JOINT_COUNT, 3)),
    "root_m": Column("root_m", (3,)),
    "covariance_m2": Column("covariance_m2", (JOINT_COUNT, 3, 3)),
    "root_covariance_m2": Column("root_covariance_m2", (3, 3)),
    "joint_confidence": Column("confidence", (JOINT_COUNT,)),
    "status": Column("status", (JOINT_COUNT,), np.uint8),
    "metric": Column("metric", kind=np.bool_),
    "log_likelihood": Column("log_likelihood"),
    "hypotheses_m": Column("hypotheses_m", (_MODES, JOINT_COUNT, 3)),
    "hypothesis_weight": Column("hypothesis_weight", (_MODES,)),
}
"""Array name -> attribute of `Skeleton3D`."""

TRACK_COLUMNS = {
    "track_id": Column("id", kind=np.int64),
    "age_s": Column("age_s"),
    "velocity_mps": Column("velocity_mps", (JOINT_COUNT, 3)),
    "velocity_covariance_m2ps2": Column("velocity_covariance_m2ps2", (JOINT_COUNT, 3, 3)),
    "bone_lengths_m": Column("bone_lengths_m", (JOINT_COUNT - 1,)),
    "bone_lengths_std_m": Column("bone_lengths_std_m", (JOINT_COUNT - 1,)),
    "coasting": Column("coasting", kind=np.bool_),
}
"""Array name -> attribute of `Person`."""

REQUIRED = ("joints_m", "root_m", "covariance_m2", "root_covariance_m2", "status")
"""The arrays without which there is nothing to show."""


@dataclass(frozen=True)
class PoseFrame:
    """The persons of one image."""

    stamp_ns: int
    frame_id: str
    """The coordinate frame of the joints; empty where it is not known."""
    persons: tuple[Person, ...]
    image_frame_id: str = ""
    """The optical frame of the image that the keypoints are in; empty where it is not known."""


def keypoint_arrays(skeletons: Sequence[Skeleton2D]) -> Arrays:
    """KEYPOINT_COLUMNS of N skeletons, each (N, ...)."""
    return _columns(KEYPOINT_COLUMNS, skeletons)


def person_arrays(persons: Sequence[Person]) -> Arrays:
    """All columns of N persons, each (N, ...)."""
    skeletons_2d = [person.skeleton_2d for person in persons]
    skeletons_3d = [person.skeleton_3d for person in persons]
    return {
        **_columns(TRACK_COLUMNS, persons),
        **_columns(KEYPOINT_COLUMNS, skeletons_2d),
        **_columns(POSE_COLUMNS, skeletons_3d),
    }


def frame_arrays(frames: Sequence[PoseFrame]) -> Arrays:
    """All columns of the N persons of F frames, with the frames.

    frame_index (N,), frame_count (), stamp_ns (N,), frame_stamp_ns (F,), frame_id (F,).
    """
    # Persons, and the frame of each
    persons: list[Person] = []
    index: list[int] = []
    for number, frame in enumerate(frames):
        persons.extend(frame.persons)
        index.extend([number] * len(frame.persons))

    # Frames
    names = [frame.frame_id for frame in frames]
    stamps = np.array([frame.stamp_ns for frame in frames], np.int64)
    frame_index = np.array(index, np.int64)

    return {
        "frame_index": frame_index,
        "frame_count": np.array(len(frames)),
        "stamp_ns": stamps[frame_index],
        "frame_stamp_ns": stamps,
        "frame_id": np.array(names, np.str_),
        **person_arrays(persons),
    }


def read_frames(path: str | Path) -> list[PoseFrame]:
    """The frames of an .npz with poses, in their order; by stamp where it has no `frame_index`.

    Without `stamp_ns`, as `lifting lift` writes it, each pose is a frame of its own. Columns that
    are absent, but for REQUIRED, are unknown: NaN, no track, nothing seen.

    FileNotFoundError where there is no file; DataError where an array is missing or unfit.
    """
    arrays = read_npz(path)

    # Columns
    given = {}
    for name, column in {**TRACK_COLUMNS, **KEYPOINT_COLUMNS, **POSE_COLUMNS}.items():
        values = _read_column(arrays, name, column, path)
        if values is not None:
            given[name] = values

    for name in REQUIRED:
        if name not in given:
            raise DataError(
                f"{path}: {name}: no such array; expected what `lifting lift`, `lifting poses`"
                " or `lifting estimate` writes"
            )

    count = len(given["joints_m"])
    stamps = _read_stamps(arrays, count, path)
    lengths = {len(values) for values in (stamps, *given.values())}
    if len(lengths) != 1:
        raise DataError(f"{path}: expected as many rows of every array, got {sorted(lengths)}")

    # Frames, also those without a person
    persons = persons_of(given)
    if "frame_index" in arrays and "frame_stamp_ns" in arrays:
        return _frames_in_order(persons, arrays, path)

    frames = []
    for stamp in np.union1d(stamps, arrays.get("frame_stamp_ns", stamps)):
        rows = np.flatnonzero(stamps == stamp)
        shown = tuple(persons[k] for k in rows)
        frames.append(PoseFrame(int(stamp), "", shown))

    return frames


def write_frames(path: str | Path, frames: Sequence[PoseFrame]) -> None:
    """Write frames as an .npz that `read_frames` reads, whole or not at all."""
    write_npz(path, frame_arrays(frames))


def persons_of(columns: Mapping[str, np.ndarray]) -> list[Person]:
    """The N persons of columns, each (N, ...) and of the type of its `Column`.

    Columns that are absent are unknown: NaN, no track, nothing seen.
    """
    persons = []
    for k in range(len(columns["joints_m"])):
        row = {name: values[k] for name, values in columns.items()}
        persons.append(_person(row))

    return persons


def _frames_in_order(
    persons: Sequence[Person], arrays: Mapping[str, np.ndarray], path: str | Path
) -> list[PoseFrame]:
    """The frames that the rows belong to by number: several may have the same stamp."""
    for name in ("frame_index", "frame_stamp_ns"):
        as_numbers(arrays[name], (None,), f"{path}: {name}")
    index = arrays["frame_index"].astype(np.int64)
    stamps = arrays["frame_stamp_ns"].astype(np.int64)
    if len(index) != len(persons) or not ((index >= 0) & (index < len(stamps))).all():
        raise DataError(
            f"{path}: frame_index: expected {len(persons)} numbers of the {len(stamps)} frames"
        )

    rows: list[list[Person]] = [[] for _ in stamps]
    for person, number in zip(persons, index, strict=True):
        rows[number].append(person)

    names = _read_frame_ids(arrays, len(stamps), path)
    return [
        PoseFrame(int(stamp), name, tuple(there)) for stamp, name, there in zip(stamps, names, rows)
    ]


def _read_frame_ids(
    arrays: Mapping[str, np.ndarray], count: int, path: str | Path
) -> Sequence[str]:
    """The coordinate frame of each of `count` frames; empty where the file has none."""
    if "frame_id" not in arrays:
        return [""] * count

    names = arrays["frame_id"]
    if names.dtype.kind != "U" or names.shape != (count,):
        raise DataError(
            f"{path}: frame_id: expected the names of {count} coordinate frames, got {names.shape}"
            f" of {names.dtype}"
        )
    return names.tolist()


def _columns(columns: Mapping[str, Column], values: Sequence[Any]) -> Arrays:
    """The columns (N, ...) of N values."""
    hypotheses = [len(getattr(value, "hypotheses_m", ())) for value in values]
    modes = max(hypotheses, default=0)

    table: Arrays = {}
    for name, column in columns.items():
        rows = [getattr(value, column.attribute) for value in values]
        stacked: np.ndarray = np.array(rows, column.kind)
        shape = column.shape_with(modes)
        table[name] = stacked.reshape(len(values), *shape)

    return table


def _read_column(
    arrays: Mapping[str, np.ndarray], name: str, column: Column, path: str | Path
) -> np.ndarray | None:
    """A column of a file in its type; None where it is absent."""
    if name not in arrays:
        return None

    values = arrays[name]
    if values.dtype == column.kind == np.bool_:
        values = values.astype(np.uint8)

    shape = column.shape_with(None)
    checked = as_numbers(values, (None, *shape), f"{path}: {name}")
    return checked.astype(column.kind)


def _read_stamps(arrays: Mapping[str, np.ndarray], count: int, path: str | Path) -> np.ndarray:
    """Stamps (N,) int64 in ns; those of still poses where the file has none."""
    name = "stamp_ns"
    if name not in arrays:
        numbering = np.arange(count, dtype=np.int64)
        return STILL_PERIOD_NS * numbering

    as_numbers(arrays[name], (None,), f"{path}: {name}")
    return arrays[name].astype(np.int64)  # float64 would round them


def _person(row: Arrays) -> Person:
    """The person of a row; what the row does not have is unknown."""
    unseen = np.zeros(KEYPOINT_COUNT)
    flat = _attributes(KEYPOINT_COLUMNS, row)
    flat["confidence"] = row.get("confidence", unseen)

    no_poses = np.zeros((0, JOINT_COUNT, 3))
    no_weights = np.zeros(0)
    pose = _attributes(POSE_COLUMNS, row)
    pose["metric"] = bool(row.get("metric", True))
    pose["hypotheses_m"] = row.get("hypotheses_m", no_poses)
    pose["hypothesis_weight"] = row.get("hypothesis_weight", no_weights)

    track = _attributes(TRACK_COLUMNS, row)
    track["id"] = int(row.get("track_id", 0))
    track["age_s"] = float(row.get("age_s", 0.0))
    track["coasting"] = bool(row.get("coasting", False))

    return Person(
        skeleton_2d=Skeleton2D(**flat),
        skeleton_3d=Skeleton3D(**pose),
        **track,
    )


def _attributes(columns: Mapping[str, Column], row: Arrays) -> dict[str, Any]:
    """The attributes that the columns hold; NaN where the row does not have them."""
    attributes = {}
    for name, column in columns.items():
        shape = column.shape_with(0)
        unknown = np.full(shape, np.nan)
        attributes[column.attribute] = row.get(name, unknown)

    return attributes
