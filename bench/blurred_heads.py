# SPDX-License-Identifier: Apache-2.0
"""Measures which labelled heads the blurred regions hold, in photographs of one labelled person.

A head counts as hidden if the point HEAD_SHARE of the way from the neck to the top of the head,
about between the eyes, is in a region; as hidden whole, if all points from the chin to the top are.
The column `without rejected` hides the published persons alone. `blurred` is the share of the
pictures' pixels. The sizes of the regions were chosen with --side tune; reported figures are those
of --side validation. --json FILE writes the figures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lifting_ros.cli.files import write_json
from lifting_ros.cli.tables import print_table
from lifting_ros.device import use_threads
from lifting_ros.estimator import EstimatorConfig, PoseEstimator
from lifting_ros.research.datasets.keypoints2d import photo_sets_in, read_photo_set
from lifting_ros.research.datasets.splits import rows_of
from lifting_ros.skeleton import KEYPOINT_NAMES
from lifting_ros.viz.anonymise import HeadRegion, hidden_regions

HEAD_SHARE = 0.6
CHIN_SHARE = 0.25
"""Places on the line from the neck (0) to the top of the head (1)."""

_HEAD_TOP = KEYPOINT_NAMES.index("head_top")
_NECK = KEYPOINT_NAMES.index("neck")


def heads(data: Path, name: str, side: str, most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Image (H, W, 3) and points (2, 2) of neck and head top, of photographs that have both."""
    photos = read_photo_set(data / "keypoints2d", name)
    labels = photos.keypoints[:, [_NECK, _HEAD_TOP]]
    usable = rows_of(photos.validation, side) & (labels[..., 2] > 0).all(1)
    for row in islice(np.flatnonzero(usable), most or None):
        yield photos.image(int(row)), labels[row, :, :2]


def holds(regions: list[HeadRegion], points: np.ndarray) -> np.ndarray:
    """Which points (P, 2) lie in a region, (P,)."""
    inside = np.zeros(len(points), bool)
    for region in regions:
        inside |= region.contains(points)
    return inside


def blurred_share(regions: list[HeadRegion], size: tuple[int, int]) -> float:
    """Share of the pixels of an image (H, W) that lie in a region."""
    y, x = np.indices(size)
    return float(holds(regions, np.stack([x.ravel(), y.ravel()], -1)).mean())


def measure(estimator: PoseEstimator, pictures: list) -> dict[str, float]:
    """The row of a set."""
    shares = np.array([HEAD_SHARE, *np.linspace(CHIN_SHARE, 1.0, 9)])[:, None]
    rows = []
    for image, (neck, top) in tqdm(pictures, unit="picture", leave=False, disable=None):
        estimate = estimator.estimate(image)
        regions = hidden_regions(estimate.persons, estimate.rejected)
        points = neck + shares * (top - neck)
        inside = holds(regions, points)
        published = holds(hidden_regions(estimate.persons), points)
        blurred = blurred_share(regions, image.shape[:2])
        rows.append((inside[0], inside.all(), published[0], blurred))

    hidden, whole, without_rejected, blurred = np.mean(rows, 0)
    return {
        "heads": len(rows),
        "hidden": float(hidden),
        "hidden whole": float(whole),
        "without rejected": float(without_rejected),
        "blurred": float(blurred),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("bench/blurred_heads.py", description=__doc__)
    parser.add_argument("data", type=Path, help="folder with keypoints2d/")
    parser.add_argument("--side", default="validation", choices=("tune", "validation"))
    parser.add_argument("--weights", default="full")
    parser.add_argument("--pictures", type=int, default=0, help="of each set, 0: all")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args(arguments)

    use_threads()
    estimator = PoseEstimator(EstimatorConfig(weights=args.weights))
    table = {}
    for name in photo_sets_in(args.data / "keypoints2d"):
        pictures = list(heads(args.data, name, args.side, args.pictures))
        table[name] = measure(estimator, pictures)

    print_table(f"heads hidden, {args.weights}, {args.side}", table)
    if args.json:
        write_json(args.json, table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
