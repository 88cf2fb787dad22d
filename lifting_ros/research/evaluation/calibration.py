# SPDX-License-Identifier: Apache-2.0
"""Coverage of the covariances: the share of truths inside their ellipsoids at each level, NEES, and
a plot of the curve."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.stats import chi2

from lifting_ros.io.atomic import replacing
from lifting_ros.lifting.lifting import LiftedPoses
from lifting_ros.types import JointStatus

LEVELS = tuple(range(5, 100, 5))
"""Levels of the ellipsoids, %."""

NAMES = ("observed joints", "inferred joints", "range of the root", "place of the root")
_COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red")


class Calibration(NamedTuple):
    """Of n errors with their covariances."""

    coverage: np.ndarray
    """(19,) share of truths inside the ellipsoid of each of LEVELS."""
    nees: float
    """Mean squared Mahalanobis distance divided by the degrees of freedom: 1 for right covariances,
    more for covariances that are too small."""
    count: int


def mahalanobis(error: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Squared Mahalanobis distances (...) of errors (..., D) under covariances (..., D, D)."""
    regular = covariance + 1e-12 * np.eye(error.shape[-1])
    solved = np.linalg.solve(regular, error[..., None])
    return (error * solved[..., 0]).sum(-1)


def calibration(distance: np.ndarray, freedom: int) -> Calibration:
    """Calibration of squared Mahalanobis distances (n,) with `freedom` degrees of freedom; NaN
    where n is 0."""
    if not len(distance):
        return Calibration(np.full(len(LEVELS), np.nan), float("nan"), 0)

    probability = np.array(LEVELS) / 100
    limit = chi2.ppf(probability, freedom)
    inside = distance[:, None] <= limit
    nees = float(distance.mean() / freedom)

    return Calibration(inside.mean(0), nees, len(distance))


def calibrate(poses: LiftedPoses, truth_m: np.ndarray) -> dict[str, Calibration]:
    """Calibration by NAMES of lifted persons against the truth (N, 17, 3), metres, optical frame.

    Joints are relative to the root and exclude it. The root's range along the viewing ray and its
    place are measured where the lifter gives them.
    """
    error = poses.joints_m - poses.root_m[:, None] - truth_m + truth_m[:, :1]
    kinds = {"observed joints": JointStatus.OBSERVED, "inferred joints": JointStatus.INFERRED}
    found = {}

    for name, kind in kinds.items():
        chosen = poses.status == kind
        chosen[:, 0] = False
        distance = mahalanobis(error[chosen], poses.covariance_m2[chosen])
        found[name] = calibration(distance, 3)

    # The root.
    placed = (poses.status > 0).all(1) & np.isfinite(poses.root_covariance_m2).all((1, 2))
    root = poses.root_m[placed]
    covariance = poses.root_covariance_m2[placed]
    off = (poses.root_m - truth_m[:, 0])[placed]
    ray = root / np.maximum(np.linalg.norm(root, axis=-1, keepdims=True), 1e-12)
    along = np.einsum("na,na->n", ray, off)
    spread = np.einsum("na,nab,nb->n", ray, covariance, ray)
    found["range of the root"] = calibration(along**2 / np.maximum(spread, 1e-12), 1)

    return found | {"place of the root": calibration(mahalanobis(off, covariance), 3)}


def calibration_row(result: Calibration, levels: tuple[int, ...] = LEVELS) -> dict[str, float]:
    """Coverage in % by level, NEES per degree of freedom and the number of errors."""
    share = dict(zip(LEVELS, result.coverage, strict=True))
    row = {f"{level} %": 100 * float(share[level]) for level in levels}
    row["NEES"] = result.nees
    row["count"] = float(result.count)
    return row


def draw(results: dict[str, dict[str, Calibration]], path: Path) -> None:
    """Reliability curves as PNG, one panel per protocol, three per row; written whole or not."""
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


def _panel(axes, protocol: str, found: dict[str, Calibration]) -> None:
    axes.plot([0, 100], [0, 100], color="0.6", linewidth=1, linestyle="--", label="as it should be")
    for (name, result), colour in zip(found.items(), _COLOURS, strict=True):
        if result.count:
            axes.plot(
                [0, *LEVELS, 100],
                [0, *(100 * result.coverage), 100],
                color=colour,
                label=f"{name}, NEES {result.nees:.2f}",
            )

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
