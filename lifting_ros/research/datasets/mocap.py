# SPDX-License-Identifier: Apache-2.0
"""Motion capture: 3D poses of 17 joints in Human3.6M order, metres, y up."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifting_ros.io.arrays import read_arrays

VALIDATION_SUBJECTS = ("cmu02", "cmu07", "cmu16", "cmu94")
"""Subjects never used in a fit that is to be measured."""


class Mocap(NamedTuple):
    """Poses of one file."""

    positions_m: np.ndarray
    """(N, 17, 3) y up."""
    subject_id: np.ndarray
    """(N,) integers."""
    clip_id: np.ndarray
    """(N,) integers; the subject's where the file has no clips."""
    own_proportions: np.ndarray
    """(N,) bool: whether the skeleton's bone lengths are the person's own."""
    subjects: tuple[str, ...]
    """Names by subject_id; empty where the file has none."""

    def select(self, rows: np.ndarray) -> Mocap:
        """The poses of a boolean or integer index."""
        return self._replace(
            **{
                n: getattr(self, n)[rows]
                for n in ("positions_m", "subject_id", "clip_id", "own_proportions")
            }
        )

    def validation_rows(self) -> np.ndarray:
        """Boolean (N,): poses of the validation subjects."""
        wanted = [i for i, name in enumerate(self.subjects) if name in VALIDATION_SUBJECTS]
        return np.isin(self.subject_id, wanted)


def read_mocap(path: str | Path) -> Mocap:
    """Read `positions` (N, 17, 3) and `subject_id` (N,), and `clip_id`, `source_id`, `subjects`,
    `sources` where the file has them.

    FileNotFoundError where there is no file; ValueError in one line that names the array that is
    missing, of another shape, or points at nothing.
    """
    optional = {"clip_id": ("N",), "source_id": ("N",), "subjects": ("S",), "sources": ("R",)}
    data = read_arrays(path, {"positions": ("N", 17, 3), "subject_id": ("N",)}, optional)
    for number, names in (("subject_id", "subjects"), ("source_id", "sources")):
        if (
            names in data
            and number in data
            and not np.isin(data[number], np.arange(len(data[names]))).all()
        ):
            raise ValueError(
                f"{path}: {number}: expected numbers of the {len(data[names])} {names}"
            )
    positions, subject = data["positions"], data["subject_id"]
    own = np.ones(len(positions), bool)
    if (
        "source_id" in data and "sources" in data
    ):  # the CMU compilation: only these were measured, the others were retargeted
        own = np.array(["asfamc" in str(s) for s in data["sources"]], bool)[data["source_id"]]
    subjects = tuple(str(s) for s in data.get("subjects", ()))
    return Mocap(positions.astype(np.float64), subject, data.get("clip_id", subject), own, subjects)
