# SPDX-License-Identifier: Apache-2.0
"""The part of `lifting train` for the network from image to 3D."""

from __future__ import annotations

import argparse
from pathlib import Path


def train_image(args: argparse.Namespace, data: Path) -> int:
    """Training with validation on the way, weights. --synthetic: rendered people whose truth it is
    measured against."""
    import dataclasses

    from lifting_ros.cli.train import recipe
    from lifting_ros.estimator import WEIGHTS
    from lifting_ros.io.checkpoint import load_network
    from lifting_ros.prior.ppca import MixturePPCA
    from lifting_ros.research.evaluation.image_pose_measures import label_errors, rendered_errors
    from lifting_ros.research.evaluation.synthetic_people import read_rendered
    from lifting_ros.research.labels.label_crops import LabelSet
    from lifting_ros.research.labels.labels import read_labels
    from lifting_ros.research.training import train_image as training
    from lifting_ros.research.training.record import revision

    config, labels = recipe(training.ImageTrainConfig, args.recipe), read_labels(data)
    learn, validate = (LabelSet([labels], side) for side in (False, True))
    people = read_rendered(Path(args.synthetic), 500) if args.synthetic else None
    weights = WEIGHTS / "lite.safetensors"
    trunk = load_network(weights, MixturePPCA.load(args.prior or WEIGHTS / "prior.npz"))

    def evaluate(trained) -> dict[str, float]:
        return label_errors(trained, validate) | (
            rendered_errors(trained, people) if people is not None else {}
        )

    trained = training.train_image(
        config,
        learn,
        trunk,
        Path(args.run or Path(args.work) / "train_image"),
        evaluate,
        args.every,
    )
    quality = {name: round(value, 1) for name, value in evaluate(trained).items()}
    card = {
        "recipe": dataclasses.asdict(config),
        "revision": revision(),
        "labels": len(learn),
        "made by": labels.about,
        "mm": quality,
    }
    trained.save(Path(args.out), weights, card)
    print(f"{args.out}: {quality}")
    return 0
