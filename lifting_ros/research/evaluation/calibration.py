# SPDX-License-Identifier: Apache-2.0
"""Coverage of the covariances: the share of true values inside the ellipsoid of each level, the
NEES, and a plot of the curve."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.stats import chi2

from lifting_ros.io.atomic import replacing
from lifting_ros.types import JointStatus, LiftedPoses

LEVELS = tuple(range(5, 100, 5))
"""Levels of the ellipsoids, %."""

NAMES = ("observed joints", "inferred joints", "range of the root", "place of the root")
"""What has a covariance: the joints by status, and the root along its ray and as a point."""

_STATUS = {"observed joints": JointStatus.OBSERVED, "inferred joints": JointStatus.INFERRED}
_COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red")


class Calibration(NamedTuple):
    """How well n covariances describe n errors."""

    coverage: np.ndarray
    """(19,) share of the true values inside the ellipsoid of each of LEVELS."""
    nees: float
    """Normalised estimation error squared: the mean squared Mahalanobis distance, divided by the
    degrees of freedom. 1: the covariances are right; more: they are too small."""
    count: int


def mahalanobis(
    error: np.ndarray,
    covariance: np.ndarray,
) -> np.ndarray:
    """Squared Mahalanobis distances (...) of errors (..., D) under covariances (..., D, D)."""
    regular = covariance + 1e-12 * np.eye(error.shape[-1])
    solved = np.linalg.solve(regular, error[..., None])
    return (error * solved[..., 0]).sum(-1)


def calibration(
    distance: np.ndarray,
    freedom: int,
) -> Calibration:
    """Calibration of squared Mahalanobis distances (n,) with `freedom` degrees of freedom; NaN
    where n is 0."""
    if not len(distance):
        return Calibration(np.full(len(LEVELS), np.nan), float("nan"), 0)

    probability = np.array(LEVELS) / 100
    limit = chi2.ppf(probability, freedom)
    inside = distance[:, None] <= limit
    nees = float(distance.mean() / freedom)

    return Calibration(inside.mean(0), nees, len(distance))


def calibrate(
    poses: LiftedPoses,
    truth_m: np.ndarray,
) -> dict[str, Calibration]:
    """Calibration by NAMES of N lifted persons against the truth (N, 17, 3), metres, optical frame.

    The errors of the joints are relative to the root, and the root itself is left out. The errors
    of the root are measured where the lifter gives its covariance.
    """
    joints = poses.joints_m - poses.root_m[:, None]
    error = joints - truth_m + truth_m[:, :1]

    found = {}

    for name, status in _STATUS.items():
        chosen = poses.status == status
        chosen[:, 0] = False
        distance = mahalanobis(error[chosen], poses.covariance_m2[chosen])
        found[name] = calibration(distance, 3)

    return found | _calibrate_root(poses, truth_m[:, 0])


def _calibrate_root(
    poses: LiftedPoses,
    truth_m: np.ndarray,
) -> dict[str, Calibration]:
    """Calibration of the root against the truth (N, 3): its range along the viewing ray, and its
    place."""
    valid = (poses.status > 0).all(1)
    known = np.isfinite(poses.root_covariance_m2).all((1, 2))
    placed = valid & known
    root = poses.root_m[placed]
    covariance = poses.root_covariance_m2[placed]
    error = root - truth_m[placed]

    # Range
    norm = np.linalg.norm(root, axis=-1, keepdims=True)
    ray = root / np.maximum(norm, 1e-12)
    along = np.einsum("na,na->n", ray, error)
    variance = np.einsum("na,nab,nb->n", ray, covariance, ray)
    range_distance = along**2 / np.maximum(variance, 1e-12)

    place_distance = mahalanobis(error, covariance)
    return {
        "range of the root": calibration(range_distance, 1),
        "place of the root": calibration(place_distance, 3),
    }


def calibration_row(
    result: Calibration,
    levels: tuple[int, ...] = LEVELS,
) -> dict[str, float]:
    """Coverage in % by level, NEES per degree of freedom and the number of errors."""
    row = {}
    for level in levels:
        share = float(result.coverage[LEVELS.index(level)])
        row[f"{level} %"] = 100 * share

    row["NEES"] = result.nees
    row["count"] = float(result.count)
    return row


def draw(
    results: dict[str, dict[str, Calibration]],
    path: Path,
) -> None:
    """Write reliability curves as PNG, one panel per protocol, three per row.

    The file is complete or not written at all.
    """
    rows = -(-len(results) // 3)
    figure = Figure(figsize=(13, 4.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, 3, squeeze=False).ravel()

    for axes, (protocol, found) in zip(panels, results.items(), strict=False):
        _panel(axes, protocol, found)

    for axes in panels[len(results) :]:
        axes.remove()

    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def _panel(
    axes,
    protocol: str,
    found: dict[str, Calibration],
) -> None:
    axes.plot([0, 100], [0, 100], color="0.6", linewidth=1, linestyle="--", label="as it should be")
    for (name, result), colour in zip(found.items(), _COLOURS, strict=True):
        if not result.count:
            continue

        levels = [0, *LEVELS, 100]
        shares = [0, *(100 * result.coverage), 100]
        label = f"{name}, NEES {result.nees:.2f}"
        axes.plot(levels, shares, color=colour, label=label)

    axes.set(
        title=protocol,
        xlabel="level of the ellipsoid, %",
        ylabel="truths inside, %",
        xlim=(0, 100),
        ylim=(0, 100),
        aspect="equal",
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
