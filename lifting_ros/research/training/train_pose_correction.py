# SPDX-License-Identifier: Apache-2.0
"""Training of the pose correction (`lifting.pose_correction`): on motion capture and generated
poses seen by virtual cameras, and on rendered people as a keypoint network finds them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lifting_ros.backends import make_depth_cue, make_joint_offsets
from lifting_ros.estimator import EstimatorConfig, network_and_detector
from lifting_ros.geometry.camera import Camera
from lifting_ros.io.progress import Progress
from lifting_ros.lifting.encoding import views_of
from lifting_ros.lifting.lifting import Lifter
from lifting_ros.lifting.pose_correction import (
    INPUTS,
    MOST_UNUSUAL,
    MOVED,
    OUTPUTS,
    can_correct,
    describe,
)
from lifting_ros.lifting.request import Depths, Keypoints
from lifting_ros.research.datasets.found_people import FoundPeople
from lifting_ros.research.datasets.pictured import Disturbance, Pictured, disturb, mirror
from lifting_ros.research.datasets.virtual_cameras import FOCAL_PX
from lifting_ros.research.training.beside_network import HELD_BACK, select
from lifting_ros.research.training.trainer import Schedule, Trainer, run
from lifting_ros.skeleton import JOINT_FLIP, KEYPOINT_COUNT, KEYPOINT_FLIP, limb_lengths

CAMERA = Camera(np.diag([FOCAL_PX, FOCAL_PX, 1.0]))
"""Camera of the virtual pictures, which are lifted in their view frames."""

CALIBRATED = 0.9
"""Share of the pictures whose camera the lifter knows."""

TURNED = 0.03
"""Share of the pictures that are upside down."""

MOST_ERROR = 1.0
"""Answers that are further from the truth, divided by the size, are not learnt from."""

NOISE = Disturbance(exact=0.25, noise_px=8.0, missing=6, half=0.1)
"""How keypoints differ from the true ones in virtual pictures."""

INSIDE = {50: 2.366, 90: 6.251}
"""Squared Mahalanobis distance within which a share of joints (%) lies, in three dimensions."""

BLOCK = 4096
"""Pictures lifted at a time."""


@dataclass(frozen=True)
class PoseCorrectionTrainConfig(Schedule):
    """The recipe of the correction; `config/train_pose-correction.yaml` is the one that ships."""

    people: int = field(
        default=18000,
        metadata={"description": "most rendered people; 0: none", "range": (0, 10**9)},
    )
    pictures: int = field(
        default=300_000, metadata={"description": "virtual pictures", "range": (1, 10**7)}
    )
    posed: float = field(
        default=0.35,
        metadata={"description": "share of generated poses in them", "range": (0.0, 0.9)},
    )
    found: float = field(
        default=0.4,
        metadata={"description": "share of found people in a batch", "range": (0.0, 1.0)},
    )
    versions: int = field(
        default=4,
        metadata={"description": "versions of each found person", "range": (1, 1000)},
    )
    samples: int = field(
        default=6_000_000, metadata={"description": "people seen in all", "range": (1, 10**9)}
    )
    batch: int = field(
        default=512, metadata={"description": "people per step", "range": (2, 65536)}
    )
    learning_rate: float = field(
        default=1e-3, metadata={"description": "peak rate of AdamW", "range": (0.0, 1.0)}
    )
    weight_decay: float = field(
        default=0.01, metadata={"description": "weight decay", "range": (0.0, 10.0)}
    )
    warmup: float = field(
        default=0.1,
        metadata={"description": "share of the steps with a rising rate", "range": (0.0, 1.0)},
    )
    ema: float = field(
        default=0.998,
        metadata={"description": "decay of the averaged weights", "range": (0.0, 1.0)},
    )
    width: int = field(
        default=256, metadata={"description": "units of each layer", "range": (4, 8192)}
    )
    dropout: float = field(
        default=0.2, metadata={"description": "share of units dropped", "range": (0.0, 0.9)}
    )
    doubt: float = field(
        default=1.07,
        metadata={
            "description": (
                "factor on the stds that are learnt, because strangers are missed by more; 0: the "
                "stds stay as they are"
            ),
            "range": (0.0, 10.0),
        },
    )
    freedom: float = field(
        default=6.0,
        metadata={
            "description": "degrees of freedom of the Student t distribution of the errors",
            "range": (1.0, 1e6),
        },
    )
    seed: int = field(
        default=0, metadata={"description": "seed of weights and order", "range": (0, 2**31 - 1)}
    )


RECIPES = {
    "ppca": PoseCorrectionTrainConfig(people=0, found=0.0, dropout=0.1, doubt=0.0),
    "pose-correction": PoseCorrectionTrainConfig(),
}
"""By what is trained: the correction of the lifter ppca, and that of a network."""


class CorrectionRows(NamedTuple):
    """N answers of the prior, float32."""

    inputs: np.ndarray
    """(N, 152) of the network."""
    missed: np.ndarray
    """(N, 16, 3) truth less answer, about the root, view frame, divided by the size of the
    answer."""
    whiten: np.ndarray
    """(N, 16, 3, 3) what turns errors in that unit into errors with unit covariance."""


class Lifted(NamedTuple):
    """What `compare` needs of persons."""

    seen: Keypoints
    camera: Camera
    up: np.ndarray
    """(N, 3)."""
    depths: Depths | None
    joints_m: np.ndarray
    """(N, 17, 3) the truth, optical frame; any scale."""


def compare(lifter: Lifter, people: Lifted, metric: bool) -> CorrectionRows:
    """The answers of the lifter, and what they miss of the truth; persons whose answers are not
    corrected are left out.

    Answer and truth are divided by their own sizes, because the size is not corrected.
    """
    camera = people.camera if metric else None
    poses = lifter.lift(*people.seen, camera, people.up, people.depths)
    views = views_of(people.seen, camera, people.up, lifter.config)
    rows = np.flatnonzero(can_correct(views))
    inputs, size_m = (values[rows] for values in describe(poses, views, metric))

    frame = views.frame[rows].astype(np.float64)
    size = size_m[:, None, None]
    answer = about_root(poses.joints_m[rows], frame) / size
    truth = about_root(people.joints_m[rows], frame)
    truth /= size_of(truth)[:, None, None]
    missed = (truth - answer)[:, 1:]
    covariance = np.einsum("nab,njbc,ndc->njad", frame, poses.covariance_m2[rows, 1:], frame)
    covariance = covariance / size[..., None] ** 2 + 1e-8 * np.eye(3)
    whiten = np.linalg.inv(np.linalg.cholesky(covariance))

    usable = np.linalg.norm(missed, axis=-1).max(1) < MOST_ERROR
    values = (inputs, missed.astype(np.float32), whiten.astype(np.float32))
    return CorrectionRows(*(array[usable] for array in values))


def about_root(joints: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Joints (N, 17, 3) about the root in frames (N, 3, 3)."""
    return np.einsum("nab,njb->nja", frame, joints - joints[:, :1])


def size_of(joints: np.ndarray) -> np.ndarray:
    """Sizes (N,) of joints (N, 17, 3): the root of the sum of squared limb lengths."""
    return np.sqrt((limb_lengths(joints) ** 2).sum(-1))


def rows_of_pictures(
    lifter: Lifter, pictures: Pictured, seed: int, noise: Disturbance = NOISE
) -> CorrectionRows:
    """Rows of virtual pictures, half of them mirrored, with noise of their own."""
    parts = []
    starts = range(0, len(pictures.pitch), BLOCK)
    for start in Progress(starts, desc="pictures lifted", unit="block"):
        rng = np.random.default_rng((seed, start))
        block = pictures.select(slice(start, start + BLOCK))
        count = len(block.pitch)
        people = _pictured(mirror(block, rng.random(count) < 0.5), rng, noise)
        known = rng.random(count) < CALIBRATED
        for metric in (True, False):
            chosen = _choose(people, known == metric)
            if len(chosen.up):
                parts.append(compare(lifter, chosen, metric))
    return joined(parts)


def _pictured(pictures: Pictured, rng: np.random.Generator, noise: Disturbance) -> Lifted:
    """Virtual pictures as people to lift, some of them upside down."""
    seen = disturb(pictures.rays, rng, noise)
    joints = pictures.joints.astype(np.float64)
    pitch = pictures.pitch.astype(np.float64)
    up = np.stack([np.zeros_like(pitch), -np.cos(pitch), np.sin(pitch)], -1)

    # A camera on its head: what it sees is turned by half a circle
    turned = np.where(rng.random(len(pitch)) < TURNED, -1.0, 1.0)[:, None, None]
    points = np.where(seen.visible[..., None], seen.points * turned, 0.0)
    joints = joints * np.concatenate([turned, turned, np.ones_like(turned)], -1)

    variance = np.where(seen.visible, seen.deviation * FOCAL_PX, 1.0) ** 2
    covariance = variance[..., None, None] * np.eye(2)
    keypoints = Keypoints(points * FOCAL_PX, seen.visible.astype(float), covariance)
    return Lifted(keypoints, CAMERA, up, None, joints)


def _choose(people: Lifted, which: np.ndarray | slice) -> Lifted:
    seen = Keypoints(*(values[which] for values in people.seen))
    depths = people.depths
    if depths is not None:
        z, variance = depths.relative_z[which], depths.relative_variance[which]
        depths = Depths(relative_z=z, relative_variance=variance)
    return Lifted(seen, people.camera, people.up[which], depths, people.joints_m[which])


def joined(parts: list[CorrectionRows]) -> CorrectionRows:
    """All rows of some parts."""
    return CorrectionRows(*(np.concatenate(values) for values in zip(*parts)))


class CorrectionNetwork(nn.Module):
    """`lifting.pose_correction.PoseCorrection` in torch, with the same names of tensors."""

    def __init__(self, config: PoseCorrectionTrainConfig):
        super().__init__()
        self.first = nn.Linear(INPUTS, config.width)
        self.second = nn.Linear(config.width, config.width)
        self.out = nn.Linear(config.width, OUTPUTS)
        self.drop = nn.Dropout(config.dropout)
        self.register_buffer("mean", torch.zeros(INPUTS))
        self.register_buffer("std", torch.ones(INPUTS))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """How far joints move (N, 16, 3), and log factors (N, 16) on the stds."""
        usual = ((inputs - self.mean) / self.std).clamp(-MOST_UNUSUAL, MOST_UNUSUAL)
        first = self.drop(self.first(usual).relu())
        second = self.drop(self.second(first).relu())
        out = self.out(second)
        return out[:, : 3 * MOVED].reshape(-1, MOVED, 3), out[:, 3 * MOVED :]


class PoseCorrectionTrainer(Trainer):
    """Training by the distance of the joints, and by the likelihood of a Student t distribution for
    the factors on the standard deviations."""

    def __init__(self, config: PoseCorrectionTrainConfig, inputs: np.ndarray):
        torch.manual_seed(config.seed)
        network = CorrectionNetwork(config)
        network.mean.copy_(torch.from_numpy(inputs.mean(0)))
        network.std.copy_(torch.from_numpy(inputs.std(0)) + 1e-3)
        optimiser = torch.optim.AdamW(
            network.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        super().__init__(config, network, optimiser)

    def train_step(self, batch: CorrectionRows) -> dict[str, float]:
        """Take one optimiser step; returns the loss and the mean distance from the truth."""
        self.begin_step()
        inputs, missed, whiten = (torch.from_numpy(values) for values in batch)
        moved, log_factor = self.network.train()(inputs)
        error = moved - missed
        distance = (error.square().sum(-1) + 1e-6).sqrt().mean()
        loss = 10 * distance
        if self.config.doubt > 0:
            white = (whiten @ error.detach()[..., None]).square().sum((-1, -2))
            loss = loss + 0.1 * student(white, log_factor, self.config.freedom).mean()
        self.descend(loss, 1.0)
        return {"loss": loss.item(), "distance": distance.item()}


def student(square: Tensor, log_factor: Tensor, freedom: float) -> Tensor:
    """Negative log-likelihood, but for a constant, of errors in three dimensions with squared
    Mahalanobis distances `square`, when stds have a factor."""
    surprise = torch.log1p(square * torch.exp(-2 * log_factor) / freedom)
    return 3 * log_factor + (freedom + 3) / 2 * surprise


def mixed_batches(
    pictures: CorrectionRows,
    found: CorrectionRows | None,
    config: PoseCorrectionTrainConfig,
    first: int,
) -> Iterator[CorrectionRows]:
    """Random rows for every step from the `first` one on; each step has a seed of its own."""
    of_found = 0 if found is None else round(config.batch * config.found)
    for step in range(first, config.steps):
        rng = np.random.default_rng((config.seed, step))
        drawn = rng.integers(0, len(pictures.inputs), config.batch - of_found)
        parts = [select(pictures, drawn)]
        if found is not None:
            parts.append(select(found, rng.integers(0, len(found.inputs), of_found)))
        yield joined(parts)


def rows_of_people(
    lifter: Lifter,
    people: FoundPeople,
    estimator: EstimatorConfig,
    config: PoseCorrectionTrainConfig,
) -> CorrectionRows:
    """Rows of found people, each in some versions: every second one is mirrored, and from the third
    on keypoints are missing.

    estimator: what found them. The depth cue and joint offsets of its network are
    used.
    """
    known = _found(people, estimator)
    parts = []
    for version in range(config.versions):
        rng = np.random.default_rng((config.seed, version))
        seen = _mirrored(known) if version % 2 else known
        if version >= 2:
            seen = _with_missing(seen, rng)
        for start in range(0, len(seen.up), BLOCK):
            block = _choose(seen, slice(start, start + BLOCK))
            parts.append(compare(lifter, block, True))
    return joined(parts)


def _found(people: FoundPeople, config: EstimatorConfig) -> Lifted:
    """The people as the lifter gets them, seen by CAMERA."""
    weights, _ = network_and_detector(config)
    cue = make_depth_cue(weights, config.lifting)
    offsets = make_joint_offsets(weights, config.lifting)
    floor = config.lifting.noise_floor_px
    rows = []
    for index in range(len(people.up)):
        camera = people.camera(index)
        seen = people.seen(index, config)
        up = people.up[index]
        z = variance = np.full((1, KEYPOINT_COUNT), np.inf)
        if cue is not None:
            z, variance = cue.guess(seen, [people.local[index].astype(np.float32)], camera, up)
        if offsets is not None:
            seen = offsets.joints_of(seen, camera, up, np.ones(1, bool))

        # The same rays in CAMERA
        larger = FOCAL_PX / camera.matrix[0, 0]
        points = camera.rays(seen.keypoints_px[0]) * FOCAL_PX
        covariance = larger**2 * seen.covariance_px2[0] + (larger**2 - 1) * floor**2 * np.eye(2)
        rows.append((points, seen.confidence[0], covariance, z[0], variance[0]))

    points, confidence, covariance, z, variance = (np.stack(values) for values in zip(*rows))
    depths = Depths(relative_z=z, relative_variance=variance)
    seen = Keypoints(points, confidence, covariance)
    return Lifted(seen, CAMERA, people.up, depths, people.joints_m)


def _mirrored(people: Lifted) -> Lifted:
    flip = list(KEYPOINT_FLIP)
    turn = np.diag([-1.0, 1.0])
    points, confidence, covariance = (values[:, flip] for values in people.seen)
    depths = Depths(
        relative_z=people.depths.relative_z[:, flip],
        relative_variance=people.depths.relative_variance[:, flip],
    )
    seen = Keypoints(points @ turn, confidence, turn @ covariance @ turn)
    across = np.array([-1.0, 1.0, 1.0])
    joints = people.joints_m[:, list(JOINT_FLIP)] * across
    return Lifted(seen, CAMERA, people.up * across, depths, joints)


def _with_missing(people: Lifted, rng: np.random.Generator) -> Lifted:
    """Up to six keypoints of each person are missing, or a part of the body."""
    rank = rng.random(people.seen.confidence.shape).argsort(1).argsort(1)
    missing = np.floor(7 * rng.random(len(rank)) ** 2)
    confidence = np.where(rank >= missing[:, None], people.seen.confidence, 0.0)
    return people._replace(seen=people.seen._replace(confidence=confidence))


def train_pose_correction(
    config: PoseCorrectionTrainConfig,
    pictures: CorrectionRows,
    found: CorrectionRows | None,
    folder: Path,
    every: int = 1000,
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Train to the end of the recipe, resuming from the state in `folder`, if there is one.

    pictures: rows of virtual pictures; found: of found people, if any. Returns the averaged
    weights, and what `measure` gives of the last HELD_BACK-th of the found people, or of the
    pictures, who are not learnt from.
    """
    kinds = [pictures] if found is None else [pictures, found]
    known, strangers = zip(*map(split_last, kinds))
    trainer = PoseCorrectionTrainer(config, joined(known).inputs)
    trainer.resume(folder)

    def doubtful_average() -> dict[str, Tensor]:
        weights = {name: value.clone() for name, value in trainer.average.items()}
        if config.doubt > 0:
            weights["out.bias"][3 * MOVED :] += math.log(config.doubt)
        return weights

    def evaluate() -> dict[str, float]:
        network = CorrectionNetwork(config)
        network.load_state_dict(doubtful_average())
        return measure(network.eval(), strangers[-1])

    taught = mixed_batches(known[0], known[1] if found is not None else None, config, trainer.step)
    run(trainer, taught, folder, evaluate, every, people=len(joined(known).inputs))
    return doubtful_average(), evaluate()


def split_last(rows: CorrectionRows) -> tuple[CorrectionRows, CorrectionRows]:
    """Those who are learnt from, and the last HELD_BACK-th of the rows."""
    kept = len(rows.inputs) - len(rows.inputs) // HELD_BACK
    return select(rows, np.arange(kept)), select(rows, np.arange(kept, len(rows.inputs)))


def measure(network: CorrectionNetwork, rows: CorrectionRows) -> dict[str, float]:
    """Mean distance from the true joints, divided by the person's size, and the share inside the 50
    and 90 % ellipsoids, in %; before and after."""
    with torch.inference_mode():
        moved, log_factor = network(torch.from_numpy(rows.inputs))

    figures = {}
    nothing = (np.zeros_like(rows.missed), np.zeros(rows.missed.shape[:2]))
    for name, (shift, factor) in {
        "before": nothing,
        "": (moved.numpy(), log_factor.numpy()),
    }.items():
        error = shift - rows.missed
        white = (rows.whiten @ error[..., None])[..., 0]
        square = (white**2).sum(-1) * np.exp(-2 * factor)
        for share, limit in INSIDE.items():
            figures[f"inside {share} % {name}".strip()] = 100 * float((square < limit).mean())
        figures[f"distance {name}".strip()] = float(np.linalg.norm(error, axis=-1).mean())

    return figures
