# SPDX-License-Identifier: Apache-2.0
"""Training of the multistage network on packs of photographs, end to end. It can be resumed; the
seed determines the samples.

The first `fusion_from` samples train the plain network: belief maps must be meaningful before they
can be lifted. Then the fusion layers join, and everything is trained together, including their
weights w_t. The rate stays level until the last `decay` of the samples, so that a training can be
made longer afterwards: the state before the fall, `level.safetensors`, is kept.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from lifting_ros.keypoints import belief_maps
from lifting_ros.keypoints.network import LITE, PAPER, MultistageNetwork, NetworkConfig, NoFusion
from lifting_ros.keypoints.network_paper import SIGMA_CELLS
from lifting_ros.keypoints.network_weights import save_network
from lifting_ros.research.datasets.pack import Pack
from lifting_ros.research.datasets.scene_parts import Cutout
from lifting_ros.research.training import distributed
from lifting_ros.research.training.augmentation import AugmentationConfig
from lifting_ros.research.training.batches import Batch, Batches, parse_shares
from lifting_ros.research.training.losses import (
    presence_loss,
    stage_losses,
    target_maps,
    trunk_labels,
)
from lifting_ros.research.training.state import load_state
from lifting_ros.research.training.trainer import Schedule, Trainer, run
from lifting_ros.research.training.trunk_parts import freeze, rate_groups


@dataclass(frozen=True)
class TrainConfig(Schedule):
    """The recipe of a network; `config/train_full.yaml` is the one of the default."""

    network: NetworkConfig = field(
        default=NetworkConfig(), metadata={"description": "architecture"}
    )
    augmentation: AugmentationConfig = field(
        default=AugmentationConfig(), metadata={"description": "augmentation"}
    )
    trunk_trained: str = field(
        default="frozen",
        metadata={
            "description": (
                "what of the trunk is trained: nothing, its pyramid and heads, or its deep blocks "
                "too"
            ),
            "choices": ("frozen", "pyramid", "deep"),
        },
    )
    trunk_rate: float = field(
        default=0.1,
        metadata={"description": "rate of the trunk, relative to the stages'", "range": (0.0, 1.0)},
    )
    trunk_teaches: float = field(
        default=0.3,
        metadata={
            "description": "weight of the trunk's own output where a keypoint has no label",
            "range": (0.0, 1.0),
        },
    )
    noise_fitted: bool = field(
        default=True,
        metadata={
            "description": (
                "whether the covariances of keypoints are fitted on the validation rows at the end;"
                " false: network.noise_* stay, for photographs without labels by hand"
            )
        },
    )
    samples: int = field(
        default=24_000, metadata={"description": "training crops in all", "range": (1, 10**9)}
    )
    batch: int = field(
        default=32,
        metadata={"description": "crops per step, all processes together", "range": (1, 65536)},
    )
    optimiser: str = field(
        default="adamw",
        metadata={"description": "adamw, or sgd with momentum", "choices": ("adamw", "sgd")},
    )
    learning_rate: float = field(
        default=2e-3, metadata={"description": "level rate", "range": (0.0, 10.0)}
    )
    warmup: int = field(
        default=1_000, metadata={"description": "crops with a rising rate", "range": (0, 10**9)}
    )
    decay: float = field(
        default=0.5,
        metadata={
            "description": "share of the crops, the last ones, with a falling rate",
            "range": (0.0, 1.0),
        },
    )
    momentum: float = field(
        default=0.9, metadata={"description": "momentum of sgd", "range": (0.0, 1.0)}
    )
    weight_decay: float = field(
        default=0.02, metadata={"description": "weight decay", "range": (0.0, 1.0)}
    )
    clip: float = field(
        default=5.0,
        metadata={"description": "largest norm of a step's gradient; 0: any", "range": (0.0, 1e6)},
    )
    ema: float = field(
        default=0.995,
        metadata={"description": "decay of the averaged weights", "range": (0.0, 1.0)},
    )
    precision: str = field(
        default="float32",
        metadata={"description": "of the convolutions", "choices": ("bfloat16", "float32")},
    )
    sigma: float = field(
        default=1.0,
        metadata={
            "description": "width of the target belief",
            "unit": "cells",
            "range": (0.3, 5.0),
        },
    )
    fusion_from: int = field(
        default=4_000, metadata={"description": "crops before fusion starts", "range": (0, 10**9)}
    )
    presence_weight: float = field(
        default=0.5, metadata={"description": "weight of the presence loss", "range": (0.0, 10.0)}
    )
    shares: tuple[str, ...] = field(
        default=(
            "lspet=0.25",
            "street=0.10",
            "gym=0.08",
            "people=0.12",
            "scenes=0.24",
            "synthetic=0.09",
            "negatives=0.02",
            "alarms=0.10",
        ),
        metadata={
            "description": (
                "share of each pack in a batch; the shares of absent packs go to the others"
            )
        },
    )
    rendered: int = field(
        default=6_000,
        metadata={
            "description": "pictures of rendered people, the pack `synthetic`; 0: none",
            "range": (0, 10**7),
        },
    )
    rooms: int = field(
        default=2_000,
        metadata={
            "description": "rendered rooms that are searched, with the photographs, for what the "
            "detector mistakes for persons, the "
            "pack `alarms`; 0: photographs alone",
            "range": (0, 10**7),
        },
    )
    window_px: int = field(
        default=384,
        metadata={"description": "side of the packs' windows", "unit": "px", "range": (32, 1024)},
    )
    seed: int = field(
        default=0,
        metadata={
            "description": "seed of weights, order and augmentation",
            "range": (0, 2**31 - 1),
        },
    )

    def __post_init__(self):
        parse_shares(self.shares)  # told before anything is rendered

    @property
    def level_until(self) -> int:
        """The first step with a falling rate."""
        return self.steps - math.ceil(self.decay * self.steps)

    def rate_at(self, step: int) -> float:
        """Linear rise, level, linear fall to zero."""
        seen = (step + 1) * self.batch
        rise = seen / max(self.warmup, 1)

        falling = max(self.steps - self.level_until, 1)
        fall = (self.steps - step) / falling
        return self.learning_rate * min(1.0, rise, fall)

    def fused_at(self, step: int) -> bool:
        """Whether the fusion takes part in this step."""
        return step * self.batch >= self.fusion_from


class NetworkTrainer(Trainer):
    """Training of the multistage network, on one device or in several processes."""

    def __init__(
        self,
        config: TrainConfig,
        fusion: nn.Module,
        device: torch.device | str = "cpu",
        trunk: dict[str, Tensor] | None = None,
    ):
        """trunk: weights that the trunk starts from; without, it is random and trained from
        scratch."""
        torch.manual_seed(config.seed)
        self.device = torch.device(device)
        network = MultistageNetwork(config.network, fusion)

        if trunk is not None:
            network.features.trunk.load_state_dict(trunk)
            freeze(network.features.trunk, config.trunk_trained)

        network = distributed.in_step(network, self.device)
        network = network.to(self.device, memory_format=torch.channels_last)
        super().__init__(config, network, _optimiser(config, network))
        self._model = distributed.shared(network, self.device)

    def train_step(self, batch: Batch) -> dict[str, float]:
        """Take one optimiser step; returns the losses by name."""
        self.begin_step()
        images, labels, nobody, presence = batch.to(self.device)
        scaled = images.float().div_(255)
        output = self._forward(scaled.contiguous(memory_format=torch.channels_last))

        # Targets.
        config = self.config
        keypoints = labels[..., :2]
        weight = labels[..., 2]
        if output.trunk is not None and config.trunk_teaches > 0:
            keypoints, weight = self._taught_by_trunk(
                output.trunk.detach(), keypoints, weight, presence, nobody
            )
        size = output.stages[0].belief.shape[-2:]
        target, counted = target_maps(keypoints, weight, config.network.stride, size, config.sigma)

        # Losses.
        stages = stage_losses(output, target, counted, nobody)
        loss = stages.mean(1).sum()
        values = {}
        if output.presence is not None:
            absence = presence_loss(output.presence, presence)
            loss = loss + config.presence_weight * absence
            values["presence"] = absence.item()

        self.descend(loss, config.clip)

        for number, (own, fused) in enumerate(stages.tolist(), 1):
            values[f"stage{number}_belief"] = own
            values[f"stage{number}_fused"] = fused

        return {"loss": loss.item()} | values

    def _taught_by_trunk(
        self,
        own: Tensor,
        keypoints: Tensor,
        weight: Tensor,
        presence: Tensor,
        nobody: Tensor,
    ):
        """Keypoints and weights, with the trunk's own output where a keypoint has no label and is
        not known to be absent."""
        cells, score = trunk_labels(own)
        points = belief_maps.cells_to_pixels(cells, self.config.network.stride)
        known_absent = (presence == 0) | nobody[:, None]
        unlabelled = weight == 0
        taught = unlabelled & ~known_absent & (score > 0)

        keypoints = torch.where(taught[..., None], points, keypoints)
        weight = torch.where(taught, self.config.trunk_teaches * score, weight)
        return keypoints, weight

    def _forward(self, images: Tensor):
        """The network's output; without the fusion before its first step."""
        fusion = self.network.fusion
        self.network.fusion = fusion if self.config.fused_at(self.step) else _NO_FUSION
        half = self.config.precision == "bfloat16"
        try:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
                return self._model.train()(images)
        finally:
            self.network.fusion = fusion


_NO_FUSION = NoFusion()

RECIPES = {
    "full": TrainConfig(),
    "lite": TrainConfig(network=LITE, samples=16_000),
    "paper": TrainConfig(
        network=PAPER,
        optimiser="sgd",
        learning_rate=3e-3,
        weight_decay=1e-4,
        samples=2_000_000,
        fusion_from=500_000,
        sigma=SIGMA_CELLS,
        window_px=416,
        precision="bfloat16",
        ema=0.998,
        decay=0.2,
        warmup=3_000,
    ),
}
"""What `lifting train` trains where no recipe is named."""


def _optimiser(config: TrainConfig, network: nn.Module) -> torch.optim.Optimizer:
    groups = rate_groups(network, "features.trunk.", config.trunk_rate)
    if config.optimiser == "sgd":
        # Not fused: that fails while some weights have no momentum, as when the fusion joins
        return torch.optim.SGD(
            groups,
            config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            foreach=True,
        )
    return torch.optim.AdamW(
        groups, config.learning_rate, weight_decay=config.weight_decay, fused=True
    )


def train(  # noqa: PLR0913 - options with defaults
    config: TrainConfig,
    packs: list[Pack],
    fusion: nn.Module,
    folder: Path,
    device: str = "cpu",
    evaluate: Callable[[dict[str, Tensor]], dict[str, float]] | None = None,
    every: int = 500,
    workers: int = 1,
    start: Path | None = None,
    trunk: dict[str, Tensor] | None = None,
    people: Sequence[Cutout] = (),
) -> dict[str, Tensor]:
    """Train to the end of the recipe, resuming from the state in `folder`, if there is one; returns
    the averaged weights.

    evaluate: called with the averaged weights every `every` steps; what it returns goes into
    `folder`/validation.csv. start: where `folder` has no state, the state of another training to
    start from: of the same recipe made longer, or of a recipe that differs from there on. trunk:
    initial weights of the trunk. people: cut-out persons to paste beside the labelled ones. Of
    several processes only the first reads and writes `folder` and `start`.
    """
    rank, world = distributed.rank_and_world()
    trainer = NetworkTrainer(config, fusion, distributed.join(device), trunk)
    trainer.resume(folder)
    if trainer.step == 0 and start is not None:
        load_state(start, trainer, start=True)

    batches = Batches(
        packs,
        config.shares,
        config.batch,
        config.network.input_px,
        config.augmentation,
        config.seed,
        config.steps,
        rank,
        world,
        people,
    )
    stream = batches.stream(trainer.step, workers)

    validate = None if evaluate is None else partial(evaluate, trainer.average)
    facts = {
        "device": str(trainer.device),
        "processes": world,
        "crops": batches.counts(),
    }
    run(trainer, stream, folder, validate, every, **facts)

    distributed.leave()
    return trainer.average


def save_trained(
    path: Path,
    weights: dict[str, Tensor],
    config: TrainConfig,
    card: dict,
) -> None:
    """Write a file to ship: the averaged weights in fp16 with their recipe."""
    recipe = dataclasses.asdict(config)
    save_network(path, weights, config.network, {"recipe": recipe} | card)
