# SPDX-License-Identifier: Apache-2.0
"""Records a training beside its weights: recipe, seed, revision, curves as CSV and TensorBoard
events, and a plot of them."""

from __future__ import annotations

import csv
import dataclasses
import json
import platform
import subprocess
from pathlib import Path

import torch
import yaml

from lifting_ros.io.atomic import replacing


def revision() -> str:
    """The checkout's git revision, empty outside one."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""

    return answer.stdout.strip() if answer.returncode == 0 else ""


def append_row(path: Path, row: dict[str, float]) -> None:
    """Append one row to a CSV; a new file gets a heading."""
    new = not path.exists()
    texts = {}
    for name, value in row.items():
        texts[name] = f"{value:.6g}" if isinstance(value, float) else value

    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row.keys())
        if new:
            writer.writeheader()
        writer.writerow(texts)


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of such a CSV; none if there is no file."""
    if not path.exists():
        return []

    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: float(text) for name, text in row.items()} for row in rows]


class RunRecord:
    """The folder of one training: `recipe.yaml`, `run.json`, `training.csv`, `validation.csv`,
    `curves.png`, TensorBoard events."""

    def __init__(self, folder: Path, recipe, **facts):
        """recipe: the dataclass of the training. facts: what else to keep in `run.json`, such as
        the device."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        values = json.loads(json.dumps(dataclasses.asdict(recipe)))  # tuples become lists
        _write(folder / "recipe.yaml", yaml.safe_dump(values, sort_keys=False))
        known = {
            "revision": revision(),
            "seed": recipe.seed,
            "torch": torch.__version__,
            "python": platform.python_version(),
        }
        _write(folder / "run.json", json.dumps(known | facts, indent=1) + "\n")
        self._board = _tensorboard(folder)

    def training(self, step: int, values: dict[str, float]) -> None:
        """Append a row to training.csv."""
        self._add("training", step, values)

    def forget(self, training: int, validation: int) -> None:
        """Drop the rows of the two files from these steps on.

        They were written after the state that the training is resumed from, and will be written
        again.
        """
        for name, first in (("training", training), ("validation", validation)):
            path = self.folder / f"{name}.csv"
            if not path.exists():
                continue

            heading, *rows = path.read_text().splitlines(keepends=True)
            kept = [heading]
            for row in rows:
                step, _, _ = row.partition(",")
                if int(step) < first:
                    kept.append(row)
            _write(path, "".join(kept))

    def validation(self, step: int, values: dict[str, float]) -> None:
        """Append a row to validation.csv and redraw the curves."""
        self._add("validation", step, values)
        self.draw()

    def _add(
        self,
        kind: str,
        step: int,
        values: dict[str, float],
    ) -> None:
        append_row(self.folder / f"{kind}.csv", {"step": step} | values)
        if self._board is None:
            return

        for name, value in values.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)
        self._board.flush()

    def draw(self) -> None:
        """Draw `curves.png` from the CSV files: the loss of every stage, and the validation."""
        from lifting_ros.research.training.curves import draw_curves  # matplotlib is slow to import

        draw_curves(
            read_rows(self.folder / "training.csv"),
            read_rows(self.folder / "validation.csv"),
            self.folder / "curves.png",
        )


def _tensorboard(folder: Path):
    """A writer of TensorBoard events; None if the package is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None

    return SummaryWriter(str(folder / "tensorboard"))


def _write(path: Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
