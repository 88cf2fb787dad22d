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

With --keypoints the people and their keypoints are annotated, and no network looks for them:
  .json  COCO's format; images are found by their file name
  .npz   of `lifting lift`, with image_index (N,) into the images as they are named (folders in
         natural order); without it, one person an image. K and D apply to all images
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.lift import CONVENTION_NAMES, OWN_CONVENTION, read_request
from lifting_ros.cli.models import Models
from lifting_ros.cli.options import add_device, add_prior, require_at_least

if TYPE_CHECKING:
    import numpy as np

    from lifting_ros.cli.lift import Request
    from lifting_ros.geometry.camera import Camera
    from lifting_ros.research.labels.label_quality import LabelConfig
    from lifting_ros.research.labels.labels import Labels
    from lifting_ros.types import Skeleton2D

    Arrays = Mapping[str, np.ndarray]
    People = dict[Path, list[Skeleton2D]]


@dataclass(frozen=True)
class Annotations:
    """The content of the file of --keypoints."""

    people: People
    """By image."""
    camera: Camera | None
    """Of all images."""


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
        "--keypoints",
        default="",
        metavar="FILE.json|FILE.npz",
        help="annotated 2D poses of the images; see above",
    )
    parser.add_argument(
        "--convention",
        default=OWN_CONVENTION,
        choices=CONVENTION_NAMES,
        help=f"order of the keypoints of an .npz (default {OWN_CONVENTION})",
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
    annotations = read_annotations(args, paths) if args.keypoints else None
    paths = usable_images(args, paths)
    labels = make_labels(args, paths, limits, models, annotations)
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


def read_annotations(args: argparse.Namespace, paths: list[Path]) -> Annotations:
    """The annotated people of --keypoints; LiftingError for a file that does not fit the images."""
    if args.keypoints.endswith(".json"):
        return Annotations(people_of_json(args.keypoints, paths), None)

    from lifting_ros.io.arrays import read_npz

    arrays = read_npz(args.keypoints)
    request = read_request(arrays, args.keypoints, args.convention)
    index = read_image_index(arrays, len(request.keypoints_px), len(paths), args.keypoints)
    return Annotations(people_of_request(request, [paths[i] for i in index]), request.camera)


def people_of_json(file: str, paths: list[Path]) -> People:
    """People of a COCO file by image, found by the image's name."""
    from lifting_ros.research.datasets.coco_keypoints import read_coco_keypoints

    by_name = {path.name: path for path in paths}
    if len(by_name) != len(paths):
        raise CommandError("--keypoints: expected images with different names")

    annotated = read_coco_keypoints(file)
    people: People = {}
    for name, *person in zip(*annotated):
        path = by_name.get(Path(name).name)
        if path is not None:
            people.setdefault(path, []).append(skeleton_of(*person))
    if not people:
        raise CommandError(f"--keypoints: {file} annotates none of the {len(paths)} images")
    return people


def people_of_request(request: Request, paths: list[Path]) -> People:
    """People of an .npz by image; paths: (N,) that of each. Those of whom nothing is seen are left
    out."""
    import numpy as np

    covariance = request.covariance_px2
    if covariance is None:
        covariance = np.full((*request.keypoints_px.shape, 2), np.nan)

    people: People = {}
    for path, *person in zip(paths, request.keypoints_px, request.confidence, covariance):
        if (person[1] > 0).any():
            people.setdefault(path, []).append(skeleton_of(*person))
    return people


def read_image_index(arrays: Arrays, count: int, images: int, source: str) -> list[int]:
    """Number of the image of each of `count` people; CommandError where it is not told or wrong."""
    import numpy as np

    from lifting_ros.io.arrays import numbers

    index = numbers(arrays, "image_index", (count,), source)
    if index is None and count != images:
        raise CommandError(
            f"{source}: image_index is missing; expected it, or one person for each of the"
            f" {images} images, got {count}"
        )
    if index is None:
        index = np.arange(count)
    if not np.isin(index, np.arange(images)).all():
        raise CommandError(f"{source}: image_index: expected numbers of the {images} images")
    return index.astype(int).tolist()


def skeleton_of(
    keypoints_px: np.ndarray, confidence: np.ndarray, covariance_px2: np.ndarray
) -> Skeleton2D:
    """An annotated person, in the box of the keypoints that are seen.

    keypoints_px: (14, 2); confidence: (14,); covariance_px2: (14, 2, 2), NaN where unknown.
    """
    import numpy as np

    from lifting_ros.types import Skeleton2D

    seen = keypoints_px[confidence > 0]
    box_px = np.concatenate([seen.min(0), seen.max(0)])
    return Skeleton2D(keypoints_px, confidence, covariance_px2, box_px, score=1.0)


def make_labels(
    args: argparse.Namespace,
    paths: list[Path],
    limits: LabelConfig,
    models: Models,
    annotated: Annotations | None,
) -> Labels:
    """The labels of all people in the images; of the annotated ones, where there are any."""
    from lifting_ros.device import use_threads
    from lifting_ros.estimator import WEIGHTS, EstimatorConfig
    from lifting_ros.io.checkpoint import sha256_of
    from lifting_ros.io.images import read_image
    from lifting_ros.io.progress import Progress
    from lifting_ros.research.labels.labeller import join_labels

    lifter = Path(args.weights or WEIGHTS / "stereo.safetensors")
    config = EstimatorConfig(device=args.device, prior=args.prior)
    use_threads()
    labeller = models.labeller(config, lifter, annotated is not None)
    if annotated is not None:
        labeller.about["sha256"]["keypoints"] = sha256_of(args.keypoints)

    parts = []
    for number, path in enumerate(Progress(paths, desc="labelling", unit="image", delay=2)):
        image = read_image(path)
        camera = camera_of(args.camera, image)
        if annotated is None:
            part = labeller.label(image, number, camera)
        else:
            people = annotated.people.get(path, [])
            part = labeller.label_people(image, number, camera or annotated.camera, people)
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
