# SPDX-License-Identifier: Apache-2.0
"""Training of the supervised baseline: the network and the pictures of relative depth, with 3D
joints as labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from lifting_ros.lifting.residual_mlp import MLPLifter, Pose, ResidualMLP, SupervisedLifter
from lifting_ros.research.datasets.keypoint_errors import KeypointErrors
from lifting_ros.research.datasets.mocap import Mocap
from lifting_ros.research.datasets.pictured import Pictured
from lifting_ros.research.training.covariance_head import (
    calibration_rows,
    fit_inflation,
    fit_spread,
)
from lifting_ros.research.training.fit_prior import stature
from lifting_ros.research.training.mlp_trainer import (
    Batch,
    PictureSource,
    PictureTrainConfig,
    PictureTrainer,
    balanced_pictures,
    run_training,
    with_default,
)


@dataclass(frozen=True)
class SupervisedTrainConfig(PictureTrainConfig):
    """The recipe of the supervised baseline; `config/train_supervised.yaml` ships."""

    samples: int = with_default(PictureTrainConfig, "samples", 3_000_000)
    posed: float = with_default(PictureTrainConfig, "posed", 0.35)
    real: float = with_default(PictureTrainConfig, "real", 0.6)
    half: float = with_default(PictureTrainConfig, "half", 0.15)
    loss: str = field(
        default="squared",
        metadata={
            "description": "of standardised joints, squared; or the distance of joints",
            "choices": ("squared", "distance"),
        },
    )


class SupervisedTrainer(PictureTrainer):
    """Regression of joints about the root in units of the person's size, standardised by the
    statistics of the training set."""

    def __init__(self, config: SupervisedTrainConfig, pictures: Pictured):
        self._pictures = pictures
        super().__init__(config)

    def prepared(self, network: ResidualMLP, config: PictureTrainConfig) -> ResidualMLP:
        joints = torch.from_numpy(self._pictures.joints)
        mean = joints.mean(0)
        std = joints.std(0).clamp_min(1e-3)

        network.middle.copy_(mean)
        network.unit.data.copy_(std)
        network.unit.requires_grad_(False)
        return network

    def loss(self, pose: Pose, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        truth = torch.from_numpy(batch.pictures.joints)
        missed = pose.joints - truth  # (B, 17, 3)
        square = missed.square().sum(-1)
        distance = (square + 1e-8).sqrt().mean()
        values = {"distance": distance.item()}
        if self.config.loss != "squared":
            return distance, values

        # Without the root, which is the origin
        standardised = missed[:, 1:] / self.network.unit[1:]
        return standardised.square().mean(), values


def train_supervised(
    config: SupervisedTrainConfig,
    mocap: Mocap,
    folder: Path,
    evaluate: Callable[[MLPLifter], dict[str, float]] | None = None,
    every: int = 1000,
    errors: KeypointErrors | None = None,
) -> SupervisedLifter:
    """Train on `mocap` without the poses that calibrate the covariances, resuming from the state in
    `folder`, if there is one.

    evaluate: called with a lifter of the averaged network every `every` steps; what it returns goes
    into `folder`/validation.csv. errors: measured errors of the 2D side on rendered people.
    """
    strangers = calibration_rows(mocap)
    known = mocap.select(~strangers)
    size = stature(mocap)

    # Poses
    pictures = balanced_pictures(known, config.images, config.seed, config.posed)
    source = PictureSource(pictures, config, errors)
    network = run_training(
        SupervisedTrainer(config, source.pictures),
        source,
        folder,
        lambda trained: SupervisedLifter(trained, size),
        evaluate,
        every,
    )

    # Covariances
    fit_spread(network, source, config.spread_steps, SupervisedLifter.normalised)
    lifter = SupervisedLifter(network, size)
    fit_inflation(
        lifter, mocap.select(strangers), config.seed, source.disturbance, posed=config.posed
    )

    return lifter
