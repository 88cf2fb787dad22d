# SPDX-License-Identifier: Apache-2.0
"""Train the multistage network (`full` or `lite`, or the paper's own architecture: `paper`), the
supervised baseline of the lifter (`supervised`), the lifter that learns from which of two joints is
farther away (`relative`), the stereoscopic one (`stereo`), or the network from image to 3D that
labelled photographs train (`image`).

DATA holds keypoints2d/ (lspet, street, gym, people, scenes: annotations.npz beside images.tar) and
negatives/, and body/ and mocap/ for the rendered people (which need the package embreex); packs
made of it are kept in WORK: other photographs want another WORK. `full` and `lite` start from a
published trunk: --trunk, MoveNet Thunder or Lightning as a graph model. The lifters need mocap/
alone, and learn from all but the validation subjects; comparisons of joints are simulated from it,
or come from a crowd: --crowd, the published comparisons on Leeds Sports Pose (.json), with a recipe
of 14 joints. For `image` DATA is a folder that `lifting label` wrote. A training that was stopped
or killed goes on where it was when the same command is given again; started by `torchrun
--nproc-per-node N -m lifting_ros.cli.main` in place of `lifting` that of `full`, `lite` or `paper`
is shared among N GPUs or processes. The folder of the training, RUN, keeps recipe, revision, curves
(CSV, PNG, TensorBoard where that is installed) and states. At the end the averaged weights are
written to OUT in fp16 with recipe, seed, revision and measured quality in the header.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

LIFTERS = ("supervised", "relative", "stereo")
"""Lifters that are networks."""
WITHOUT_RENDERER = "; or a recipe that renders nothing (rendered: 0 and rooms: 0)"
"""What the command line adds where the renderer is missing."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = ["full", "lite", "paper", *LIFTERS, "image"]
    parser.add_argument(
        "what", choices=kinds, help="a network of keypoints, a lifter, or image to 3D"
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
        help="published network to start from (full, lite)",
    )
    parser.add_argument(
        "--start",
        default="",
        metavar="STATE",
        help="another training's state to begin with (networks, relative)",
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
        help="pose prior of the fusion (default: the one that ships)",
    )
    parser.add_argument(
        "--synthetic",
        default="",
        metavar="FOLDER",
        help="rendered people: not those made here; image: measured on them",
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
    from lifting_ros.cli.main import CommandError
    from lifting_ros.cli.train_image import train_image

    data = Path(args.data)
    for folder in {"image": ()}.get(
        args.what, ("mocap",) if args.what in LIFTERS else ("keypoints2d", "negatives")
    ):
        if not (data / folder).is_dir():
            raise CommandError(f"--data: {data / folder} is not there")
    if (
        args.start and os.environ.get("RANK", "0") == "0" and not Path(args.start).is_file()
    ):  # of several machines the first reads it
        raise CommandError(f"--start: {args.start}: no such file")
    if not Path(args.out).absolute().parent.is_dir():
        raise CommandError(f"--out: {args.out}: the folder does not exist")
    if args.every < 1 or args.workers < 0:
        raise CommandError("--every, --workers: expected at least 1 step and 0 processes")
    kinds = {"image": train_image} | dict.fromkeys(LIFTERS, train_lifter)
    return kinds.get(args.what, train_multistage)(args, data)


def train_multistage(args: argparse.Namespace, data: Path) -> int:
    """Packs, training with validation on the way, covariances of its keypoints, weights."""
    import dataclasses

    from lifting_ros.estimator import WEIGHTS
    from lifting_ros.io.checkpoint import fusion_of
    from lifting_ros.keypoints.inference import NetworkRunner
    from lifting_ros.prior.ppca import MixturePPCA
    from lifting_ros.research.datasets.splits import rows_of
    from lifting_ros.research.evaluation.keypoint_calibration import fit_noise
    from lifting_ros.research.evaluation.keypoints import network_of, pck_of_weights
    from lifting_ros.research.training import distributed
    from lifting_ros.research.training.record import revision
    from lifting_ros.research.training.train_network import RECIPES, save_trained, train

    config, prior = (
        recipe(RECIPES[args.what], args.recipe),
        MixturePPCA.load(args.prior or WEIGHTS / "prior.npz"),
    )
    trunk = trunk_of(args.trunk, config.network.variant) if args.trunk else None
    origin = {"trunk": published_files(args.trunk)} if args.trunk else {}
    device = distributed.join(args.device)
    with distributed.first_alone():
        packs = packs_of(args, data, config)
    folder = Path(args.run or Path(args.work) / f"train_{args.what}")

    def evaluate(weights: dict) -> dict[str, float]:
        return pck_of_weights(weights, config.network, prior, packs, device)

    start = Path(args.start) if args.start else None
    weights = train(
        config,
        packs,
        fusion_of(config.network, prior),
        folder,
        args.device,
        evaluate,
        args.every,
        args.workers,
        start,
        trunk,
        cutouts_of(data),
    )
    if distributed.rank_and_world()[0] == 0:
        noise = fit_noise(NetworkRunner(network_of(weights, config.network, prior), device), packs)
        quality = {name: round(value, 4) for name, value in evaluate(weights).items()}
        counts = {p.name: int(rows_of(p.validation, "train").sum()) for p in packs}
        card = {
            "seed": config.seed,
            "revision": revision(),
            "pck": quality,
            "packs": counts,
        } | origin
        save_trained(
            Path(args.out),
            weights,
            dataclasses.replace(config, network=dataclasses.replace(config.network, **noise)),
            card,
        )
        print(f"{args.out}: {quality}")
    return 0


def trunk_of(path: str, variant: str) -> dict:
    """The weights of a published trunk; CommandError where it is not that of the network's variant."""
    from lifting_ros.cli.main import CommandError
    from lifting_ros.keypoints.network_trunk import TRUNK_WIDTHS
    from lifting_ros.keypoints.trunk import mobilenet_shape
    from lifting_ros.research.graph_model import read_trunk

    if variant not in TRUNK_WIDTHS:
        raise CommandError(f"--trunk: the network `{variant}` has no such trunk")
    trunk = read_trunk(path)
    found, expected = trunk.backbone.stem.out_channels, mobilenet_shape(TRUNK_WIDTHS[variant]).stem
    if found != expected:
        raise CommandError(
            f"--trunk: {path}: its first layer has {found} channels, that of `{variant}` {expected}"
        )
    return trunk.state_dict()


def published_files(path: str) -> dict[str, str]:
    """SHA-256 of the files with a published trunk's weights, by name."""
    import json

    from lifting_ros.io.checkpoint import sha256_of

    manifest = json.loads(Path(path).read_text(encoding="utf-8"))["weightsManifest"]
    return {
        name: sha256_of(Path(path).parent / name) for group in manifest for name in group["paths"]
    }


def packs_of(args: argparse.Namespace, data: Path, config) -> list:
    """The packs of the photographs, of the rendered people and of the detector's false alarms, made
    where they are not there yet.

    What is only read comes first: a damaged file is told before anything is rendered.
    """
    from lifting_ros.detection.detector import DetectorConfig, load_detector
    from lifting_ros.estimator import WEIGHTS
    from lifting_ros.io.checkpoint import sha256_of
    from lifting_ros.research.datasets.false_alarms import (
        LONG_SIDE_PX,
        SCORE,
        SIZE,
        open_false_alarms,
    )
    from lifting_ros.research.datasets.pack import open_packs, read_pack
    from lifting_ros.research.rendering.synthetic import write_pack, write_scenes

    work, side, seed, weights = (
        Path(args.work),
        config.window_px,
        config.seed,
        WEIGHTS / "detector.safetensors",
    )
    packs = open_packs(data, work / f"packs{side}", side)
    detector = load_detector(weights, DetectorConfig(score=SCORE, long_side_px=LONG_SIDE_PX))
    people = Path(args.synthetic or work / f"synthetic{config.rendered}_{side}px_seed{seed}")
    if config.rendered and not args.synthetic:
        render_once(people, partial(write_pack, n=config.rendered, size=side, seed=seed), data)
    if config.rendered or args.synthetic:
        packs.append(read_pack(people)._replace(name="synthetic"))
    rooms = work / f"rooms{config.rooms}_seed{seed}" if config.rooms else None
    if rooms:
        render_once(
            rooms, partial(write_scenes, n=config.rooms, size=SIZE, seed=seed, people=False), data
        )
    alarms = (
        work / f"packs{side}" / f"alarms_rooms{config.rooms}_seed{seed}_{sha256_of(weights)[:8]}"
    )
    return [*packs, open_false_alarms(alarms, detector, data, rooms, side)]


def render_once(folder: Path, write: Callable, data: Path) -> None:
    """Rendered pictures in `folder`, made by `write` where they are not there yet."""
    from lifting_ros.cli.render import MOCAP
    from lifting_ros.research.datasets.made_once import make_once
    from lifting_ros.research.datasets.negatives import read_negatives
    from lifting_ros.research.rendering.synthetic_pack import VERSION

    def make(out: Path) -> None:
        backgrounds = read_negatives(data / "negatives", "training")
        write(
            out, body_dir=data / "body", mocap_npz=data / "mocap" / MOCAP, backgrounds=backgrounds
        )

    make_once(folder, VERSION, make)


def cutouts_of(data: Path) -> list:
    """The persons of the training photographs of `street` who have a mask, cut out; none where the
    set is not there."""
    from lifting_ros.research.datasets.keypoints2d import read_photo_set
    from lifting_ros.research.datasets.scene_parts import read_cutouts
    from lifting_ros.research.datasets.splits import rows_of

    folder = data / "keypoints2d" / "street"
    if not (folder / "masks.tar").is_file():
        return []
    street = read_photo_set(folder.parent, folder.name)
    return read_cutouts(folder, street, rows_of(street.validation, "train"))


def train_lifter(args: argparse.Namespace, data: Path) -> int:
    """Training with validation on the way, weights."""
    import dataclasses
    import time

    from lifting_ros.research.datasets.mocap import read_mocap
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

    kind, train = {
        "supervised": (SupervisedTrainConfig, train_supervised),
        "relative": (RelativeTrainConfig, train_relative),
        "stereo": (StereoTrainConfig, train_stereo),
    }[args.what]
    config, start = recipe(kind, args.recipe), time.perf_counter()
    mocap = read_mocap(data / "mocap" / "cmu17_10fps_dev.npz")
    poses = validation_poses(mocap, 125)

    def evaluate(trained) -> dict[str, float]:
        return lifter_errors(trained, poses)

    folder = Path(args.run or Path(args.work) / f"train_{args.what}")
    if args.what == "relative":
        crowd = read_relative_lsp(args.crowd) if args.crowd else None
        train = partial(train, crowd=crowd, start=Path(args.start) if args.start else None)
    lifter = train(config, mocap.select(~mocap.validation_rows()), folder, evaluate, args.every)
    quality = {
        name: round(value, 1)
        for name, value in lifter_errors(lifter, validation_poses(mocap, 500)).items()
    }
    card = {
        "recipe": dataclasses.asdict(config),
        "revision": revision(),
        "mm": quality,
        "minutes": (time.perf_counter() - start) / 60,
    }
    lifter.save(Path(args.out), card)
    print(f"{args.out}: {quality}")
    return 0


def recipe(default, path: str):
    """A recipe from YAML, or `default` (a dataclass or one of its values) where no file is named."""
    from lifting_ros.config import from_mapping, read_yaml

    kind = default if isinstance(default, type) else type(default)
    return (
        from_mapping(kind, read_yaml(path) or {})
        if path
        else kind()
        if kind is default
        else default
    )
