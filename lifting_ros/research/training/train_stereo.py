# SPDX-License-Identifier: Apache-2.0
"""Training of the stereoscopic lifter: motion capture seen by pairs of virtual cameras, which are
drawn anew at each step.

Both networks are trained at once: the second one reads the view that the first one predicts, as it
does when lifting. Some subjects are excluded (`covariance_head.calibration_rows`) to calibrate the
covariances. In the paper the two networks are trained one after the other on squared standardised
errors. Here the loss is the distance of keypoints and of joints, which is less sensitive to
outliers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lifting_ros.lifting.stereo import StereoLifter
from lifting_ros.lifting.stereo_network import Statistics, StereoConfig, StereoNetwork, StereoOutput
from lifting_ros.prior.ppca import mirrored
from lifting_ros.research.datasets.mocap import Mocap
from lifting_ros.research.datasets.stereo_views import Sight, StereoViews, make_stereo_views
from lifting_ros.research.training.calibrate_stereo import calibrated
from lifting_ros.research.training.covariance_head import calibration_rows
from lifting_ros.research.training.fit_prior import stature, training_poses, vary_build
from lifting_ros.research.training.trainer import Schedule, Trainer, run

STATISTICS_VIEWS = 8192
"""Number of views from which means and standard deviations are taken."""


@dataclass(frozen=True)
class StereoTrainConfig(Schedule):
    """The recipe of the stereoscopic lifter; `config/train_stereo.yaml` is the one that ships."""

    network: StereoConfig = field(default=StereoConfig(), metadata={"description": "architecture"})
    sight: Sight = field(default=Sight(), metadata={"description": "how people are seen"})
    search: bool = field(
        default=True,
        metadata={
            "description": "whether joints move towards the rays of their keypoints when lifting"
        },
    )
    samples: int = field(
        default=3_000_000, metadata={"description": "training views in all", "range": (1, 10**9)}
    )
    batch: int = field(default=256, metadata={"description": "views per step", "range": (2, 65536)})
    learning_rate: float = field(
        default=1e-3, metadata={"description": "peak rate of Adam", "range": (0.0, 1.0)}
    )
    warmup: float = field(
        default=0.02,
        metadata={"description": "share of the steps with a rising rate", "range": (0.0, 1.0)},
    )
    ema: float = field(
        default=0.999,
        metadata={"description": "decay of the averaged weights", "range": (0.0, 1.0)},
    )
    view_weight: float = field(
        default=0.3,
        metadata={"description": "weight of the second view's error", "range": (0.0, 100.0)},
    )
    mirror: float = field(
        default=0.5, metadata={"description": "share of mirrored poses", "range": (0.0, 1.0)}
    )
    posed: float = field(
        default=0.35,
        metadata={
            "description": "share of generated poses: sitting, squatting, lying and their like",
            "range": (0.0, 0.9),
        },
    )
    varied: float = field(
        default=0.5,
        metadata={
            "description": "share of poses on bodies of other proportions",
            "range": (0.0, 1.0),
        },
    )
    seed: int = field(
        default=0, metadata={"description": "seed of weights and views", "range": (0, 2**31 - 1)}
    )


class StereoSource:
    """Makes batches of views. A batch depends only on the seed and the step, so that a resumed
    training equals an uninterrupted one."""

    def __init__(self, mocap: Mocap, config: StereoTrainConfig):
        poses, weight, _ = training_poses(mocap, config.posed, config.seed)
        self.positions_m = poses.positions_m
        self.config = config
        self.share = np.cumsum(weight) / weight.sum()

    def make(self, step: int, count: int = 0) -> StereoViews:
        """`count` views, a batch by default."""
        config = self.config
        count = count or config.batch
        rng = np.random.default_rng((config.seed, step))

        # Poses, of which common ones do not dominate
        rows = np.searchsorted(self.share, rng.random(count))
        rows = rows.clip(max=len(self.share) - 1)
        poses = self.positions_m[rows]

        # Some mirrored, some on bodies of other proportions
        is_mirrored = rng.random(count) < config.mirror
        poses = np.where(is_mirrored[:, None, None], mirrored(poses), poses)
        is_varied = rng.random(count) < config.varied
        poses = np.where(is_varied[:, None, None], vary_build(poses, rng), poses)

        return make_stereo_views(poses, config.sight, config.network.baseline, rng)

    def statistics(self) -> Statistics:
        """Means and standard deviations of the training set, from separate views."""
        views = self.make(self.config.steps, STATISTICS_VIEWS)
        context = _mean_and_std(views.context)
        joints = _mean_and_std(views.joints)
        context[1].clamp_(min=1e-3)  # for constant inputs, such as the noise in an exact recipe

        shift = (views.right - views.left)[..., 0]
        differences = shift - shift.mean(1, keepdims=True)
        std = np.sqrt(np.mean(differences**2))
        return Statistics(context, torch.tensor([shift.mean(), std]), joints)


def _mean_and_std(values: np.ndarray) -> Tensor:
    """(2, ...) over the first axis, without NaN."""
    return torch.from_numpy(np.stack([np.nanmean(values, 0), np.nanstd(values, 0)]))


class StereoTrainer(Trainer):
    """Training of the stereoscopic network."""

    def __init__(self, config: StereoTrainConfig, statistics: Statistics):
        torch.manual_seed(config.seed)
        network = StereoNetwork(config.network)
        network.use(statistics)
        optimiser = torch.optim.Adam(network.parameters(), config.learning_rate, fused=True)
        super().__init__(config, network, optimiser)

    def train_step(self, views: StereoViews) -> dict[str, float]:
        """Take one optimiser step; returns the mean errors of the second view (divided by the
        person's extent) and of the joints (divided by the person's size)."""
        self.begin_step()
        given = (views.view.points(), views.view.seen, views.context)
        inputs = [torch.from_numpy(value).float() for value in given]
        with torch.autocast("cpu", torch.bfloat16):
            found = self.network.train()(*inputs)

        right = torch.from_numpy(views.right).float()
        joints = torch.from_numpy(views.joints).float()
        loss, parts = losses(found, right, joints, self.config.view_weight)
        self.descend(loss)

        return {name: part.item() for name, part in parts.items()}


def losses(
    found: StereoOutput,
    right: Tensor,
    joints: Tensor,
    view_weight: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss and its parts: mean distances in the second view (N, 14, 2) and of the joints (N,
    17, 3), and the negative log likelihood of the errors, whose gradient reaches only the standard
    deviations."""
    parts = {"joints": _distance(found.joints, joints)}
    loss = parts["joints"]

    if found.right is not None:
        parts["view"] = _distance(found.right, right)
        loss = loss + view_weight * parts["view"]

    deviation = found.deviation[:, 1:].clamp(min=1e-4)
    missed = (found.joints - joints)[:, 1:].detach()
    standardised = missed / deviation
    likelihood = 0.5 * standardised.square() + deviation.log()
    parts["deviation"] = likelihood.mean()

    return loss + parts["deviation"], parts


def _distance(found: Tensor, truth: Tensor) -> Tensor:
    missed = found - truth
    square = missed.square().sum(-1)
    return (square + 1e-8).sqrt().mean()


def train_stereo(
    config: StereoTrainConfig,
    mocap: Mocap,
    folder: Path,
    evaluate: Callable[[StereoLifter], dict[str, float]] | None = None,
    every: int = 1000,
) -> StereoLifter:
    """Train on the poses of `mocap` to the end of the recipe, resuming from the state in `folder`,
    if there is one; then calibrate the covariances.

    evaluate: called with the averaged network every `every` steps; what it returns goes into
    `folder`/validation.csv.
    """
    held = calibration_rows(mocap)
    source = StereoSource(mocap.select(~held), config)
    size = stature(mocap)
    trainer = StereoTrainer(config, source.statistics())
    trainer.resume(folder)
    batches = map(source.make, range(trainer.step, config.steps))

    def evaluate_average() -> dict[str, float]:
        return evaluate(averaged(trainer, size))

    validate = None if evaluate is None else evaluate_average
    counts = {"poses": int((~held).sum()), "held_back": int(held.sum())}
    run(trainer, batches, folder, validate, every, **counts)

    strangers = StereoSource(mocap.select(held), config)
    views = strangers.make(config.steps + 1, STATISTICS_VIEWS)
    return calibrated(averaged(trainer, size), views)


def averaged(trainer: StereoTrainer, size: tuple[float, float]) -> StereoLifter:
    """A lifter with the averaged weights, not calibrated. size: mean and standard deviation of the
    size of people, metres."""
    config = trainer.config
    network = StereoNetwork(config.network)
    network.load_state_dict(trainer.average)
    mean_m, std_m = size
    return StereoLifter(network.eval(), mean_m, std_m, search=config.search)
