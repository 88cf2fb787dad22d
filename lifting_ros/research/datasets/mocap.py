# SPDX-License-Identifier: Apache-2.0
"""Motion capture: 3D poses of 17 joints in Human3.6M order, metres, y up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifting_ros.errors import DataError
from lifting_ros.io.arrays import read_arrays

VALIDATION_SUBJECTS = ("cmu02", "cmu07", "cmu16", "cmu94")
"""Validation subjects of a file that has them and does not name its own."""

MIXED_SUBJECTS = ("cmu_unk",)
"""Names of recordings of unknown people, who may be any of the other subjects. They are trained on
and never held out."""

VALIDATION_EVERY = 5
"""Of any other file every fifth subject is a validation subject."""

MOCAP_FILE = Path("mocap") / "cmu17_10fps_dev.npz"
"""The motion capture that `find_mocap` prefers, inside the folder of the data."""


class Mocap(NamedTuple):
    """Poses of one file."""

    positions_m: np.ndarray
    """(N, 17, 3) y up."""
    subject_id: np.ndarray
    """(N,) integers."""
    clip_id: np.ndarray
    """(N,) integers; the subject's if the file has no clips."""
    own_proportions: np.ndarray
    """(N,) bool: whether the skeleton's bone lengths are the person's own."""
    subjects: tuple[str, ...]
    """Names by subject_id; empty if the file has none."""
    validation_ids: tuple[int, ...] | None = None
    """Values of subject_id of the validation subjects; None for `default_validation_ids`."""
    clips: tuple[str, ...] = ()
    """Names by clip_id; empty if the file has none."""

    def select(self, rows: np.ndarray) -> Mocap:
        """The poses of a boolean or integer index. The validation subjects stay the same."""
        return Mocap(
            self.positions_m[rows],
            self.subject_id[rows],
            self.clip_id[rows],
            self.own_proportions[rows],
            self.subjects,
            self._validation_ids(),
            self.clips,
        )

    def validation_rows(self) -> np.ndarray:
        """Boolean (N,): poses of the validation subjects, which no training may see."""
        return np.isin(self.subject_id, self._validation_ids())

    def _validation_ids(self) -> tuple[int, ...]:
        if self.validation_ids is None:
            return default_validation_ids(self.subject_id, self.subjects)
        return self.validation_ids


def default_validation_ids(
    subject_id: np.ndarray,
    subjects: Sequence[str],
) -> tuple[int, ...]:
    """Ids of the validation subjects of a file that names none.

    VALIDATION_SUBJECTS, if any of them is in the file; else every fifth subject by id, the last one
    if there are two to four. None if there is only one.
    """
    named = [number for number, name in enumerate(subjects) if name in VALIDATION_SUBJECTS]
    if named:
        return tuple(named)

    ids = np.unique(subject_id).tolist()
    if len(ids) < VALIDATION_EVERY:
        return tuple(ids[-1:] if len(ids) > 1 else ())
    return tuple(ids[VALIDATION_EVERY - 1 :: VALIDATION_EVERY])


def find_mocap(data: str | Path) -> Path:
    """The motion capture in the folder `data`: MOCAP_FILE, else the only .npz in `mocap/`.

    DataError in one line if there are several to choose from. If there is none, the path of
    MOCAP_FILE, which reading then reports as missing.
    """
    preferred = Path(data) / MOCAP_FILE
    if preferred.is_file():
        return preferred

    folder = preferred.parent
    files = sorted(folder.glob("*.npz"))
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise DataError(f"{folder}: expected one .npz of motion capture, found {names}")

    return files[0] if files else preferred


def read_mocap(
    path: str | Path,
    validation_subjects: Sequence[str] = (),
) -> Mocap:
    """Read a file of motion capture.

    It holds `positions` (N, 17, 3) and `subject_id` (N,). Optional: `clip_id` (N,), `source_id`
    (N,), `subjects` (S,), `clips` (L,) and `sources` (R,), the names that ids are indices of,
    `joints` (17,), `up` and `units`, and `validation_subjects` (V,), names or ids of those to hold
    out.

    validation_subjects: names or ids, instead of the file's.

    FileNotFoundError if there is no file; DataError in one line that names the array that is
    missing, of another shape or unit, or points at nothing.
    """
    required = {"positions": ("N", 17, 3), "subject_id": ("N",)}

    optional = {
        "clip_id": ("N",),
        "source_id": ("N",),
        "subjects": ("S",),
        "clips": ("L",),
        "sources": ("R",),
        "joints": (17,),
        "up": (),
        "units": (),
        "validation_subjects": ("V",),
    }

    data = read_arrays(path, required, optional)
    _check_ids(data, "subject_id", "subjects", path)
    _check_ids(data, "clip_id", "clips", path)
    _check_ids(data, "source_id", "sources", path)

    for name, expected in (("up", "y"), ("units", "m")):
        if name in data and str(data[name]) != expected:
            raise DataError(f"{path}: {name}: expected {expected!r}, got {str(data[name])!r}")

    positions = data["positions"].astype(np.float64)
    subject_id = data["subject_id"]
    subjects = tuple(str(name) for name in data.get("subjects", ()))

    own_proportions = np.ones(len(positions), bool)
    if "source_id" in data and "sources" in data:
        # The CMU compilation: only these skeletons were measured, the others were retargeted.
        measured = np.array(["asfamc" in str(name) for name in data["sources"]], bool)
        own_proportions = measured[data["source_id"]]

    wanted = validation_subjects or data.get("validation_subjects", ())
    if len(wanted):
        validation_ids = _ids_of([str(name) for name in wanted], subject_id, subjects, path)
    else:
        validation_ids = default_validation_ids(subject_id, subjects)

    clip_id = data.get("clip_id", subject_id)
    clips = tuple(str(name) for name in data.get("clips", ())) if "clip_id" in data else ()
    return Mocap(positions, subject_id, clip_id, own_proportions, subjects, validation_ids, clips)


def _check_ids(
    data: dict[str, np.ndarray],
    ids: str,
    names: str,
    path: str | Path,
) -> None:
    """DataError if an id is not an index into its names."""
    if ids not in data or names not in data:
        return
    count = len(data[names])
    if not np.isin(data[ids], np.arange(count)).all():
        raise DataError(f"{path}: {ids}: expected numbers of the {count} {names}")


def _ids_of(
    wanted: Sequence[str],
    subject_id: np.ndarray,
    subjects: Sequence[str],
    path: str | Path,
) -> tuple[int, ...]:
    """Ids of subjects by name, or by id if the file has no names."""
    if subjects:
        ids = {name: number for number, name in enumerate(subjects)}
    else:
        ids = {str(number): number for number in np.unique(subject_id).tolist()}

    for name in wanted:
        if name not in ids:
            raise DataError(f"{path}: validation subject {name}: expected one of {', '.join(ids)}")

    return tuple(ids[name] for name in wanted)
