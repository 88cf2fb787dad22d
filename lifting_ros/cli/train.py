# SPDX-License-Identifier: Apache-2.0
"""Train what ships, the multistage network (`lite`) or the person detector, or the supervised baseline of the lifter (`supervised`).

DATA holds keypoints2d/ (lspet, street, gym, people: annotations.npz beside images.tar) and negatives/; packs made of it are kept in WORK.
The supervised baseline needs mocap/ alone, and learns from all but the validation subjects.
A training that was stopped or killed goes on where it was when the same command is given again. At the end the averaged weights are
written to OUT in fp16 with recipe, seed, revision and measured quality in the header.
"""
from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["lite", "detector", "supervised"], help="the network, the person detector or the baseline")
    parser.add_argument("--data", required=True, metavar="DATA", help="folder with keypoints2d/ and negatives/, or mocap/")
    parser.add_argument("--out", required=True, metavar="OUT.safetensors", help="weights to write")
    parser.add_argument("--work", default=".cache", metavar="WORK", help="packs, states and curves (default .cache)")
    parser.add_argument("--recipe", default="", metavar="RECIPE.yaml", help="default: the values of config/train_*.yaml")
    parser.add_argument("--prior", default="", metavar="P.npz", help="pose prior of the fusion (default: the one that ships)")
    parser.add_argument("--synthetic", default="", metavar="FOLDER", help="pack of rendered people to train on as well (lite)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda[:n] (default cpu)")


def run(args: argparse.Namespace) -> int:
    data = Path(args.data)
    for folder in ("mocap",) if args.what == "supervised" else ("keypoints2d", "negatives"):
        if not (data / folder).is_dir():
            raise ValueError(f"--data: {data / folder} is not there")
    return {"lite": train_lite, "detector": train_detector, "supervised": train_supervised}[args.what](args, data)


def train_lite(args: argparse.Namespace, data: Path) -> int:
    """Packs, training with validation on the way, weights."""
    import dataclasses

    from lifting_ros.core.fusion import PriorFusion
    from lifting_ros.core.pipeline import WEIGHTS
    from lifting_ros.core.ppca import MixturePPCA
    from lifting_ros.data.pack import open_packs, read_pack
    from lifting_ros.evaluation.keypoints import pck_of_weights
    from lifting_ros.training.train_network import TrainConfig, save_trained, train

    config = recipe(TrainConfig, args.recipe)
    packs = open_packs(data, Path(args.work) / "packs")
    if args.synthetic:
        packs.append(read_pack(args.synthetic)._replace(name="synthetic"))
    prior = MixturePPCA.load(args.prior or WEIGHTS / "prior.npz")
    folder = Path(args.work) / "train_lite"

    def evaluate(weights: dict) -> dict[str, float]:
        return pck_of_weights(weights, config.network, prior, packs, args.device)

    weights = train(config, packs, PriorFusion(prior, config.network.stages), folder, args.device, evaluate)
    quality = {name: round(value, 4) for name, value in evaluate(weights).items()}
    card = {"seed": config.seed, "revision": revision(), "pck": quality, "packs": {p.name: int((~p.validation).sum()) for p in packs}}
    save_trained(Path(args.out), weights, dataclasses.replace(config), card)
    print(f"{args.out}: {quality}")
    return 0


def train_detector(args: argparse.Namespace, data: Path) -> int:
    """Scenes, training, weights."""
    from lifting_ros.training.train_detector import DetectorTrainConfig, save_detector, train_detector

    config = recipe(DetectorTrainConfig, args.recipe)
    weights = train_detector(config, data, Path(args.work) / "train_detector")
    save_detector(Path(args.out), weights, config, {"seed": config.seed, "revision": revision()})
    print(args.out)
    return 0


def train_supervised(args: argparse.Namespace, data: Path) -> int:
    """Training with validation on the way, weights."""
    import dataclasses

    from lifting_ros.data.mocap import read_mocap
    from lifting_ros.evaluation.lifting import supervised_errors
    from lifting_ros.evaluation.virtual_cameras import validation_poses
    from lifting_ros.training.train_supervised import SupervisedTrainConfig, train_supervised

    config = recipe(SupervisedTrainConfig, args.recipe)
    mocap = read_mocap(data / "mocap" / "cmu17_10fps_dev.npz")
    poses = validation_poses(mocap, 500)

    def evaluate(trained) -> dict[str, float]:
        return supervised_errors(trained, poses)

    lifter = train_supervised(config, mocap.select(~mocap.validation_rows()), Path(args.work) / "train_supervised", evaluate)
    quality = {name: round(value, 1) for name, value in evaluate(lifter).items()}
    lifter.save(Path(args.out), {"recipe": dataclasses.asdict(config), "revision": revision(), "mm": quality})
    print(f"{args.out}: {quality}")
    return 0


def recipe(kind, path: str):
    """A recipe of dataclass `kind` from YAML, or its defaults."""
    from lifting_ros.core.config import from_mapping, read_yaml

    return from_mapping(kind, read_yaml(path) or {}) if path else kind()


def revision() -> str:
    """The checkout's revision, empty outside one."""
    import subprocess

    here = Path(__file__).parent
    try:
        answer = subprocess.run(["git", "-C", str(here), "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
