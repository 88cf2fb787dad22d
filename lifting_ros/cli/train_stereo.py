# SPDX-License-Identifier: Apache-2.0
"""The part of `lifting train` for the stereoscopic lifter."""
from __future__ import annotations

import argparse
from pathlib import Path


def train_stereo(args: argparse.Namespace, data: Path) -> int:
    """Training with validation on the way, covariances on people held back, weights."""
    import dataclasses

    from lifting_ros.cli.train import recipe
    from lifting_ros.data.mocap import read_mocap
    from lifting_ros.evaluation.stereo import stereo_errors
    from lifting_ros.evaluation.virtual_cameras import validation_poses
    from lifting_ros.training import train_stereo as training
    from lifting_ros.training.record import revision

    config = recipe(training.StereoTrainConfig, args.recipe)
    mocap = read_mocap(data / "mocap" / "cmu17_10fps_dev.npz")
    poses = validation_poses(mocap, 500)

    def evaluate(trained) -> dict[str, float]:
        return stereo_errors(trained, poses)

    folder = Path(args.run or Path(args.work) / "train_stereo")
    lifter = training.train_stereo(config, mocap.select(~mocap.validation_rows()), folder, evaluate, args.every)
    quality = {name: round(value, 1) for name, value in evaluate(lifter).items()}
    lifter.save(Path(args.out), {"recipe": dataclasses.asdict(config), "revision": revision(), "measured": quality})
    print(f"{args.out}: {quality}")
    return 0
