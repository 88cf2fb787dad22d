# SPDX-License-Identifier: Apache-2.0
"""Make 3D labels for photographs that have none: networks from image to 3D are trained on them.

This package's own network finds people and keypoints; the stereoscopic lifter (lifting train
stereo) lifts them, and the pose prior lifts them again for a second opinion. DIR, which must be new
or empty, gets images.npy (a window around each person), labels.npz (joints_m (N, 17, 3) relative to
the root in metres in the photograph's optical frame, covariance_m2, keypoints, and the scores of
each label), and sheet.png, a contact sheet from the worst to the best. A label is `good` where
every score is within the limits of RECIPE (config/label.yaml explains them). Without a calibration
people are assumed to be at the typical distance of the training set. `lifting train image` learns
from such folders, `research.labels.labels.read_labels` reads them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.models import Models
from lifting_ros.cli.options import add_device, add_prior, require_at_least

if TYPE_CHECKING:
    import numpy as np

    from lifting_ros.geometry.camera import Camera
    from lifting_ros.research.labels.label_quality import LabelConfig
    from lifting_ros.research.labels.labels import Labels


class NobodyFound(CommandError):
    """Nobody was found in any of the images."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="image files, or folders of them"
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder to write, new or empty; see above"
    )
    parser.add_argument(
        "--weights",
        default="",
        metavar="STEREO.safetensors",
        help="stereoscopic lifter (default: the one that ships)",
    )
    add_prior(parser)
    parser.add_argument(
        "--camera",
        default="",
        metavar="CALIBRATION.yaml",
        help="camera of all images, as camera_calibration writes it",
    )
    parser.add_argument(
        "--recipe",
        default="",
        metavar="RECIPE.yaml",
        help="limits of the scores (default: config/label.yaml)",
    )
    parser.add_argument(
        "--sheet",
        type=int,
        default=24,
        metavar="N",
        help="people on the contact sheet (default 24)",
    )
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    process(args, Models())
    return 0


def process(args: argparse.Namespace, models: Models) -> None:
    """Write the labels of some images, with the networks of `models`.

    NobodyFound where there is nobody in any of them.
    """
    import numpy as np

    from lifting_ros.cli.recipes import read_recipe
    from lifting_ros.research.labels.label_quality import LabelConfig
    from lifting_ros.research.labels.label_sheet import draw_sheet, spread_rows
    from lifting_ros.research.labels.labels import write_labels

    paths = image_paths(args.images)
    limits = read_recipe(LabelConfig, args.recipe)
    check(args)
    paths = usable_images(args, paths)
    labels = make_labels(args, paths, limits, models)
    count = len(labels.good)
    if not count:
        raise NobodyFound(f"nobody was found in {len(paths)} images")

    more = {}
    if args.sheet:
        more["sheet.png"] = draw_sheet(labels, spread_rows(labels, args.sheet))
    write_labels(args.out, labels, more)

    median_mm = 1e3 * float(np.median(labels.quality["expected_error_m"]))
    print(
        f"{args.out}: {count} people in {len(paths)} images, {int(labels.good.sum())} good;"
        f" median error expected {median_mm:.0f} mm"
    )


def check(args: argparse.Namespace) -> None:
    """Raise CommandError where the folder cannot be written."""
    out = Path(args.out)
    # `.` has no name; nothing can take its place.
    if out.exists() and (not out.name or not out.is_dir() or any(out.iterdir())):
        raise CommandError(f"--out: {out}: expected a new or empty folder")
    folder = out.absolute().parent
    if not folder.is_dir():
        raise CommandError(f"--out: {folder}: the folder does not exist")
    require_at_least("--sheet", args.sheet, 0)


def image_paths(names: list[str]) -> list[Path]:
    """The images named, and those of the folders named; CommandError for one that is missing."""
    from lifting_ros.io.images import open_source

    paths: list[Path] = []
    for name in names:
        if Path(name).is_dir():
            paths += open_source(name).images
        else:
            paths.append(Path(name))

    for path in paths:
        if not path.is_file():
            raise CommandError(f"{path}: no such file")
    return paths


def usable_images(args: argparse.Namespace, paths: list[Path]) -> list[Path]:
    """The images that decode; those of folders that do not are counted on standard error.

    LiftingError for one that is named itself, and where the camera does not fit.
    """
    from lifting_ros.io.images import Losses, decoded, read_image

    losses = Losses()
    usable = []
    for path in paths:  # bad input is reported before the weights are loaded
        image = read_image(path) if str(path) in args.images else decoded(path)
        if image is None:
            losses.unreadable.append(path.name)
            continue
        losses.came += 1
        usable.append(path)
        camera_of(args.camera, image)

    if losses.text:
        print(f"lifting label: {losses.text}", file=sys.stderr)
    if not usable:
        raise CommandError("no image decodes")
    return usable


def make_labels(
    args: argparse.Namespace, paths: list[Path], limits: LabelConfig, models: Models
) -> Labels:
    """The labels of all people in the images."""
    from lifting_ros.device import use_threads
    from lifting_ros.estimator import WEIGHTS, EstimatorConfig
    from lifting_ros.io.images import read_image
    from lifting_ros.io.progress import Progress
    from lifting_ros.research.labels.labeller import join_labels

    lifter = Path(args.weights or WEIGHTS / "stereo.safetensors")
    config = EstimatorConfig(device=args.device, prior=args.prior)
    use_threads()
    labeller = models.labeller(config, lifter)

    parts = []
    for number, path in enumerate(Progress(paths, desc="labelling", unit="image", delay=2)):
        image = read_image(path)
        part = labeller.label(image, number, camera_of(args.camera, image))
        if part:
            parts.append(part)

    names = [path.name for path in paths]
    return join_labels(parts, names, limits, labeller.about)


def camera_of(path: str, image: np.ndarray) -> Camera | None:
    """The camera of an image (H, W, 3); None where no calibration is given."""
    from lifting_ros.io.camera_files import read_camera_file

    if not path:
        return None
    height, width = image.shape[:2]
    return read_camera_file(path).camera(width, height)
