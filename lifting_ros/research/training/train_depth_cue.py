# SPDX-License-Identifier: Apache-2.0
"""Training of the depth cue (`lifting.depth_cue`) of a keypoint network, on rendered people, whose
joints are known. Network and detector stay as they are: their answers are its input."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lifting_ros.errors import DataError
from lifting_ros.estimator import EstimatorConfig, PoseEstimator, network_and_detector
from lifting_ros.geometry.camera import Camera
from lifting_ros.io.arrays import read_arrays, read_images
from lifting_ros.io.atomic import replacing
from lifting_ros.io.checkpoint import half_precision, load_tensors, save_tensors, sha256_of
from lifting_ros.io.progress import Progress
from lifting_ros.lifting.depth_cue import (
    HEADER,
    MOST_UNUSUAL,
    PREFIX,
    views_of,
)
from lifting_ros.lifting.encoding import INPUTS, encode_views
from lifting_ros.lifting.observation import NONE
from lifting_ros.lifting.request import Keypoints
from lifting_ros.research.datasets.keypoint_errors import answer_to
from lifting_ros.research.training.trainer import Schedule, Trainer, run
from lifting_ros.skeleton import KEYPOINT_COUNT, KEYPOINT_TO_JOINT, limb_lengths
from lifting_ros.types import Skeleton2D

LEAST_SCORE = 0.5
"""Least score of a person whose answers are learnt from."""

HELD_BACK = 10
"""Every how many-th person is not learnt from, but measured on."""

WINDOW_PX = 256
"""Side of a rendered picture."""

POSED = 0.5
"""Share of people in generated poses, such as sitting and lying."""

_USUAL_LOG_STD = -2.5
"""Logarithm of the std of a depth, in sizes, before training."""

_JOINT = list(KEYPOINT_TO_JOINT)


@dataclass(frozen=True)
class DepthCueTrainConfig(Schedule):
    """The recipe of the depth cue; `config/train_depth-cue.yaml` is the one that ships."""

    people: int = field(
        default=6000, metadata={"description": "most rendered people", "range": (10, 10**9)}
    )
    samples: int = field(
        default=220_000, metadata={"description": "people seen in all", "range": (1, 10**9)}
    )
    batch: int = field(
        default=128, metadata={"description": "people per step", "range": (2, 65536)}
    )
    learning_rate: float = field(
        default=1e-3, metadata={"description": "peak rate of AdamW", "range": (0.0, 1.0)}
    )
    weight_decay: float = field(
        default=0.02, metadata={"description": "weight decay", "range": (0.0, 10.0)}
    )
    warmup: float = field(
        default=0.2,
        metadata={"description": "share of the steps with a rising rate", "range": (0.0, 1.0)},
    )
    ema: float = field(
        default=0.99, metadata={"description": "decay of the averaged weights", "range": (0.0, 1.0)}
    )
    width: int = field(
        default=256,
        metadata={"description": "units that read the keypoints, and of both", "range": (4, 8192)},
    )
    deep_width: int = field(
        default=32,
        metadata={
            "description": "units that read the trunk at each keypoint",
            "range": (4, 8192),
        },
    )
    deep_dropout: float = field(
        default=0.4,
        metadata={"description": "share of the trunk's channels dropped", "range": (0.0, 0.9)},
    )
    dropout: float = field(
        default=0.2, metadata={"description": "share of other units dropped", "range": (0.0, 0.9)}
    )
    noise: float = field(
        default=0.03,
        metadata={"description": "std added to the encoded keypoints", "range": (0.0, 1.0)},
    )
    doubt: float = field(
        default=1.25,
        metadata={
            "description": (
                "factor on the std that is learnt: a person's depths err alike, and the lifter "
                "takes their errors as independent"
            ),
            "range": (0.1, 10.0),
        },
    )
    seed: int = field(
        default=0, metadata={"description": "seed of weights and order", "range": (0, 2**31 - 1)}
    )


class CueRows(NamedTuple):
    """N people, as the network finds them, and their true depths."""

    encoded: np.ndarray
    """(N, 44) keypoints, see `encoding`."""
    local: np.ndarray
    """(N, 14, c) the trunk's last layer at the keypoints; float16."""
    z: np.ndarray
    """(N, 14) of the keypoints' joints about their mean, along the line of sight to the person,
    divided by the person's size."""

    def select(self, rows: np.ndarray) -> CueRows:
        """Some of them."""
        return CueRows(*(values[rows] for values in self))


def render_people(config: DepthCueTrainConfig, data: Path, work: Path) -> Path:
    """The rendered people of a recipe, in a folder of `work`; rendered where they are not there
    yet. RendererMissingError without the package that renders."""
    from lifting_ros.research.rendering import synthetic
    from lifting_ros.research.training.network_packs import render_once

    folder = work / f"depth_cue{config.people}_{WINDOW_PX}px_seed{config.seed}"
    write = partial(
        synthetic.write_pack, n=config.people, size=WINDOW_PX, seed=config.seed, posed=POSED
    )
    render_once(folder, write, data)
    return folder


def open_rows(config: EstimatorConfig, people: Path, most: int, work: Path) -> CueRows:
    """Up to `most` people of a pack of `lifting render`, found once and kept in `work`.

    DataError in one line for another folder, and where nobody is found.
    """
    labels_file = people / "labels.npz"
    if not labels_file.is_file():
        raise DataError(f"{people}: not a pack of rendered people (no labels.npz)")

    parts = [sha256_of(file) for file in (*network_and_detector(config), labels_file)]
    parts += [repr(config), str(most), *CueRows._fields]
    key = hashlib.sha256("".join(parts).encode()).hexdigest()
    kept = work / f"depth_cue_{key[:16]}.npz"
    if not kept.is_file():
        rows = collect(PoseEstimator(config), people, most)
        work.mkdir(parents=True, exist_ok=True)
        with replacing(kept, keep_suffix=True) as partial:
            np.savez(partial, **rows._asdict())

    shapes = {
        "encoded": ("N", INPUTS),
        "local": ("N", KEYPOINT_COUNT, "c"),
        "z": ("N", KEYPOINT_COUNT),
    }
    return CueRows(**read_arrays(kept, shapes))


def collect(estimator: PoseEstimator, people: Path, most: int) -> CueRows:
    """The rows of the first `most` people of a pack; those who are not found, or not well enough to
    be lifted, are left out.

    DataError in one line for another kind of pack, and where nobody is found.
    """
    expected = {"joints_camera_m": ("N", 17, 3), "K": ("N", 3, 3), "up": ("N", 3)}
    labels = read_arrays(people / "labels.npz", expected)
    images = read_images(people / "images.npy")[:most]

    rows = []
    for image, joints_m, matrix, up in zip(
        Progress(images, desc="people found", unit="picture"), *(labels[name] for name in expected)
    ):
        camera = Camera(matrix.astype(float))
        true_px = camera.project(joints_m[_JOINT].astype(float))
        found = estimator.find_keypoints(image, estimator.detect(image))
        answer = answer_to(true_px, found)
        if answer is not None:
            row = row_of(estimator, answer, joints_m.astype(float), camera, up.astype(float))
            if row is not None:
                rows.append(row)

    if not rows:
        raise DataError(f"{people}: nobody was found in these pictures")
    return CueRows(*(np.stack(values) for values in zip(*rows)))


def row_of(
    estimator: PoseEstimator,
    answer: Skeleton2D,
    joints_m: np.ndarray,
    camera: Camera,
    up: np.ndarray,
) -> CueRows | None:
    """The row of one person with joints (17, 3), a CueRows without its first axis; None where the
    keypoints are too few for a view frame.

    DataError for a network without a trunk.
    """
    if answer.local is None:
        raise DataError("depth cue: expected a network on a pretrained trunk (full or lite)")

    config = estimator.config
    usable = np.where(answer.confidence >= config.min_keypoint_confidence, answer.confidence, 0.0)
    seen = Keypoints(answer.keypoints_px[None], usable[None], answer.covariance_px2[None])
    views = views_of(seen, camera, up, config.lifting)
    if views.level[0] == NONE:
        return None
    (encoded,) = encode_views(views, metric=True)

    z = joints_m[_JOINT] @ views.frame[0, 2].astype(float)
    size = np.sqrt((limb_lengths(joints_m) ** 2).sum())
    relative = (z - z.mean()) / size
    return CueRows(encoded, answer.local.astype(np.float16), relative.astype(np.float32))


class CueNetwork(nn.Module):
    """`lifting.depth_cue.DepthCue` in torch, with the same names of tensors.

    In training some channels of the trunk's layer are dropped, each at all keypoints at once.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: DepthCueTrainConfig, mean: np.ndarray, std: np.ndarray):
        """mean, std: (c,) of the trunk's last layer at the keypoints of the training people."""
        super().__init__()
        self.noise = config.noise
        self.keypoints = nn.Linear(INPUTS, config.width)
        self.deep = nn.Linear(len(mean), config.deep_width)
        of_trunk = KEYPOINT_COUNT * config.deep_width
        self.middle = nn.Linear(config.width + of_trunk, config.width)
        self.out = nn.Linear(config.width, 2 * KEYPOINT_COUNT)
        self.drop_deep = nn.Dropout(config.deep_dropout)
        self.drop = nn.Dropout(config.dropout)

        nn.init.normal_(self.out.weight, std=1e-3)
        nn.init.zeros_(self.out.bias)
        with torch.no_grad():
            self.out.bias[KEYPOINT_COUNT:] = _USUAL_LOG_STD
        self.register_buffer("mean", torch.from_numpy(mean).float())
        self.register_buffer("std", torch.from_numpy(std).float().clamp_min(1e-3))

    def forward(self, encoded: Tensor, local: Tensor) -> tuple[Tensor, Tensor]:
        """z about its mean and the logarithm of its std, (N, 14) each."""
        if self.training:
            encoded = encoded + self.noise * torch.randn_like(encoded)
        usual = ((local - self.mean) / self.std).clamp(-MOST_UNUSUAL, MOST_UNUSUAL)

        of_keypoints = self.drop(self.keypoints(encoded).relu())
        kept = self.drop_deep(torch.ones_like(usual[:, :1]))
        of_trunk = self.drop(self.deep(kept * usual).relu())
        middle = self.middle(torch.cat([of_keypoints, of_trunk.flatten(1)], 1)).relu()
        z, log_std = self.out(self.drop(middle)).chunk(2, dim=1)
        return z - z.mean(1, keepdim=True), log_std


class DepthCueTrainer(Trainer):
    """Training by the likelihood of a Laplace distribution, as large errors are frequent."""

    def __init__(self, config: DepthCueTrainConfig, rows: CueRows):
        torch.manual_seed(config.seed)
        self.moments = moments(rows.local)
        network = CueNetwork(config, *self.moments)
        optimiser = torch.optim.AdamW(
            network.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        super().__init__(config, network, optimiser)

    def train_step(self, batch: CueRows) -> dict[str, float]:
        """Take one optimiser step; returns the loss and the mean error, divided by the size."""
        self.begin_step()
        encoded, local, truth = (torch.from_numpy(values).float() for values in batch)
        z, log_std = self.network.train()(encoded, local)
        error = (z - truth).abs()
        loss = (math.sqrt(2) * error * torch.exp(-log_std) + log_std).mean()
        self.descend(loss)

        return {"loss": loss.item(), "error": error.mean().item()}


def moments(local: np.ndarray, most: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Mean and std (c,) of the trunk's last layer (N, 14, c) at the keypoints, from up to `most`
    people."""
    some = local[:most].astype(np.float32)
    return some.mean((0, 1)), some.std((0, 1))


def train_depth_cue(
    config: DepthCueTrainConfig, rows: CueRows, folder: Path, every: int = 500
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Train to the end of the recipe, resuming from the state in `folder`, if there is one.

    Returns the averaged weights, and what `measure` gives of every HELD_BACK-th person, who is not
    learnt from.
    """
    held = np.arange(len(rows.z)) % HELD_BACK == 0
    known = rows.select(~held)
    strangers = rows.select(held)
    trainer = DepthCueTrainer(config, known)
    trainer.resume(folder)

    def average() -> CueNetwork:
        network = CueNetwork(config, *trainer.moments)
        network.load_state_dict(trainer.average)
        return network.eval()

    def evaluate() -> dict[str, float]:
        return measure(average(), strangers)

    batches = (
        known.select(
            np.random.default_rng((config.seed, step)).integers(0, len(known.z), config.batch)
        )
        for step in range(trainer.step, config.steps)
    )
    run(trainer, batches, folder, evaluate, every, people=len(known.z))

    weights = average().state_dict()
    weights["out.bias"][KEYPOINT_COUNT:] += math.log(config.doubt)
    return weights, evaluate()


def measure(network: CueNetwork, rows: CueRows) -> dict[str, float]:
    """Errors of the depths, divided by the size: mean, median, and mean square divided by the
    variance that was told; beside them the mean error of guessing that all joints are equally
    far."""
    with torch.inference_mode():
        z, log_std = network(torch.from_numpy(rows.encoded), torch.from_numpy(rows.local).float())

    error = np.abs(z.numpy() - rows.z)
    return {
        "mean": float(error.mean()),
        "median": float(np.median(error)),
        "normalised square": float(np.mean((error / log_std.exp().numpy()) ** 2)),
        "mean of no guess": float(np.abs(rows.z).mean()),
    }


def save_depth_cue(network: Path, weights: dict[str, Tensor], card: dict, out: Path) -> None:
    """Write the weights file of a network with its depth cue; what else it holds stays.

    CheckpointError where `network` cannot be read.
    """
    tensors, header = load_tensors(network)
    for name, tensor in half_precision(weights).items():
        tensors[PREFIX + name] = tensor

    save_tensors(out, tensors, header | {HEADER: card})
