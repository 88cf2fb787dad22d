# SPDX-License-Identifier: Apache-2.0
"""Coverage end to end: how often the ellipsoids of people found in pictures contain their joints,
by status and joint by joint, with the errors beside it.

On rendered people (`rendered_people`) the estimate stands as it is. On videos with motion-capture
truth (`video_truth`) the camera is not known, and the estimate is aligned with the truth first; its
covariances are turned and scaled with it. The alignment hides a part of the error: four of the
three times J degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from lifting_ros.research.evaluation.calibration import (
    calibration,
    calibration_row,
    mahalanobis,
)
from lifting_ros.types import JointStatus

Rows = dict[str, dict[str, float]]

LEVELS = (50, 90)
"""Levels, in %, of the table by joint."""

STATUSES = {
    "observed": (JointStatus.OBSERVED,),
    "inferred": (JointStatus.INFERRED,),
    "all": (JointStatus.OBSERVED, JointStatus.INFERRED),
}
"""Name of a row -> the statuses it counts."""


class Covered(NamedTuple):
    """N people who were found, with their true joints."""

    error_m: np.ndarray
    """(N, J, 3) estimate less truth; NaN where nothing was estimated."""
    covariance_m2: np.ndarray
    """(N, J, 3, 3) in the same frame."""
    status: np.ndarray
    """(N, J) of JointStatus; INVALID for a joint that does not count, such as the root."""
    names: tuple[str, ...]
    """(J,) of the joints."""
    errors_mm: Mapping[str, np.ndarray]
    """Name of a metric -> (N,)."""
    sought: int
    """Number of people who should have been found."""
    groups: Mapping[str, np.ndarray] = MappingProxyType({})
    """Kind of people -> (N,) bool, who is of that kind."""


def coverage_tables(found: Mapping[str, Covered]) -> dict[str, Rows]:
    """Tables by title, a row for each set of people and each kind of them: errors, coverage by
    status, and coverage by joint."""
    errors = {name: error_row(people) for name, people in found.items()}
    by_status: Rows = {}
    by_group: Rows = {}
    for name, people in found.items():
        for status, row in status_rows(people).items():
            by_status[f"{name}, {status}"] = row
        for group, chosen in people.groups.items():
            some = selected(people, chosen)
            errors[f"{name}, {group}"] = error_row(some)
            for status, row in status_rows(some).items():
                by_group[f"{name}, {group}, {status}"] = row

    tables = {
        "errors of those found, mm": errors,
        "in the ellipsoids by status, %": by_status,
    }
    if by_group:
        tables["in the ellipsoids by kind of people, %"] = by_group
    for name, people in found.items():
        tables[f"{name}: in the ellipsoids joint by joint, %"] = joint_rows(people)
    return tables


def error_row(people: Covered) -> dict[str, float]:
    """Mean and median of each metric, the number of people and the share found in %."""
    row = {}
    for metric, values in people.errors_mm.items():
        row[metric] = float(values.mean()) if len(values) else float("nan")
        row[f"median {metric}"] = float(np.median(values)) if len(values) else float("nan")

    count = len(people.status)
    row["people"] = float(count)
    row["found %"] = 100 * count / people.sought if people.sought else float("nan")
    return row


def status_rows(people: Covered) -> Rows:
    """Coverage at all levels in %, NEES and count by STATUSES."""
    distance = squared_distances(people)
    rows = {}
    for name, statuses in STATUSES.items():
        chosen = np.isin(people.status, statuses)
        rows[name] = calibration_row(calibration(distance[chosen], 3))
    return rows


def joint_rows(people: Covered) -> Rows:
    """Coverage at LEVELS in %, NEES and count of each joint, where observed and where inferred."""
    distance = squared_distances(people)
    rows: Rows = {}
    for joint, name in enumerate(people.names):
        row = {}
        for status in ("observed", "inferred"):
            chosen = np.isin(people.status[:, joint], STATUSES[status])
            measured = calibration(distance[chosen, joint], 3)
            for column, value in calibration_row(measured, LEVELS).items():
                row[f"{status[:3]}. {column}"] = value
        if any(row[f"{status[:3]}. count"] for status in ("observed", "inferred")):
            rows[name] = row

    return rows


def squared_distances(people: Covered) -> np.ndarray:
    """Squared Mahalanobis distances (N, J); NaN of joints that do not count."""
    distance = np.full(people.status.shape, np.nan)
    counted = people.status != JointStatus.INVALID
    distance[counted] = mahalanobis(people.error_m[counted], people.covariance_m2[counted])
    return distance


def selected(people: Covered, chosen: np.ndarray) -> Covered:
    """The people `chosen` (N,) bool, without kinds; of those found alone."""
    return people._replace(
        error_m=people.error_m[chosen],
        covariance_m2=people.covariance_m2[chosen],
        status=people.status[chosen],
        errors_mm={name: values[chosen] for name, values in people.errors_mm.items()},
        sought=int(chosen.sum()),
        groups={},
    )


def joined(parts: Sequence[Covered]) -> Covered:
    """The people of several sets with the same joints as one, without kinds."""
    first = parts[0]
    errors = {}
    for metric in first.errors_mm:
        errors[metric] = np.concatenate([part.errors_mm[metric] for part in parts])

    return Covered(
        error_m=np.concatenate([part.error_m for part in parts]),
        covariance_m2=np.concatenate([part.covariance_m2 for part in parts]),
        status=np.concatenate([part.status for part in parts]),
        names=first.names,
        errors_mm=errors,
        sought=sum(part.sought for part in parts),
    )
