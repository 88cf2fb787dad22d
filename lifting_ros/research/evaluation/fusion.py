# SPDX-License-Identifier: Apache-2.0
"""What the fusion with the prior is worth (section 5.5 of the paper).

The same network is measured with its learned weights w, with w = 1 (the convolutional maps alone)
and with w = 0 (the lifted and projected maps alone), on people as they are and with 30 % of their
box hidden.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import torch

from lifting_ros.config import ConfigError
from lifting_ros.estimator import PoseEstimator
from lifting_ros.keypoints.fusion import PriorFusion
from lifting_ros.keypoints.inference import NetworkRunner
from lifting_ros.keypoints.network import MultistageNetwork
from lifting_ros.research.datasets.pack import Pack
from lifting_ros.research.evaluation.keypoints import MAPS, ask, validation_rows
from lifting_ros.research.evaluation.metrics import mean_pck
from lifting_ros.research.evaluation.robustness import Worsen, as_it_is, hidden
from lifting_ros.research.evaluation.synthetic_people import (
    LiftedCrops,
    RenderedPeople,
    crop_cameras,
    error_rows,
    lift,
    seen,
)

FUSION_WEIGHTS: dict[str, float | None] = {"w learned": None, "w = 1": 1.0, "w = 0": 0.0}
"""Fusion weight by name of the row; None: the learned weights."""

CONDITIONS: dict[str, Worsen] = {"": as_it_is, ", 30 % hidden": hidden}
"""Conditions, by what they add to the name of a column."""

TITLES = (
    "fusion: PCK@0.2 after the last stage, true boxes, %",
    "fusion: rendered people, mm",
)

METRICS = ("MPJPE", "PA-MPJPE", "lifted %")
"""Columns of the second table."""

_CERTAIN = 30.0
"""Logit whose sigmoid is one in float32."""

Row = dict[str, float]


class Windows(NamedTuple):
    """Some rows of a pack under one condition."""

    name: str
    """Of the pack and the condition."""
    pack: Pack


def with_fusion_weight(
    network: MultistageNetwork,
    weight: float | None,
) -> MultistageNetwork:
    """A copy of a network whose fusion weights w are all `weight` (0 or 1); None: as learned.

    ConfigError for a network without fusion.
    """
    if not isinstance(network.fusion, PriorFusion):
        raise ConfigError("network.fusion: expected a network that is fused with the prior")

    network = copy.deepcopy(network)
    if weight is not None:
        logit = _CERTAIN * (2 * weight - 1)
        with torch.no_grad():
            network.fusion.weight_logit.fill_(logit)

    return network


def fusion_tables(
    network: MultistageNetwork,
    estimator: PoseEstimator,
    packs: list[Pack],
    people: RenderedPeople | None = None,
    most: int | None = None,
    seed: int = 0,
) -> dict[str, dict[str, Row]]:
    """Tables by TITLES, with a row for each of FUSION_WEIGHTS; the second one only where there are
    `people`.

    network: as trained; estimator: its lifter and thresholds are used; most: photographs per set;
    seed: of what CONDITIONS hide.
    """
    photographs = []
    for pack in packs:
        if not len(validation_rows(pack)):
            continue

        rows = validation_rows(pack, most)
        for add, worsen in CONDITIONS.items():
            photographs.append(changed(pack, rows, add, worsen, seed))

    keypoints: dict[str, Row] = {}
    joints: dict[str, Row] = {}

    for name, weight in FUSION_WEIGHTS.items():
        weighted = with_fusion_weight(network, weight)
        runner = NetworkRunner(weighted, estimator.device)
        keypoints[name] = {part.name: _pck(runner, part.pack) for part in photographs}
        if people is not None:
            joints[name] = _joint_errors(runner, estimator, people, seed)

    tables = {TITLES[0]: keypoints}
    if people is not None:
        tables[TITLES[1]] = joints
    return tables


def changed(
    pack: Pack,
    rows: np.ndarray,
    add: str,
    worsen: Worsen,
    seed: int,
) -> Windows:
    """The rows of a pack under a condition, in memory. With the same seed, a row always changes in
    the same way.

    add: what is added to the name.
    """
    images = []
    keypoints = []
    for row in rows:
        rng = np.random.default_rng((seed, row))
        image, points = worsen(pack.images[row], pack.keypoints[row], rng)
        images.append(image)
        keypoints.append(points)

    part = Pack(pack.name, np.stack(images), np.stack(keypoints), pack.validation[rows])
    return Windows(pack.name + add, part)


def _pck(
    runner: NetworkRunner,
    pack: Pack,
) -> float:
    """PCK@0.2 of the torso after the last stage, in %."""
    answers = ask(runner, pack, np.arange(len(pack.images)))
    return 100 * mean_pck(answers.keypoints_px[-1, -1], answers.labels)


def _joint_errors(
    runner: NetworkRunner,
    estimator: PoseEstimator,
    people: RenderedPeople,
    seed: int,
) -> Row:
    """METRICS under each of the CONDITIONS, mm and %."""
    row: Row = {}
    cameras = crop_cameras(people, runner.config.input_px)
    last = runner.config.stages - 1

    for add, worsen in CONDITIONS.items():
        pack = changed(people.pack, people.rows, add, worsen, seed).pack
        answers = ask(runner, pack, np.arange(len(pack.images)), MAPS)
        found = seen(answers, last, "f", estimator)
        joints = lift(estimator.lifter, found, cameras, people.up)

        result = LiftedCrops(joints, found.keypoints_px, answers.labels)
        errors = error_rows({"": result}, people.joints_m)[""]
        for metric in METRICS:
            row[f"{metric}{add}"] = errors[metric]

    return row
