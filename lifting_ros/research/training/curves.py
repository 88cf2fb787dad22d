# SPDX-License-Identifier: Apache-2.0
"""Plots a training: the losses of every stage before and after fusion, and the validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lifting_ros.io.atomic import replacing


def draw_curves(
    training: list[dict[str, float]],
    validation: list[dict[str, float]],
    path: Path,
) -> None:
    """Write `path` (PNG) from rows with a `step` and named values.

    Losses are smoothed by a running mean over one fiftieth of the rows.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)

    # Losses
    for name, style in _losses(training).items():
        steps, values = _column(training, name)
        width = max(1, len(values) // 50)
        left.plot(steps, _smooth(values, width), label=name, **style)
    left.set(xlabel="step", ylabel="loss", title="losses of the stages (dashed: after fusion)")

    # Validation
    for name in _names(validation):
        steps, values = _column(validation, name)
        right.plot(steps, values, marker=".", label=name)
    right.set(xlabel="step", title="validation")

    for axes in (left, right):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=7)

    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def _losses(rows: list[dict[str, float]]) -> dict[str, dict[str, str]]:
    """Line style of each loss by name: of the losses of the stages, one colour per stage, or of all
    losses if there are no stages."""
    names = _names(rows)
    stages = [name for name in names if name.startswith("stage")]
    others = [name for name in names if name != "rate"]
    styles = {}

    for name in stages or others:
        number = names.index(name)
        if stages:
            stage, _, _ = name.partition("_")
            number = int(stage.removeprefix("stage")) - 1

        dashed = name.endswith("fused")
        styles[name] = {"color": f"C{number}", "linestyle": "--" if dashed else "-"}

    return styles


def _names(rows: list[dict[str, float]]) -> list[str]:
    if not rows:
        return []
    return [name for name in rows[0] if name != "step"]


def _column(rows: list[dict[str, float]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of a column, (N,) each."""
    steps = np.array([row["step"] for row in rows])
    values = np.array([row[name] for row in rows])
    return steps, values


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Running mean over `width` values, shorter at the start."""
    total = np.cumsum(values)
    shifted = np.concatenate([np.zeros(width), total[:-width]])
    before = shifted[: len(values)]

    number = np.arange(len(values)) + 1
    count = np.minimum(number, width)
    return (total - before) / count
