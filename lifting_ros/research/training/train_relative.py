# SPDX-License-Identifier: Apache-2.0
"""Relative-depth supervision ("It's all Relative", BMVC 2018): 3D from keypoints and from a crowd's
answers about which of two joints is farther.

The differences from the paper are documented in the code: the normaliser of the ranking
(`relative_losses`); the network's input (`encode`: with certainties, so that keypoints may be
missing; people at one size, in a levelled view frame); its initial state (`prepared`); a rate that
falls to zero, and averaged weights.

A crowd that is right about z metres in 50 + 125 z % of the cases has log odds of about 5 z. Joints
of people differ by a fifth of a metre in depth, so that `slope` 1 asks for the true depth and 2.5
for less than half of it. Depths were a fifth too flat with 2.5 and right with 1 (five comparisons
per picture); both lifted about as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lifting_ros.config import ConfigError
from lifting_ros.lifting.relative import JOINT_SETS, PIXELS, JointSet, fit_completion, ratios
from lifting_ros.lifting.residual_mlp import MLPLifter, Pose, RelativeLifter, ResidualMLP
from lifting_ros.research.datasets.comparisons import ANNOTATORS, Comparisons, simulate
from lifting_ros.research.datasets.mocap import Mocap
from lifting_ros.research.datasets.pictured import Pictured
from lifting_ros.research.datasets.relative_lsp import CrowdSet, as_pictures
from lifting_ros.research.datasets.virtual_cameras import FOCAL_PX
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
)
from lifting_ros.research.training.relative_losses import (
    ranking,
    reprojection,
    root_offset,
    skeleton,
)
from lifting_ros.skeleton import KEYPOINT_TO_JOINT

UNIT_MM = 100.0
"""Initial factor of the pose head's outputs, mm; the factors are learned."""

FIRST = 0.1
"""Initial factor of the pose head's random weights."""

SCALES = {"orthographic": 1.0, "perspective": 0.001}
"""Largest scale of either camera: pixels per millimetre; 1 / distance in millimetres."""


@dataclass(frozen=True)
class RelativeTrainConfig(PictureTrainConfig):
    """The recipe of relative-depth supervision; `config/train_relative.yaml` ships."""

    joints: int = field(
        default=17,
        metadata={
            "description": "joints that are learnt: all, or those of the keypoints",
            "choices": (17, 14),
        },
    )
    camera: str = field(
        default="orthographic",
        metadata={
            "description": "scaled orthographic, or perspective with the focal length known",
            "choices": tuple(SCALES),
        },
    )
    skeleton: str = field(
        default="average",
        metadata={
            "description": (
                "limb lengths: the training set's mean, a body drawn by rule, each person's own, "
                "or none told"
            ),
            "choices": ("average", "person", "true", "none"),
        },
    )
    comparisons: int = field(
        default=32,
        metadata={"description": "compared pairs per picture; 0: all pairs", "range": (0, 136)},
    )
    tolerance_m: float = field(
        default=0.0,
        metadata={
            "description": "joints closer in depth than this count as equally far",
            "unit": "m",
            "range": (0.0, 1.0),
        },
    )
    annotator: str = field(
        default="crowd",
        metadata={
            "description": (
                "never errs, errs at a constant rate, or as the crowd of the paper's study"
            ),
            "choices": ANNOTATORS,
        },
    )
    correct: float = field(
        default=0.9,
        metadata={
            "description": "share of right answers of the constant annotator",
            "range": (0.0, 1.0),
        },
    )
    label_noise: str = field(
        default="none",
        metadata={
            "description": "distribution of the annotated keypoints' own errors",
            "choices": ("none", "uniform", "normal"),
        },
    )
    label_noise_px: float = field(
        default=0.0,
        metadata={
            "description": "their half width, or standard deviation, at f = 1150 px",
            "unit": "px",
            "range": (0.0, 200.0),
        },
    )
    slope: float = field(
        default=2.5,
        metadata={
            "description": "steepness of the ranking; 1 is that of the crowd's own odds",
            "range": (0.01, 100.0),
        },
    )
    relative_weight: float = field(
        default=1.0, metadata={"description": "weight of the ranking term", "range": (0.0, 1e3)}
    )
    reprojection_weight: float = field(
        default=0.1,
        metadata={"description": "weight of the reprojection error, per px", "range": (0.0, 1e3)},
    )
    root_weight: float = field(
        default=1.0,
        metadata={"description": "weight of the root's offset, per mm", "range": (0.0, 1e3)},
    )
    skeleton_weight: float = field(
        default=1.0, metadata={"description": "weight of the skeleton term", "range": (0.0, 1e3)}
    )


class Annotated(NamedTuple):
    """Pictures and their annotations; `pictures.joints` and `size_m` of photographs are NaN."""

    pictures: Pictured
    comparisons: Comparisons
    ratios: np.ndarray
    """(L,) or (M, L): lengths of the limbs, divided by that of the right shin."""
    completion: np.ndarray
    """(17, J) of `lifting.relative.fit_completion`."""


def annotate(pictures: Pictured, config: RelativeTrainConfig) -> Annotated:
    """Answers of simulated annotators about pictures. The pictures of the result have the errors of
    annotated keypoints."""
    which = JOINT_SETS[config.joints]
    rng = np.random.default_rng((config.seed, 8))

    # Comparisons
    depth = pictures.joints[..., 2] * pictures.size_m[:, None]
    own_depth = depth[:, list(which.joints)]
    told = simulate(
        own_depth,
        rng,
        config.comparisons,
        config.annotator,
        config.correct,
        config.tolerance_m,
    )

    # Limb lengths
    each = ratios(pictures.joints, which)
    lengths = each
    if config.skeleton == "person":
        lengths = np.array(which.generic) / which.generic[which.shin]
    elif config.skeleton != "true":
        lengths = each.mean(0)

    noise = label_noise(pictures.rays.shape, config, rng)
    return Annotated(
        pictures=pictures._replace(rays=pictures.rays + noise),
        comparisons=told,
        ratios=lengths.astype(np.float32),
        completion=fit_completion(pictures.joints[:20_000], which),
    )


def label_noise(
    shape: tuple[int, ...],
    config: RelativeTrainConfig,
    rng: np.random.Generator,
) -> np.ndarray:
    """Errors of annotated keypoints on the rays, float32."""
    amount = config.label_noise_px / FOCAL_PX
    if config.label_noise == "none":
        return np.zeros(shape, np.float32)

    if config.label_noise == "uniform":
        noise = rng.uniform(-amount, amount, shape)
    else:
        noise = amount * rng.standard_normal(shape)
    return noise.astype(np.float32)


def annotated_photographs(
    crowd: CrowdSet,
    captured: Annotated,
    config: RelativeTrainConfig,
) -> Annotated:
    """Photographs and the answers of a real crowd about them, with the limb lengths of `captured`.

    ConfigError for a recipe that does not fit photographs.
    """
    if config.joints != 14 or config.camera != "orthographic" or config.skeleton == "true":
        raise ConfigError(
            "recipe: photographs want joints: 14, camera: orthographic and a skeleton other than "
            "true"
        )

    pictures, comparisons = as_pictures(crowd)
    return captured._replace(pictures=pictures, comparisons=comparisons)


class Target(NamedTuple):
    """The labels of a batch, as tensors."""

    keypoints_px: Tensor
    """(B, J, 2) about the root, with the person at the size of PIXELS."""
    focal_px: Tensor
    """(B,) of the camera that would show the person at that size."""
    pairs: Tensor
    """(B, K, 2)."""
    label: Tensor
    """(B, K)."""
    ratios: Tensor
    """(L,) or (B, L)."""


def target_of(
    batch: Batch,
    annotated: Annotated,
    which: JointSet,
) -> Target:
    """The labels of a batch, mirrored where the picture is."""
    pixels, focal = pixels_of(batch.pictures.rays, which)

    pairs = annotated.comparisons.pairs[batch.rows]  # (B, K, 2)
    label = annotated.comparisons.label[batch.rows]
    exchanged = np.array(which.flip)[pairs]
    pairs = np.where(batch.mirrored[:, None, None], exchanged, pairs)

    lengths = annotated.ratios
    if lengths.ndim > 1:
        lengths = ratios(batch.pictures.joints, which)

    return Target(
        keypoints_px=torch.from_numpy(pixels.astype(np.float32)),
        focal_px=torch.from_numpy(focal.astype(np.float32)),
        pairs=torch.from_numpy(pairs.astype(np.int64)),
        label=torch.from_numpy(label.astype(np.float32)),
        ratios=torch.from_numpy(lengths),
    )


def pixels_of(rays: np.ndarray, which: JointSet) -> tuple[np.ndarray, np.ndarray]:
    """Joints (N, J, 2) about the root in pixels, with people at the size of PIXELS, and the focal
    length (N,) for that size; rays (N, 17, 2)."""
    rays = rays.astype(np.float64)
    observed = rays[:, list(KEYPOINT_TO_JOINT)]
    centred = observed - observed.mean(1, keepdims=True)
    square = (centred**2).sum(-1)
    focal = PIXELS / np.sqrt(square.mean(1))

    own = rays[:, list(which.joints)]
    root = own[:, which.root : which.root + 1]
    return (own - root) * focal[:, None, None], focal


class RelativeTrainer(PictureTrainer):
    """Training with the four terms of the loss; poses are in the network's own millimetres."""

    def __init__(self, config: RelativeTrainConfig, annotated: Annotated):
        self.annotated = annotated
        self.which = JOINT_SETS[config.joints]
        super().__init__(config, config.joints)

    def prepared(self, network: ResidualMLP, config: RelativeTrainConfig) -> ResidualMLP:
        """The network, initialised to the mean picture with zero depth.

        From random joints, training ends in a local minimum: one shin is metres long in depth, and
        all other limbs are short relative to it.
        """
        pixels, focal = pixels_of(self.annotated.pictures.rays, self.which)
        camera = focal[:, None, None] if config.camera == "perspective" else 1.0
        pixels_per_mm = 0.5 * SCALES[config.camera] * camera
        joints_mm = pixels / pixels_per_mm

        network.middle[:, :2] = torch.from_numpy(joints_mm.mean(0))
        network.pose.weight.data.mul_(FIRST)
        network.unit.data.fill_(UNIT_MM)
        network.completion.copy_(torch.from_numpy(self.annotated.completion))

        return network

    def loss(self, pose: Pose, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        config = self.config
        target = target_of(batch, self.annotated, self.which)
        means = {name: term.mean() for name, term in self.terms(pose, target).items()}
        weights = {
            "relative": config.relative_weight,
            "reprojection": config.reprojection_weight,
            "root": config.root_weight,
            "skeleton": config.skeleton_weight,
        }
        total = sum(weights[name] * mean for name, mean in means.items())

        return total, {name: mean.item() for name, mean in means.items()}

    def terms(self, pose: Pose, target: Target) -> dict[str, Tensor]:
        """The four terms of each person, (B,) each."""
        config = self.config
        joints = pose.joints
        limbs = list(self.which.limbs)
        scale = SCALES[config.camera] * pose.scale
        focal = target.focal_px if config.camera == "perspective" else None

        of_skeleton = torch.zeros_like(scale)
        if config.skeleton != "none":
            of_skeleton = skeleton(joints, target.ratios, limbs, self.which.shin)

        return {
            "relative": ranking(joints, target.pairs, target.label, limbs, config.slope),
            "reprojection": reprojection(joints, scale, target.keypoints_px, focal),
            "root": root_offset(joints, self.which.root),
            "skeleton": of_skeleton,
        }


def train_relative(  # noqa: PLR0913 - options with defaults
    config: RelativeTrainConfig,
    mocap: Mocap,
    folder: Path,
    evaluate: Callable[[MLPLifter], dict[str, float]] | None = None,
    every: int = 1000,
    crowd: CrowdSet | None = None,
    start: Path | None = None,
) -> RelativeLifter:
    """Train on simulated annotations of `mocap`, or on the photographs of `crowd`, resuming from
    the state in `folder`, if there is one.

    Joints in 3D are used by the simulated annotators, and for the covariances after the training;
    the network is not trained on them. evaluate: called with a lifter of the averaged network every
    `every` steps; what it returns goes into `folder`/validation.csv. start: the state of another
    training, whose averaged weights are the initial ones. ConfigError in one line for a recipe that
    does not fit photographs.
    """
    strangers = calibration_rows(mocap)
    size = stature(mocap)
    known = mocap.select(~strangers)

    # Annotations
    pictures = balanced_pictures(known, config.images, config.seed, config.posed)
    captured = annotate(pictures, config)
    annotated = captured
    calibrated = 0.9
    if crowd is not None:
        annotated = annotated_photographs(crowd, captured, config)
        calibrated = 0.0

    # Poses
    source = PictureSource(annotated.pictures, config, calibrated=calibrated)
    network = run_training(
        RelativeTrainer(config, annotated),
        source,
        folder,
        lambda trained: RelativeLifter(trained, size),
        evaluate,
        every,
        start,
    )

    # Covariances
    with_joints = PictureSource(captured.pictures, config)
    fit_spread(network, with_joints, config.spread_steps, RelativeLifter.normalised)
    lifter = RelativeLifter(network, size)
    fit_inflation(
        lifter, mocap.select(strangers), config.seed, source.disturbance, posed=config.posed
    )

    return lifter
