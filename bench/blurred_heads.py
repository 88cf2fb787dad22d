# SPDX-License-Identifier: Apache-2.0
"""Measures which labelled heads the blurred regions hold: in photographs with one labelled person
each, and, with --crowds, in rendered crowds with all of them labelled.

A head counts as hidden if the point HEAD_SHARE of the way from the neck to the top of the head,
about between the eyes, is in a region; as hidden whole, if all points from the chin to the top are.
The column `without rejected` hides the published persons alone. `blurred` is the share of the
pictures' pixels. In crowds, heads count whose top and neck an annotator would label. The sizes of
the regions were chosen with --side tune; reported figures are those of --side validation.
--json FILE writes the figures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from lifting_ros.cli.files import write_json
from lifting_ros.cli.tables import print_table
from lifting_ros.detection.detector import DetectorConfig
from lifting_ros.device import use_threads
from lifting_ros.estimator import EstimatorConfig, PoseEstimator
from lifting_ros.research.datasets.keypoints2d import photo_sets_in, read_photo_set
from lifting_ros.research.datasets.splits import rows_of
from lifting_ros.skeleton import KEYPOINT_NAMES
from lifting_ros.viz.anonymise import HeadRegion, hidden_regions

HEAD_SHARE = 0.6
CHIN_SHARE = 0.25
"""Places on the line from the neck (0) to the top of the head (1)."""

CROWD_SIZE = (640, 480)
"""Width and height of the rendered pictures."""

_ENDS = [KEYPOINT_NAMES.index("neck"), KEYPOINT_NAMES.index("head_top")]


class Picture(NamedTuple):
    """A picture and its labelled heads."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    heads: np.ndarray
    """(M, 2, 2) x, y px of neck and head top."""


def photographs(data: Path, name: str, side: str, most: int) -> Iterator[Picture]:
    """Photographs whose labelled person has both ends of the head."""
    photos = read_photo_set(data / "keypoints2d", name)
    labels = photos.keypoints[:, _ENDS]
    usable = rows_of(photos.validation, side) & (labels[..., 2] > 0).all(1)
    for row in islice(np.flatnonzero(usable), most or None):
        yield Picture(photos.image(int(row)), labels[row, None, :, :2])


def crowds(data: Path, work: Path, side: str, count: int) -> Iterator[Picture]:
    """Rendered crowds; rendering requires embreex."""
    from lifting_ros.research.datasets.crowd_pack import open_crowd_pack

    pack = open_crowd_pack(work / "blurred" / side, data, side, CROWD_SIZE, count, 1)
    labels = pack.keypoints[:, _ENDS]
    labelled = (labels[..., 2] > 0).all(1)
    for picture in np.unique(pack.picture):
        rows = labelled & (pack.picture == picture)
        yield Picture(np.asarray(pack.images[picture]), labels[rows, :, :2])


def holds(regions: list[HeadRegion], points: np.ndarray) -> np.ndarray:
    """Which points (..., 2) lie in a region, (...)."""
    inside = np.zeros(points.shape[:-1], bool)
    for region in regions:
        inside |= region.contains(points)
    return inside


def measure(estimator: PoseEstimator, pictures: list[Picture]) -> dict[str, float]:
    """The row of a set."""
    shares = np.array([HEAD_SHARE, *np.linspace(CHIN_SHARE, 1.0, 9)])[:, None]
    rows = []
    blurred = []
    for image, heads in tqdm(pictures, unit="picture", leave=False, disable=None):
        estimate = estimator.estimate(image)
        published = hidden_regions(estimate.persons)
        regions = published + hidden_regions((), estimate.rejected)
        for neck, top in heads:
            points = neck + shares * (top - neck)
            inside = holds(regions, points)
            rows.append((inside[0], inside.all(), holds(published, points)[0]))

        y, x = np.indices(image.shape[:2])
        blurred.append(holds(regions, np.stack([x, y], -1)).mean())

    hidden, whole, without_rejected = np.mean(rows, 0)
    return {
        "heads": len(rows),
        "hidden": float(hidden),
        "hidden whole": float(whole),
        "without rejected": float(without_rejected),
        "blurred": float(np.mean(blurred)),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("bench/blurred_heads.py", description=__doc__)
    parser.add_argument("data", type=Path, help="folder with keypoints2d/")
    parser.add_argument("--side", default="validation", choices=("tune", "validation"))
    parser.add_argument("--weights", default="full")
    parser.add_argument(
        "--score", type=float, default=DetectorConfig().score, help="detector.score"
    )
    parser.add_argument("--long-side", type=int, default=DetectorConfig().long_side_px)
    parser.add_argument(
        "--pictures", type=int, default=0, help="of each set of photographs; 0: all"
    )
    parser.add_argument("--crowds", type=int, default=0, help="rendered pictures")
    parser.add_argument("--work", type=Path, default=Path("work"), help="where they are kept")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args(arguments)

    use_threads()
    detector = DetectorConfig(score=args.score, long_side_px=args.long_side)
    estimator = PoseEstimator(EstimatorConfig(weights=args.weights, detector=detector))
    table = {}
    for name in photo_sets_in(args.data / "keypoints2d"):
        pictures = list(photographs(args.data, name, args.side, args.pictures))
        table[name] = measure(estimator, pictures)
    if args.crowds:
        pictures = list(crowds(args.data, args.work, args.side, args.crowds))
        table["crowds"] = measure(estimator, pictures)

    print_table(f"heads hidden, {args.weights}, {args.side}", table)
    if args.json:
        write_json(args.json, table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
