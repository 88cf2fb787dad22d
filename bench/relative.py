# SPDX-License-Identifier: Apache-2.0
"""Curves of relative-depth supervision: error against label noise, the number of comparisons and
the amount of data, as JSON and PNG.

Every point is a training of its own under the recipe that ships but for what the curve changes and
its length (--samples); the supervised baseline stands beside the amount of data. Points are kept in
WORK and not trained twice, so that a broken run goes on. The error is the PA-MPJPE on the
validation subjects under the protocol `exact` of `lifting evaluate lifters`. Only trainings of one
length compare.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path

from lifting_ros.cli.files import write_json
from lifting_ros.io.atomic import replacing
from lifting_ros.research.datasets.mocap import Mocap, find_mocap, read_mocap
from lifting_ros.research.evaluation.lifting import lifter_errors
from lifting_ros.research.evaluation.virtual_cameras import validation_poses
from lifting_ros.research.training.train_relative import RelativeTrainConfig, train_relative
from lifting_ros.research.training.train_supervised import SupervisedTrainConfig, train_supervised

METRIC = "PA-MPJPE, exact"
RATES = (0.6, 0.7, 0.8, 0.9, 1.0)
PAIRS = (1, 2, 5, 32, 0)
IMAGES = (1_000, 3_000, 10_000, 30_000, 100_000)


def points() -> dict[str, dict[str, dict]]:
    """Curve -> name of a point -> what it changes of the recipe; those of `supervised` are of the
    baseline."""
    return {
        "label noise": {
            f"{rate:.0%} right": {"annotator": "constant", "correct": rate} for rate in RATES
        }
        | {"crowd": {}},
        "comparisons": {f"{pairs or 'all'}": {"comparisons": pairs} for pairs in PAIRS},
        "images": {f"{images}": {"images": images} for images in IMAGES},
        "images, supervised": {f"{images}": {"images": images} for images in IMAGES},
        "ablations": {
            "as it ships": {},
            "one pair": {"comparisons": 1},
            "all pairs": {"comparisons": 0},
            "never errs": {"annotator": "exact"},
            "slope 1": {"slope": 1.0},
            "focal length known": {"camera": "perspective"},
            "body by rule": {"skeleton": "person"},
            "own skeleton": {"skeleton": "true"},
            "no skeleton": {"skeleton": "none"},
            "10 cm tolerance": {"tolerance_m": 0.1},
            "14 joints": {"joints": 14},
            "keypoints 5 px off": {"label_noise": "normal", "label_noise_px": 5.0},
        },
    }


def measure(curve: str, changes: dict, mocap: Mocap, samples: int, work: Path) -> dict[str, float]:
    """Errors in mm and wall time of one point, from its file where it was measured before."""
    supervised = curve.endswith("supervised")
    kind, train = (
        (SupervisedTrainConfig, train_supervised)
        if supervised
        else (RelativeTrainConfig, train_relative)
    )
    config = dataclasses.replace(kind(), samples=samples, spread_steps=0, **changes)
    words = "_".join(
        f"{key}{value}" for key, value in changes.items() if not dataclasses.is_dataclass(value)
    )
    folder = work / f"{'supervised' if supervised else 'relative'}_{samples}_{words}"
    kept = folder / "errors.json"

    if not kept.exists():
        start = time.perf_counter()
        lifter = train(config, mocap.select(~mocap.validation_rows()), folder, every=config.steps)
        row = lifter_errors(lifter, validation_poses(mocap, 500)) | {
            "seconds": time.perf_counter() - start
        }
        write_json(kept, row)

    return json.loads(kept.read_text())


def draw(curves: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """One panel a curve, whole or not at all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [name for name in curves if not name.endswith("supervised")]
    figure = Figure(figsize=(4.6 * len(panels), 4.4), layout="constrained")
    FigureCanvasAgg(figure)

    for axes, name in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        for label, which in (("relative", name), ("supervised", f"{name}, supervised")):
            if which in curves:
                axes.plot(
                    list(curves[which]),
                    [row[METRIC] for row in curves[which].values()],
                    marker="o",
                    label=label,
                )

        axes.set(title=name, ylabel="PA-MPJPE, mm")
        every = [
            row[METRIC]
            for which in (name, f"{name}, supervised")
            for row in curves.get(which, {}).values()
        ]

        if max(every) > 2 * min(every):  # one that went astray must not hide the others
            axes.set_yscale("log")

        axes.tick_params(axis="x", rotation=30 if name != "ablations" else 75)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)

    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, metavar="DATA", help="folder with mocap/")
    parser.add_argument(
        "--work",
        default=".cache/relative_curves",
        metavar="WORK",
        help="where points are kept (default .cache/...)",
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=600_000,
        metavar="N",
        help="pictures that each training sees (default 600000)",
    )
    parser.add_argument(
        "--curves",
        nargs="+",
        default=[],
        metavar="CURVE",
        help=f"of {', '.join(points())} (default all)",
    )
    parser.add_argument("--png", default="", metavar="FILE", help="draw the curves here")
    parser.add_argument("--json", default="", metavar="FILE", help="write the figures here")
    args = parser.parse_args()
    mocap = read_mocap(find_mocap(args.data))
    curves: dict[str, dict[str, dict[str, float]]] = {}

    for curve, changes in points().items():
        if args.curves and curve not in args.curves:
            continue

        curves[curve] = {}
        for name, change in changes.items():
            row = curves[curve][name] = measure(curve, change, mocap, args.samples, Path(args.work))
            print(
                f"{curve:<20} {name:<20} {row[METRIC]:6.1f} mm  {row['seconds']:6.0f} s", flush=True
            )

    if args.json:
        write_json(args.json, curves)

    if args.png:
        draw(curves, Path(args.png))


if __name__ == "__main__":
    main()
