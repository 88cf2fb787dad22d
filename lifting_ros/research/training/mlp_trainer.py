# SPDX-License-Identifier: Apache-2.0
"""Training of a residual network on annotated pictures. A batch depends only on the seed and the
step, so that a resumed training equals an uninterrupted one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lifting_ros.io.checkpoint import CheckpointError, load_tensors, reason
from lifting_ros.lifting.encoding import encode
from lifting_ros.lifting.residual_mlp import MLPLifter, Pose, ResidualMLP, ResidualMLPConfig
from lifting_ros.research.datasets.keypoint_errors import KeypointErrors
from lifting_ros.research.datasets.mocap import Mocap
from lifting_ros.research.datasets.pictured import (
    Disturbance,
    Pictured,
    disturb,
    mirror,
    picture,
)
from lifting_ros.research.training.fit_prior import training_poses
from lifting_ros.research.training.state import with_prefix
from lifting_ros.research.training.trainer import STATE, Schedule, Trainer, run


@dataclass(frozen=True)
class PictureTrainConfig(Schedule):
    """The common part of the recipes of the single-view lifters."""

    network: ResidualMLPConfig = field(
        default=ResidualMLPConfig(), metadata={"description": "architecture"}
    )
    images: int = field(
        default=200_000,
        metadata={
            "description": "annotated pictures, drawn from the motion capture",
            "range": (1, 10**7),
        },
    )
    samples: int = field(
        default=4_000_000, metadata={"description": "training pictures in all", "range": (1, 10**9)}
    )
    batch: int = field(
        default=256, metadata={"description": "pictures per step", "range": (2, 65536)}
    )
    learning_rate: float = field(
        default=1e-3, metadata={"description": "peak rate of Adam", "range": (0.0, 1.0)}
    )
    warmup: float = field(
        default=0.02,
        metadata={"description": "share of the steps with a rising rate", "range": (0.0, 1.0)},
    )
    clip: float = field(
        default=1.0,
        metadata={"description": "largest norm of the gradient; 0: any", "range": (0.0, 1e6)},
    )
    ema: float = field(
        default=0.999,
        metadata={"description": "decay of the averaged weights", "range": (0.0, 1.0)},
    )
    mirror: float = field(
        default=0.5, metadata={"description": "share of mirrored pictures", "range": (0.0, 1.0)}
    )
    posed: float = field(
        default=0.0,
        metadata={
            "description": "share of generated poses: sitting, squatting, lying and their like",
            "range": (0.0, 0.9),
        },
    )
    exact: float = field(
        default=0.33,
        metadata={
            "description": "share of pictures with all keypoints, exact",
            "range": (0.0, 1.0),
        },
    )
    noise_px: float = field(
        default=8.0,
        metadata={
            "description": "largest standard deviation of keypoints in the other pictures",
            "unit": "px",
            "range": (0.0, 100.0),
        },
    )
    missing: int = field(
        default=9,
        metadata={"description": "most keypoints missing in the other pictures", "range": (0, 12)},
    )
    real: float = field(
        default=0.0,
        metadata={
            "description": (
                "share of the inexact pictures with measured errors of the 2D side (--synthetic); "
                "the others have Gaussian noise"
            ),
            "range": (0.0, 1.0),
        },
    )
    half: float = field(
        default=0.0,
        metadata={
            "description": "share of the pictures in which a part of the body is out of view",
            "range": (0.0, 1.0),
        },
    )
    spread_steps: int = field(
        default=1500,
        metadata={
            "description": "last steps, in which only the covariances are learnt",
            "range": (0, 10**6),
        },
    )
    seed: int = field(
        default=0,
        metadata={
            "description": "seed of weights, pictures and annotators",
            "range": (0, 2**31 - 1),
        },
    )

    def disturbance(self, errors: KeypointErrors | None) -> Disturbance:
        """How keypoints differ from the true ones; errors: those that the 2D side made."""
        return Disturbance(
            exact=self.exact,
            noise_px=self.noise_px,
            missing=self.missing,
            real=self.real,
            half=self.half,
            errors=errors,
        )


def with_default(
    recipe: type,
    name: str,
    default: Any,
) -> Any:
    """The field `name` of a recipe with another default, for a subclass."""
    (known,) = [known for known in fields(recipe) if known.name == name]
    return field(default=default, metadata=known.metadata)


class Batch(NamedTuple):
    """The input of one training step."""

    encoded: Tensor
    """(B, 44)."""
    pictures: Pictured
    """(B, ...) mirrored as the input is, but without noise."""
    rows: np.ndarray
    """(B,) number of each picture in the training set."""
    mirrored: np.ndarray
    """(B,) bool."""


def balanced_pictures(
    mocap: Mocap,
    count: int,
    seed: int,
    posed: float = 0.0,
) -> Pictured:
    """`count` pictures of poses of `mocap`, drawn so that common poses do not dominate; posed:
    share of generated poses."""
    poses, weight, _ = training_poses(mocap, posed, seed)
    rng = np.random.default_rng((seed, 6))
    chosen = rng.choice(len(weight), count, p=weight / weight.sum())
    return picture(poses.positions_m[chosen], seed)


class PictureSource:
    """Makes batches from pictures. A batch depends only on the seed and the step."""

    def __init__(
        self,
        pictures: Pictured,
        config: PictureTrainConfig,
        errors: KeypointErrors | None = None,
        calibrated: float = 0.9,
    ):
        """errors: measured errors of the 2D side; calibrated: share of the pictures whose camera is
        known to the lifter."""
        self.pictures = pictures
        self.config = config
        self.disturbance = config.disturbance(errors)
        self.calibrated = calibrated

    def make(self, step: int) -> Batch:
        """The batch of a step."""
        config = self.config
        count = config.batch
        rng = np.random.default_rng((config.seed, step))
        rows = rng.integers(0, len(self.pictures.pitch), count)
        mirrored = rng.random(count) < config.mirror
        chosen = mirror(self.pictures.select(rows), mirrored)

        seen = disturb(chosen.rays, rng, self.disturbance)
        metric = rng.random(count)[:, None] < self.calibrated
        encoded = encode(*seen, chosen.pitch, metric)
        return Batch(torch.from_numpy(encoded), chosen, rows, mirrored)


class PictureTrainer(Trainer):
    """Training of a residual network on pictures. Subclasses define the loss."""

    def __init__(self, config: PictureTrainConfig, joints: int = 17):
        torch.manual_seed(config.seed)
        network = self.prepared(ResidualMLP(config.network, joints), config)
        network.spread.requires_grad_(False)
        learned = [value for value in network.parameters() if value.requires_grad]
        optimiser = torch.optim.Adam(learned, config.learning_rate, fused=True)
        super().__init__(config, network, optimiser)

    @abstractmethod
    def prepared(
        self,
        network: ResidualMLP,
        config: PictureTrainConfig,
    ) -> ResidualMLP:
        """The new network, initialised with the statistics of the training set."""

    @abstractmethod
    def loss(
        self,
        pose: Pose,
        batch: Batch,
    ) -> tuple[Tensor, dict[str, float]]:
        """Mean loss of a batch, and its terms for the curves."""

    def train_step(self, batch: Batch) -> dict[str, float]:
        """Take one optimiser step; returns the loss and its terms."""
        self.begin_step()
        with torch.autocast("cpu", torch.bfloat16):
            pose = self.network.train()(batch.encoded)

        loss, parts = self.loss(pose, batch)
        self.descend(loss, self.config.clip)

        return {"loss": loss.item()} | parts

    def averaged(self) -> ResidualMLP:
        """A network with the averaged weights."""
        network = ResidualMLP(self.config.network, self.network.joints)
        network.load_state_dict(self.average)
        return network.eval()


def run_training(  # noqa: PLR0913 - options with defaults
    trainer: PictureTrainer,
    source: PictureSource,
    folder: Path,
    as_lifter: Callable[[ResidualMLP], MLPLifter],
    evaluate: Callable[[MLPLifter], dict[str, float]] | None = None,
    every: int = 1000,
    start: Path | None = None,
) -> ResidualMLP:
    """Train to the end of the recipe; returns the averaged network.

    Resumes from the state in `folder`, if there is one. evaluate: called with a lifter of the
    averaged network every `every` steps; what it returns goes into `folder/validation.csv`. start:
    the state of another training, whose averaged weights are the initial ones.
    """
    if start is not None and not (folder / STATE).exists():
        load_weights(start, trainer)

    trainer.resume(folder)
    batches = map(source.make, range(trainer.step, trainer.config.steps))

    def evaluate_average() -> dict[str, float]:
        return evaluate(as_lifter(trainer.averaged()))

    validate = None if evaluate is None else evaluate_average
    run(trainer, batches, folder, validate, every, pictures=len(source.pictures.pitch))

    return trainer.averaged()


def load_weights(path: Path, trainer: PictureTrainer) -> None:
    """Start from the averaged weights in the state of another training; CheckpointError in one line
    if they do not fit."""
    tensors, _ = load_tensors(path)
    weights = with_prefix(tensors, "average.")

    try:
        trainer.network.load_state_dict(weights)
        for name, value in weights.items():
            trainer.average[name].copy_(value)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path}: the state of another network ({reason(error)})") from None
