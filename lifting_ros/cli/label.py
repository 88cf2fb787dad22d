# SPDX-License-Identifier: Apache-2.0
"""3D labels for photographs without any: what networks from image to 3D are trained on.

People and keypoints are found by this package's own network, lifted by the stereoscopic lifter
(lifting train stereo), and lifted a second time with the pose prior, for a second opinion. DIR,
which must be new or empty, gets images.npy (a window around each person), labels.npz (joints_m (N,
17, 3) about the root in metres in the photograph's optical frame, covariance_m2, keypoints, and a
score for each thing that speaks for or against a label), and sheet.png, a contact sheet from the
worst to the best. A label is `good` where every score is within the limits of RECIPE
(config/label.yaml says what each means). Without a calibration people are taken to be as far away
as those of the training set mostly are. `lifting train image` learns from such folders,
`data.labels.read_labels` reads them.
"""

from __future__ import annotations

import argparse
from pathlib import Path


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
    parser.add_argument(
        "--prior",
        default="",
        metavar="P.npz",
        help="pose prior of the second opinion (default: the one that ships)",
    )
    parser.add_argument(
        "--camera",
        default="",
        metavar="CALIBRATION.yaml",
        help="camera of all images, as camera_calibration has it",
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
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:n (default auto)")


def run(args: argparse.Namespace) -> int:
    import numpy as np
    from tqdm import tqdm

    from lifting_ros.cli.main import CommandError
    from lifting_ros.cli.source import read_image
    from lifting_ros.cli.train import recipe
    from lifting_ros.research.labels.label_quality import LabelConfig
    from lifting_ros.research.labels.label_sheet import draw_sheet, spread_rows
    from lifting_ros.research.labels.labels import write_labels

    paths, config = image_paths(args.images), recipe(LabelConfig, args.recipe)
    check_out(args)
    for path in paths:  # before the weights are loaded
        camera_of(args.camera, read_image(path))
    labeller = Labeller(args, config)
    parts = []
    for number, path in enumerate(tqdm(paths, desc="labelling", unit="image", delay=2)):
        image = read_image(path)
        parts.append(labeller.label(image, number, camera_of(args.camera, image)))
    labels = labeller.joined([part for part in parts if part], [path.name for path in paths])
    count = len(labels.good)
    if not count:
        raise CommandError(f"nobody was found in {len(paths)} images")
    more = {"sheet.png": draw_sheet(labels, spread_rows(labels, args.sheet))} if args.sheet else {}
    write_labels(args.out, labels, more)
    middle = 1e3 * float(np.median(labels.quality["expected_error_m"]))
    print(
        f"{args.out}: {count} people in {len(paths)} images, {int(labels.good.sum())} good; median error expected {middle:.0f} mm"
    )
    return 0


def image_paths(given: list[str]) -> list[Path]:
    """The images named, and those of the folders named; CommandError for one that is not there."""
    from lifting_ros.cli.main import CommandError
    from lifting_ros.cli.source import open_source

    paths = [
        path
        for name in given
        for path in (open_source(name).images if Path(name).is_dir() else (Path(name),))
    ]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise CommandError(f"{missing[0]}: no such file")
    return paths


def check_out(args: argparse.Namespace) -> None:
    """CommandError where the folder cannot be written."""
    from lifting_ros.cli.main import CommandError

    out = Path(args.out)
    if out.exists() and (
        not out.name or not out.is_dir() or any(out.iterdir())
    ):  # no name: `.`, which nothing can take the place of
        raise CommandError(f"--out: {out}: expected a new or empty folder")
    if not out.absolute().parent.is_dir():
        raise CommandError(f"--out: {out.absolute().parent}: the folder does not exist")
    if args.sheet < 0:
        raise CommandError("--sheet: expected 0 or more people")


def camera_of(path: str, image):
    """The camera of an image, None where no calibration is given."""
    from lifting_ros.cli.source import read_camera

    return read_camera(path, image.shape[1], image.shape[0]) if path else None


class Labeller:
    """Both lifters and the estimator behind them."""

    def __init__(self, args: argparse.Namespace, config):
        """Load everything; one clear line where that cannot be done."""
        from lifting_ros.estimator import WEIGHTS, EstimatorConfig, PoseEstimator
        from lifting_ros.io.checkpoint import sha256_of
        from lifting_ros.lifting.stereo import StereoLifter

        path = Path(args.weights or WEIGHTS / "stereo.safetensors")
        self.lifter, self.config = StereoLifter.load(path), config
        self.estimator = PoseEstimator(EstimatorConfig(device=args.device, prior=args.prior))
        shas = {
            "weights": self.estimator.weights_sha256,
            "prior": self.estimator.prior_sha256,
            "lifter": sha256_of(path),
        }
        self.about = {"sha256": shas, "size_m": self.lifter.size_m}

    def label(self, image, number: int, camera) -> dict | None:
        """Labels of the people of one image, columns (n, ...) by name; None where nobody is found."""
        import numpy as np

        from lifting_ros.research.labels.label_quality import quality_of
        from lifting_ros.research.labels.labels import cut_windows

        estimator = self.estimator
        people = estimator.find_keypoints(image, estimator.detector.detect(image))
        if not people:
            return None
        names = ("keypoints_px", "confidence", "covariance_px2", "box_px")
        keypoints, confidence, covariance, box = (
            np.stack([getattr(p, n) for p in people]) for n in names
        )
        usable = np.where(confidence >= estimator.config.min_keypoint_confidence, confidence, 0.0)
        given = keypoints, usable, covariance, camera
        found, other = self.lifter.reconstruct(*given), estimator.lifter.lift(*given)
        poses = self.lifter.finish(found, camera is not None)
        score = np.array([p.score for p in people])
        baseline = self.lifter.network.config.baseline
        quality = quality_of(
            found, poses, other, score, usable, estimator.prior.limbs_[:, 0], baseline
        )
        windows, points = zip(*cut_windows(image, box, keypoints, usable))
        joints = poses.joints_m - poses.root_m[:, None]
        toward = poses.root_m / np.maximum(
            np.linalg.norm(poses.root_m, axis=-1, keepdims=True), 1e-9
        )
        columns = {
            "windows": np.stack(windows),
            "keypoints": np.stack(points),
            "joints_m": joints,
            "covariance_m2": poses.covariance_m2,
            "toward": toward if camera is not None else np.tile([0.0, 0, 1], (len(people), 1)),
            "image_index": np.full(len(people), number),
            **{f"quality_{name}": values for name, values in quality.items()},
        }
        lifted = np.isfinite(joints).all((1, 2))
        return {name: values[lifted] for name, values in columns.items()} if lifted.any() else None

    def joined(self, parts: list[dict], images: list[str]):
        """Labels of all images."""
        import dataclasses

        import numpy as np

        from lifting_ros.research.datasets.pack import WINDOW_PX
        from lifting_ros.research.labels.labels import QUALITY, Labels, validation_images

        window = WINDOW_PX, WINDOW_PX, 3
        shapes = {
            "windows": window,
            "keypoints": (14, 3),
            "joints_m": (17, 3),
            "covariance_m2": (17, 3, 3),
            "toward": (3,),
        }
        names = [*shapes, "image_index", *(f"quality_{name}" for name in QUALITY)]
        columns = {
            n: np.concatenate([p[n] for p in parts]) if parts else np.zeros((0, *shapes.get(n, ())))
            for n in names
        }
        quality = {name: columns.pop(f"quality_{name}") for name in QUALITY}
        index = columns.pop("image_index").astype(int)
        flags = {
            "good": self.config.accepts(quality),
            "validation": validation_images(index, len(images)),
            "image_index": index,
        }
        about = self.about | {"limits": dataclasses.asdict(self.config)}
        return Labels(**columns, **flags, images=tuple(images), quality=quality, about=about)
