# SPDX-License-Identifier: Apache-2.0
"""Poses as rows, one for each joint of each person of each stamp: CSV and Parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from lifting_ros.errors import DataError
from lifting_ros.io.atomic import replacing
from lifting_ros.io.pose_table import PoseFrame, persons_of
from lifting_ros.io.progress import Progress
from lifting_ros.skeleton import JOINT_COUNT, JOINT_NAMES, ROOT
from lifting_ros.types import Person

_UPPER_TRIANGLE = {
    "xx": (0, 0),
    "xy": (0, 1),
    "xz": (0, 2),
    "yy": (1, 1),
    "yz": (1, 2),
    "zz": (2, 2),
}
"""The entries of a symmetric matrix that are written, by name."""

_SYMMETRIC = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])
"""Which of them each entry of the matrix is."""

_POSITION = ("x_m", "y_m", "z_m")
_VELOCITY = ("vx_mps", "vy_mps", "vz_mps")
_COVARIANCE = tuple(f"cov_{axes}_m2" for axes in _UPPER_TRIANGLE)
_ROOT_COVARIANCE = tuple(f"root_cov_{axes}_m2" for axes in _UPPER_TRIANGLE)

COLUMNS = (
    "stamp_ns",
    "frame_id",
    "id",
    "joint",
    *_POSITION,
    *_VELOCITY,
    *_COVARIANCE,
    "confidence",
    "status",
    *_ROOT_COVARIANCE,
)
"""Of both files."""

Columns = dict[str, list[Any]]
"""Column name -> its value in every row."""

_TEXT = ("frame_id", "joint")
_WHOLE = ("stamp_ns", "id", "status")


def write_csv(path: str | Path, frames: Sequence[PoseFrame]) -> None:
    """Write the frames as CSV, whole or not at all."""
    rows = _rows(frames)
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def read_csv(path: str | Path) -> list[PoseFrame]:
    """The frames of a CSV that `write_csv` wrote; those without a person are not in it.

    FileNotFoundError where there is no file; DataError where it is another one or damaged.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file, strict=True))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (OSError, csv.Error, ValueError) as error:
        raise DataError(f"{path}: not a readable CSV ({error})") from None

    if not lines:
        raise DataError(f"{path}: expected a line with the names of the columns, got an empty file")

    names, *rows = lines
    width = len(names)
    for number, row in enumerate(rows, start=2):
        if len(row) != width:
            raise DataError(f"{path}: row {number}: expected {width} values, got {len(row)}")

    columns = _transposed(names, rows)
    return _frames_of(columns, path)


def write_parquet(path: str | Path, frames: Sequence[PoseFrame]) -> None:
    """Write the frames as Parquet, whole or not at all.

    DataError where pyarrow is not installed.
    """
    pyarrow, parquet = _load_pyarrow(path)
    types = dict.fromkeys(COLUMNS, pyarrow.float64())
    for name in _WHOLE:
        types[name] = pyarrow.int64()
    for name in _TEXT:
        types[name] = pyarrow.string()

    schema = pyarrow.schema(types)
    rows = list(_rows(frames))
    columns = _transposed(COLUMNS, rows)
    table = pyarrow.table(columns, schema=schema)
    with replacing(path) as partial:
        parquet.write_table(table, partial)


def read_parquet(path: str | Path) -> list[PoseFrame]:
    """The frames of a file that `write_parquet` wrote; those without a person are not in it.

    FileNotFoundError where there is no file; DataError where it is another one or damaged, or where
    pyarrow is not installed.
    """
    pyarrow, parquet = _load_pyarrow(path)
    try:
        with parquet.ParquetFile(path) as file:
            table = file.read()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: not a readable Parquet file ({error})") from None

    return _frames_of(table.to_pydict(), path)


def _load_pyarrow(path: str | Path) -> tuple[ModuleType, ModuleType]:
    """pyarrow and pyarrow.parquet; DataError where they are not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(f"{path}: Parquet requires pyarrow: pip install pyarrow") from None

    return pyarrow, pyarrow.parquet


def _rows(frames: Iterable[PoseFrame]) -> Iterator[list[Any]]:
    """The values of COLUMNS, for each joint of each person of each frame."""
    for frame in Progress(frames, desc="writing", unit=" frames", delay=2):
        for person in frame.persons:
            start = [frame.stamp_ns, frame.frame_id, person.id]
            for row in _joint_rows(person):
                yield start + row


def _joint_rows(person: Person) -> Iterator[list[Any]]:
    """The values of COLUMNS from `joint` on, for each joint."""
    pose = person.skeleton_3d
    upper = tuple(zip(*_UPPER_TRIANGLE.values(), strict=True))
    root_covariance = pose.root_covariance_m2[upper].tolist()

    for j, name in enumerate(JOINT_NAMES):
        yield [
            name,
            *pose.joints_m[j].tolist(),
            *person.velocity_mps[j].tolist(),
            *pose.covariance_m2[j][upper].tolist(),
            float(pose.confidence[j]),
            int(pose.status[j]),
            *root_covariance,
        ]


def _transposed(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Columns:
    """Column name -> its value in every row."""
    columns: Columns = {name: [] for name in names}
    for row in rows:
        for name, value in zip(names, row):
            column = columns[name]
            column.append(value)

    return columns


def _frames_of(columns: Columns, path: str | Path) -> list[PoseFrame]:
    """The frames of rows; persons in succession with the same stamp and frame_id are one."""
    for name in COLUMNS:
        if name not in columns:
            raise DataError(f"{path}: {name}: no such column; expected what `lifting poses` writes")

    joints = columns["joint"]
    names = list(JOINT_NAMES)
    count = len(joints) // JOINT_COUNT
    expected = count * names
    if joints != expected:
        raise DataError(f"{path}: joint: expected the {JOINT_COUNT} joints of each person in order")

    # Persons; what belongs to the person is taken from its first row
    positions = _numbers(columns, _POSITION, path)
    covariances = _numbers(columns, _COVARIANCE, path)
    root_covariances = _numbers(columns, _ROOT_COVARIANCE, path)
    confidences = _numbers(columns, ["confidence"], path)
    statuses = _numbers(columns, ["status"], path, np.uint8)
    stamps = _numbers(columns, ["stamp_ns"], path, np.int64)
    ids = _numbers(columns, ["id"], path, np.int64)
    persons = persons_of(
        {
            "track_id": ids[:, 0, 0],
            "joints_m": positions,
            "root_m": positions[:, ROOT],
            "velocity_mps": _numbers(columns, _VELOCITY, path),
            "covariance_m2": covariances[:, :, _SYMMETRIC],
            "root_covariance_m2": root_covariances[:, 0, _SYMMETRIC],
            "joint_confidence": confidences[:, :, 0],
            "status": statuses[:, :, 0],
        }
    )

    # Frames
    stamps_ns = stamps[:, 0, 0].tolist()
    frame_ids = columns["frame_id"][::JOINT_COUNT]
    frames: list[PoseFrame] = []
    for stamp_ns, frame_id, person in zip(stamps_ns, frame_ids, persons):
        last = frames[-1] if frames else None
        there: tuple[Person, ...] = ()
        if last and (last.stamp_ns, last.frame_id) == (stamp_ns, frame_id):
            there = frames.pop().persons
        frames.append(PoseFrame(stamp_ns, frame_id, (*there, person)))

    return frames


def _numbers(
    columns: Columns, names: Sequence[str], path: str | Path, kind: type = np.float64
) -> np.ndarray:
    """Columns as numbers, (N, 17, number of names), of N persons; DataError where they are none."""
    chosen = [columns[name] for name in names]
    try:
        values: np.ndarray = np.array(chosen, kind)
    except (TypeError, ValueError, OverflowError) as error:
        listed = ", ".join(names)
        raise DataError(f"{path}: {listed}: expected numbers ({error})") from None

    rows = values.T
    return rows.reshape(-1, JOINT_COUNT, len(names))
