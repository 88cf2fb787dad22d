# SPDX-License-Identifier: Apache-2.0
"""Plots a training: the losses of every stage before and after fusion, and the validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lifting_ros.io.atomic import replacing


def draw_curves(
    training: list[dict[str, float]], validation: list[dict[str, float]], path: Path
) -> None:
    """Write `path` (PNG) from rows with a `step` and named values.

    Losses are smoothed by a running mean over one fiftieth of the rows.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)

    for name, style in _losses(training).items():
        steps, values = _column(training, name)
        left.plot(steps, _smooth(values, max(1, len(values) // 50)), label=name, **style)

    left.set(xlabel="step", ylabel="loss", title="losses of the stages (dashed: after fusion)")

    for name in _names(validation):
        right.plot(*_column(validation, name), marker=".", label=name)

    right.set(xlabel="step", title="validation")

    for axes in (left, right):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=7)

    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def _losses(rows: list[dict[str, float]]) -> dict[str, dict[str, str]]:
    """Line style by name: of the losses of the stages, one colour per stage, or of every loss if
    there are no stages."""
    names = _names(rows)
    stages = [name for name in names if name.startswith("stage")]
    others = [name for name in names if name != "rate"]
    styles = {}

    for name in stages or others:
        if stages:
            stage = name.split("_")[0].removeprefix("stage")
            number = int(stage) - 1
        else:
            number = names.index(name)

        dashed = name.endswith("fused")
        styles[name] = {"color": f"C{number}", "linestyle": "--" if dashed else "-"}

    return styles


def _names(rows: list[dict[str, float]]) -> list[str]:
    if not rows:
        return []
    return [name for name in rows[0] if name != "step"]


def _column(rows: list[dict[str, float]], name: str) -> tuple[np.ndarray, np.ndarray]:
    steps = [row["step"] for row in rows]
    values = [row[name] for row in rows]
    return np.array(steps), np.array(values)


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Running mean over `width` values, shorter at the start."""
    total = np.cumsum(values)
    shifted = np.concatenate([np.zeros(width), total[:-width]])
    before = shifted[: len(values)]

    number = np.arange(len(values)) + 1
    count = np.minimum(number, width)
    return (total - before) / count
