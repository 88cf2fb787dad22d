# SPDX-License-Identifier: Apache-2.0
"""Train a detector, a network or a lifter.

WHAT is the person detector (`detector`), the multistage network (`full`, `lite`, or the paper's own
architecture: `paper`), the supervised baseline of the lifter (`supervised`), the lifter that learns
from which of two joints is farther away (`relative`), the stereoscopic one (`stereo`), what
corrects the answers of the lifter `ppca`, or the network from image to 3D that is trained on
labelled photographs (`image`). Three small networks are added to a network of keypoints
(--weights): `depth-cue` guesses from the image which joints are nearer, `joint-offsets` predicts
the joints of the prior from the keypoints, and `pose-correction` corrects the 3D poses of people
whom the network finds.

DATA holds keypoints2d/ (lspet, street, gym, people, scenes: annotations.npz beside images.tar) and
negatives/, and body/ and mocap/ for the rendered people (which require the package embreex). Packs
made of it are kept in WORK; for other photographs use another WORK. `full` and `lite` start from a
published trunk: --trunk, MoveNet Thunder or Lightning as a graph model. The lifters require only
mocap/, and learn from all but the validation subjects. `relative` simulates the comparisons of
joints, or takes those of --crowd: the published comparisons on Leeds Sports Pose (.json), with a
recipe of 14 joints. `detector` starts from MoveNet MultiPose: --trunk. `depth-cue` and
`joint-offsets` learn from rendered people alone, `pose-correction` from motion capture as well. For
`image` DATA is a folder that `lifting label` wrote, or one with such folders in it, as `lifting
fleet --verb label` makes.

A training that was stopped or killed continues when the same command is given again. To share that
of `full`, `lite` or `paper` among N GPUs or processes, replace `lifting` by `torchrun
--nproc-per-node N -m lifting_ros.cli.main`. The folder of the training, RUN, keeps recipe,
revision, curves (CSV, PNG, TensorBoard where that is installed) and states. At the end the averaged
weights are written to OUT in fp16, with recipe, seed, revision and measured quality in the header.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.options import require_at_least, require_folder_of

if TYPE_CHECKING:
    import torch

    from lifting_ros.estimator import EstimatorConfig
    from lifting_ros.research.datasets.found_people import FoundPeople

    Quality = dict[str, float]

DETECTOR = "detector"
"""The person detector."""
NETWORKS = ("full", "lite", "paper")
"""Networks of keypoints."""
LIFTERS = ("supervised", "relative", "stereo")
"""Lifters that are networks."""
DEPTH_CUE = "depth-cue"
"""What guesses from the image which joints are nearer."""
JOINT_OFFSETS = "joint-offsets"
"""What predicts joints from a network's keypoints."""
POSE_CORRECTION = "pose-correction"
"""What corrects 3D poses of people whom a network finds."""
PPCA = "ppca"
"""What corrects the answers of the lifter ppca."""
ON_FOUND_PEOPLE = (DEPTH_CUE, JOINT_OFFSETS, POSE_CORRECTION)
"""What learns from rendered people as a network of keypoints finds them."""
VALIDATION_POSES = 125
"""Poses that a lifter is validated on during its training; each is seen from four sides."""
FINAL_POSES = 500
"""The same at the end."""
RENDERED_PEOPLE = 500
"""Most rendered people that a network from image to 3D is measured on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = [DETECTOR, *NETWORKS, *ON_FOUND_PEOPLE, PPCA, *LIFTERS, "image"]
    parser.add_argument(
        "what",
        choices=kinds,
        help="the detector, a network of keypoints, its depth cue, joint offsets or pose "
        "correction, a lifter, or image to 3D",
    )
    parser.add_argument(
        "--data",
        required=True,
        metavar="DATA",
        help="folder with keypoints2d/ and negatives/, or mocap/",
    )
    parser.add_argument("--out", required=True, metavar="OUT.safetensors", help="weights to write")

    parser.add_argument(
        "--work", default=".cache", metavar="WORK", help="packs, states and curves (default .cache)"
    )
    parser.add_argument(
        "--run", default="", metavar="RUN", help="folder of this training (default WORK/train_WHAT)"
    )

    parser.add_argument(
        "--recipe",
        default="",
        metavar="RECIPE.yaml",
        help="default: the values of config/train_WHAT.yaml",
    )
    parser.add_argument(
        "--trunk",
        default="",
        metavar="MOVENET.json",
        help="published network to start from (detector, full, lite)",
    )
    parser.add_argument(
        "--start",
        default="",
        metavar="STATE",
        help="state of another training to start from (networks, relative)",
    )

    parser.add_argument(
        "--crowd",
        default="",
        metavar="LSP.json",
        help="comparisons on photographs instead of simulated ones (relative)",
    )
    parser.add_argument(
        "--prior",
        default="",
        metavar="P.npz",
        help="pose prior of the fusion, or the one that is corrected (default: the one that ships)",
    )
    parser.add_argument(
        "--synthetic",
        default="",
        metavar="FOLDER",
        help="rendered people, instead of those made here; for `supervised`: the errors of the 2D "
        "side are measured on them and used in training; for "
        "`image`: to measure on",
    )
    parser.add_argument(
        "--weights",
        default="full",
        metavar="WEIGHTS",
        help="network whose depth cue, joint offsets or pose correction is trained: a name or a "
        "file (default full)",
    )

    parser.add_argument(
        "--every",
        type=int,
        default=500,
        metavar="N",
        help="steps between states and validations (default 500)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes that make batches (default 1)",
    )
    parser.add_argument(
        "--device", default="cpu", help="cpu, cuda, cuda:n or auto (full, lite, paper; default cpu)"
    )


def run(args: argparse.Namespace) -> int:
    from lifting_ros.research.rendering.render_errors import RendererMissingError

    check(args)
    try:
        if args.what == "image":
            train_image(args)
        elif args.what in LIFTERS:
            train_lifter(args)
        elif args.what == DETECTOR:
            train_detector(args)
        elif args.what == DEPTH_CUE:
            train_depth_cue(args)
        elif args.what == JOINT_OFFSETS:
            train_joint_offsets(args)
        elif args.what in (POSE_CORRECTION, PPCA):
            train_pose_correction(args)
        else:
            train_network(args)
    except RendererMissingError as error:
        raise CommandError(
            f"{error}; or a recipe that renders nothing (rendered: 0 and rooms: 0)"
        ) from error
    return 0


def check(args: argparse.Namespace) -> None:
    """Raise CommandError for what is wrong before anything is read."""
    folders = ()
    if args.what in (DETECTOR, *NETWORKS):
        folders = ("keypoints2d", "negatives")
    elif args.what in (PPCA, *LIFTERS):
        folders = ("mocap",)
    elif args.what in ON_FOUND_PEOPLE and not args.synthetic:
        folders = ("body", "mocap", "negatives")

    for name in folders:
        folder = Path(args.data) / name
        if not folder.is_dir():
            raise CommandError(f"--data: {folder} is not there")

    # Of several machines the first one reads the state.
    is_first = os.environ.get("RANK", "0") == "0"
    if args.start and is_first and not Path(args.start).is_file():
        raise CommandError(f"--start: {args.start}: no such file")

    if args.what == DETECTOR and not args.trunk:
        raise CommandError("--trunk: expected the published MoveNet MultiPose (.json)")

    require_folder_of("--out", args.out)
    require_at_least("--every", args.every, 1)
    require_at_least("--workers", args.workers, 0)


def folder_of(args: argparse.Namespace) -> Path:
    """The folder of the training."""
    return Path(args.run or Path(args.work) / f"train_{args.what}")


def train_detector(args: argparse.Namespace) -> None:
    """Train and validate the person detector, and write its weights."""
    import dataclasses

    from lifting_ros.cli.recipes import read_recipe
    from lifting_ros.detection.multipose_detector import save_detector
    from lifting_ros.research.graph_model import read_multipose
    from lifting_ros.research.training import train_detector as training
    from lifting_ros.research.training.record import revision

    config = read_recipe(training.DetectorTrainConfig(), args.recipe)
    published = read_multipose(args.trunk)
    sources = (config, published, Path(args.data))
    montages = training.open_training_montages(*sources, "train")
    held_back = training.open_training_montages(*sources, "validation")

    def evaluate(weights: dict[str, torch.Tensor]) -> Quality:
        return training.validate(weights, held_back)

    before = rounded(evaluate(published.state_dict()), 4)
    weights = training.train_detector(
        config, published, montages, folder_of(args), evaluate, args.every
    )
    quality = rounded(evaluate(weights), 4)
    card = {
        "origin": "MoveNet MultiPose Lightning, version 1, by Google, Apache-2.0",
        "trunk": published_files(args.trunk),
        "recipe": dataclasses.asdict(config),
        "revision": revision(),
        "recall": quality,
        "recall before": before,
    }
    save_detector(Path(args.out), training.detector_of(weights), card)
    print(f"{args.out}: {quality} (before {before})")


def train_network(args: argparse.Namespace) -> None:
    """Make the packs, train and validate, fit the covariances of keypoints, write the weights."""
    import dataclasses

    from lifting_ros.cli.recipes import read_recipe
    from lifting_ros.estimator import WEIGHTS
    from lifting_ros.keypoints.inference import NetworkRunner
    from lifting_ros.keypoints.network_weights import fusion_of
    from lifting_ros.prior.ppca import MixturePPCA
    from lifting_ros.research.datasets.splits import rows_of
    from lifting_ros.research.evaluation.keypoint_calibration import fit_noise
    from lifting_ros.research.evaluation.keypoints import network_of, pck_of_weights
    from lifting_ros.research.training import distributed
    from lifting_ros.research.training.network_packs import (
        open_training_packs,
        read_training_cutouts,
    )
    from lifting_ros.research.training.record import revision
    from lifting_ros.research.training.train_network import RECIPES, save_trained, train

    config = read_recipe(RECIPES[args.what], args.recipe)
    prior = MixturePPCA.load(args.prior or WEIGHTS / "prior.npz")
    trunk = trunk_of(args.trunk, config.network.variant) if args.trunk else None
    device = distributed.join(args.device)
    data = Path(args.data)
    people = Path(args.synthetic) if args.synthetic else None
    with distributed.first_alone():
        packs = open_training_packs(config, data, Path(args.work), people)

    def evaluate(weights: dict[str, torch.Tensor]) -> Quality:
        return pck_of_weights(weights, config.network, prior, packs, device)

    weights = train(
        config,
        packs,
        fusion_of(config.network, prior),
        folder_of(args),
        args.device,
        evaluate,
        args.every,
        args.workers,
        Path(args.start) if args.start else None,
        trunk,
        read_training_cutouts(data),
    )
    rank, _ = distributed.rank_and_world()
    if rank != 0:
        return

    network = config.network
    if config.noise_fitted:
        runner = NetworkRunner(network_of(weights, network, prior), device)
        network = dataclasses.replace(network, **fit_noise(runner, packs))

    quality = rounded(evaluate(weights), 4)
    card = {
        "seed": config.seed,
        "revision": revision(),
        "pck": quality,
        "packs": {pack.name: int(rows_of(pack.validation, "train").sum()) for pack in packs},
    }
    if args.trunk:
        card["trunk"] = published_files(args.trunk)

    save_trained(Path(args.out), weights, dataclasses.replace(config, network=network), card)
    print(f"{args.out}: {quality}")


def trunk_of(path: str, variant: str) -> dict[str, torch.Tensor]:
    """The weights of a published trunk; CommandError where it does not fit the variant."""
    from lifting_ros.keypoints.network_trunk import TRUNK_WIDTHS
    from lifting_ros.keypoints.trunk import mobilenet_shape
    from lifting_ros.research.graph_model import read_trunk

    if variant not in TRUNK_WIDTHS:
        raise CommandError(f"--trunk: the network `{variant}` has no such trunk")

    trunk = read_trunk(path)
    found = trunk.backbone.stem.out_channels
    expected = mobilenet_shape(TRUNK_WIDTHS[variant]).stem
    if found != expected:
        raise CommandError(
            f"--trunk: {path}: its first layer has {found} channels, that of `{variant}` {expected}"
        )
    return trunk.state_dict()


def published_files(path: str | Path) -> dict[str, str]:
    """SHA-256 of the files with a published trunk's weights, by name."""
    import json

    from lifting_ros.io.checkpoint import sha256_of

    manifest = json.loads(Path(path).read_text(encoding="utf-8"))["weightsManifest"]
    names = [name for group in manifest for name in group["paths"]]
    return {name: sha256_of(Path(path).parent / name) for name in names}


def train_depth_cue(args: argparse.Namespace) -> None:
    """Find the rendered people, train the cue, and write the network's weights with it."""
    from lifting_ros.lifting.depth_cue import HEADER
    from lifting_ros.research.training import train_depth_cue as training

    config, estimator, found = open_people(args, training.DepthCueTrainConfig())
    rows = training.rows_of(found, estimator)
    weights, errors = training.train_depth_cue(config, rows, folder_of(args), args.every)
    card = {"people": len(rows.z), "error divided by size": rounded(errors, 4)}
    write_beside(args, HEADER, weights, config, card)


def train_joint_offsets(args: argparse.Namespace) -> None:
    """Find the rendered people, train the offsets, and write the network's weights with them."""
    from lifting_ros.lifting.joint_offsets import HEADER
    from lifting_ros.research.training import train_joint_offsets as training

    config, estimator, found = open_people(args, training.JointOffsetsTrainConfig())
    rows = training.rows_of(found, estimator)
    weights, errors = training.train_joint_offsets(config, rows, folder_of(args), args.every)
    quality = rounded(errors, 4)
    card = {"people": len(rows.used), "distance from the joints divided by extent": quality}
    write_beside(args, HEADER, weights, config, card)


def train_pose_correction(args: argparse.Namespace) -> None:
    """Lift virtual pictures and found people, train the correction and write it: that of ppca into
    a file of its own, that of a network beside it."""
    import dataclasses

    from lifting_ros.cli.recipes import read_recipe
    from lifting_ros.estimator import WEIGHTS
    from lifting_ros.io.checkpoint import half_precision, save_tensors
    from lifting_ros.lifting.lifting import Lifter
    from lifting_ros.lifting.pose_correction import PRIOR, SECTION
    from lifting_ros.prior.ppca import MixturePPCA
    from lifting_ros.research.datasets.mocap import find_mocap, read_mocap
    from lifting_ros.research.training import train_pose_correction as training
    from lifting_ros.research.training.mlp_trainer import balanced_pictures
    from lifting_ros.research.training.record import revision

    beside = args.what == POSE_CORRECTION
    config = read_recipe(training.RECIPES[args.what], args.recipe)
    prior = MixturePPCA.load(args.prior or WEIGHTS / "prior.npz")
    lifter = Lifter(prior)
    mocap = read_mocap(find_mocap(args.data))
    card: dict[str, Any] = {PRIOR: prior.digest()}
    found = None
    if beside:
        _, estimator, people = open_people(args, config)
        found = training.rows_of_people(lifter, people, estimator, config)
        card["people"] = len(people.up)

    known = mocap.select(~mocap.validation_rows())
    pictures = balanced_pictures(known, config.pictures, config.seed, config.posed)
    rows = training.rows_of_pictures(lifter, pictures, config.seed)
    weights, errors = training.train_pose_correction(
        config, rows, found, folder_of(args), args.every
    )
    card["missed, divided by size"] = rounded(errors, 4)
    if beside:
        write_beside(args, SECTION, weights, config, card)
        return

    card |= {"recipe": dataclasses.asdict(config), "revision": revision()}
    tensors = {f"{SECTION}.{name}": value for name, value in half_precision(weights).items()}
    save_tensors(Path(args.out), tensors, {"lifter": args.what, SECTION: card})
    print(f"{args.out}: {card}")


def open_people(args: argparse.Namespace, default: Any) -> tuple[Any, EstimatorConfig, FoundPeople]:
    """The recipe, the estimator, and the rendered people as it finds them; default: a recipe with
    `people` and `seed`."""
    from lifting_ros.cli.recipes import read_recipe
    from lifting_ros.estimator import EstimatorConfig
    from lifting_ros.research.datasets.found_people import LEAST_SCORE, open_found_people
    from lifting_ros.research.training.beside_network import render_people

    config = read_recipe(default, args.recipe)
    estimator = EstimatorConfig(device="cpu", weights=args.weights, min_person_score=LEAST_SCORE)
    work = Path(args.work)
    pack = args.synthetic or render_people(config.people, config.seed, Path(args.data), work)
    return config, estimator, open_found_people(estimator, Path(pack), config.people, work)


def write_beside(
    args: argparse.Namespace,
    section: str,
    weights: dict[str, torch.Tensor],
    config: Any,
    card: dict,
) -> None:
    """Write the weights of the network with those of `section`, and print its card."""
    import dataclasses

    from lifting_ros.estimator import EstimatorConfig, network_and_detector
    from lifting_ros.research.training.beside_network import save_beside
    from lifting_ros.research.training.record import revision

    network, _ = network_and_detector(EstimatorConfig(weights=args.weights))
    about = {"recipe": dataclasses.asdict(config), "revision": revision()}
    save_beside(network, section, weights, about | card, Path(args.out))
    print(f"{args.out}: {card}")


def train_lifter(args: argparse.Namespace) -> None:
    """Train and validate a lifter, and write its weights."""
    import dataclasses
    import time

    from lifting_ros.cli.recipes import read_recipe
    from lifting_ros.research.datasets.keypoint_errors import open_errors
    from lifting_ros.research.datasets.mocap import find_mocap, read_mocap
    from lifting_ros.research.datasets.relative_lsp import read_relative_lsp
    from lifting_ros.research.evaluation.lifting import lifter_errors
    from lifting_ros.research.evaluation.virtual_cameras import validation_poses
    from lifting_ros.research.training.record import revision
    from lifting_ros.research.training.train_relative import RelativeTrainConfig, train_relative
    from lifting_ros.research.training.train_stereo import StereoTrainConfig, train_stereo
    from lifting_ros.research.training.train_supervised import (
        SupervisedTrainConfig,
        train_supervised,
    )

    trainings = {
        "supervised": (SupervisedTrainConfig, train_supervised),
        "relative": (RelativeTrainConfig, train_relative),
        "stereo": (StereoTrainConfig, train_stereo),
    }
    recipe_class, train = trainings[args.what]
    config = read_recipe(recipe_class, args.recipe)
    begun = time.perf_counter()
    mocap = read_mocap(find_mocap(args.data))
    poses_m = validation_poses(mocap, VALIDATION_POSES)

    def evaluate(trained: Any) -> Quality:
        return lifter_errors(trained, poses_m)

    if args.what == "relative":
        crowd = read_relative_lsp(args.crowd) if args.crowd else None
        train = partial(train, crowd=crowd, start=Path(args.start) if args.start else None)
    if args.what == "supervised" and args.synthetic:
        train = partial(train, errors=open_errors(Path(args.synthetic), Path(args.work)))

    training_poses = mocap.select(~mocap.validation_rows())
    lifter = train(config, training_poses, folder_of(args), evaluate, args.every)

    quality = rounded(lifter_errors(lifter, validation_poses(mocap, FINAL_POSES)), 1)
    card = {
        "recipe": dataclasses.asdict(config),
        "revision": revision(),
        "mm": quality,
        "minutes": (time.perf_counter() - begun) / 60,
    }
    lifter.save(Path(args.out), card)
    print(f"{args.out}: {quality}")


def train_image(args: argparse.Namespace) -> None:
    """Train and validate a network from image to 3D, and write its weights."""
    import dataclasses

    from lifting_ros.cli.recipes import read_recipe
    from lifting_ros.estimator import WEIGHTS
    from lifting_ros.keypoints.network_weights import load_network
    from lifting_ros.prior.ppca import MixturePPCA
    from lifting_ros.research.evaluation.image_pose_measures import label_errors, rendered_errors
    from lifting_ros.research.evaluation.synthetic_people import read_rendered
    from lifting_ros.research.labels.label_crops import LabelSet
    from lifting_ros.research.labels.labels import read_label_folders
    from lifting_ros.research.training import train_image as training
    from lifting_ros.research.training.record import revision

    config = read_recipe(training.ImageTrainConfig, args.recipe)
    folders = read_label_folders(args.data)
    makers: list[dict] = []
    for each in folders:
        if each.about not in makers:
            makers.append(each.about)
    training_set = LabelSet(folders, False)
    validation_set = LabelSet(folders, True)
    people = read_rendered(Path(args.synthetic), RENDERED_PEOPLE) if args.synthetic else None
    weights = WEIGHTS / "lite.safetensors"
    trunk = load_network(weights, MixturePPCA.load(args.prior or WEIGHTS / "prior.npz"))

    def evaluate(trained: Any) -> Quality:
        errors = label_errors(trained, validation_set)
        if people is not None:
            errors |= rendered_errors(trained, people)
        return errors

    trained = training.train_image(
        config, training_set, trunk, folder_of(args), evaluate, args.every
    )
    quality = rounded(evaluate(trained), 1)
    card = {
        "recipe": dataclasses.asdict(config),
        "revision": revision(),
        "labels": len(training_set),
        "made by": makers[0] if len(makers) == 1 else makers,
        "mm": quality,
    }
    trained.save(Path(args.out), weights, card)
    print(f"{args.out}: {quality}")


def rounded(values: Quality, digits: int) -> Quality:
    """The same, rounded."""
    return {name: round(value, digits) for name, value in values.items()}
