# SPDX-License-Identifier: Apache-2.0
"""Measures of the 2D side on validation crops: what every stage says, PCK with true boxes or with
the package's own detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from lifting_ros.detection.detector import overlaps
from lifting_ros.estimator import PoseEstimator
from lifting_ros.io.progress import Progress
from lifting_ros.keypoints import belief_maps
from lifting_ros.keypoints.crop import crop_around
from lifting_ros.keypoints.inference import NetworkRunner
from lifting_ros.keypoints.network import MultistageNetwork, NetworkConfig
from lifting_ros.keypoints.network_weights import build_network
from lifting_ros.research.datasets.crops import true_crop
from lifting_ros.research.datasets.keypoints2d import PhotoSet, keypoint_box
from lifting_ros.research.datasets.pack import Pack
from lifting_ros.research.evaluation.metrics import pck
from lifting_ros.skeleton import KEYPOINT_NAMES

MAPS = ("belief", "projected", "fused")
"""A stage's maps: its own b_t, the lifted and projected b_hat_t, and both together, f_t."""

BATCH = 32
SURE_OF_OTHERS = 0.3
"""Least score of the detector for somebody else in the crop."""


class Answers(NamedTuple):
    """Output of a network for N crops, in pixels of its input, by stage and (M) maps."""

    keypoints_px: np.ndarray
    """(S, M, N, 14, 2); NaN where a stage has no such maps."""
    confidence: np.ndarray
    """(S, M, N, 14) in [0, 1]."""
    moment_px2: np.ndarray
    """(S, M, N, 14, 2, 2) second moments of the beliefs about the keypoints."""
    labels: np.ndarray
    """(N, 14, 3) x, y and the label's weight, 0 where there is none."""


def ask(
    runner: NetworkRunner, pack: Pack, rows: np.ndarray, maps: Sequence[str] = ("fused",)
) -> Answers:
    """The answers to the crops of the true boxes of some rows of a pack."""
    crops = []
    labels = []
    for row in rows:
        crop, label = true_crop(pack.images[row], pack.keypoints[row], runner.config.input_px)
        crops.append(crop)
        labels.append(label)

    images = torch.from_numpy(np.stack(crops).transpose(0, 3, 1, 2))
    batches = Progress(images.split(BATCH), desc=pack.name, delay=2, leave=False)
    parts = [_ask(runner, batch, maps) for batch in batches]
    answers = [np.concatenate(arrays, 2) for arrays in zip(*parts)]

    return Answers(*answers, np.stack(labels))


def _ask(
    runner: NetworkRunner, images: torch.Tensor, maps: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    output = runner(images.float().div_(255))
    sure = 1.0 if output.presence is None else output.presence.float().sigmoid()
    found = []

    for stage in output.stages:
        for name in maps:
            beliefs = getattr(stage, name)
            beliefs = torch.full_like(stage.fused, torch.nan) if beliefs is None else beliefs
            cells, mass, moment = belief_maps.decode(beliefs.float())
            px = belief_maps.cells_to_pixels(cells, runner.config.stride)
            found.append(
                [
                    value.cpu().numpy()
                    for value in (px, mass * sure, moment * runner.config.stride**2)
                ]
            )

    shape = len(output.stages), len(maps)
    points, confidence, moments = (
        np.stack(arrays).reshape(*shape, *arrays[0].shape) for arrays in zip(*found)
    )

    return points, confidence, moments  # (S, M, n, 14, 2), (S, M, n, 14), (S, M, n, 14, 2, 2)


def validation_rows(pack: Pack, most: int | None = None) -> np.ndarray:
    """The first `most` rows of a pack's validation side that have a label."""
    return np.flatnonzero(pack.validation & (pack.keypoints[..., 2] > 0).any(1))[:most]


def pck_true_boxes(runner: NetworkRunner, pack: Pack, most: int | None = None) -> np.ndarray:
    """PCK@0.2 of the torso after every stage, (S, 14), on the pack's validation side with true
    boxes."""
    rows = validation_rows(pack, most)
    answers = ask(runner, pack, rows)
    by_stage = [pck(points[0], answers.labels) for points in answers.keypoints_px]
    return np.stack(by_stage)


def pck_of_weights(
    weights: dict,
    config: NetworkConfig,
    prior,
    packs: list[Pack],
    device: torch.device,
    most: int = 200,
) -> dict[str, float]:
    """Mean PCK@0.2 of the first and the last stage on (the first `most` of) every labelled pack's
    validation side."""
    runner = NetworkRunner(network_of(weights, config, prior), device)
    result = {}

    for pack in packs:
        if len(validation_rows(pack)):
            each = np.nanmean(pck_true_boxes(runner, pack, most), 1)
            result |= {
                f"{pack.name}_stage1": float(each[0]),
                f"{pack.name}_stage{len(each)}": float(each[-1]),
            }

    return result


def network_of(weights: dict, config: NetworkConfig, prior) -> MultistageNetwork:
    """The network of such weights, on the CPU."""
    network = build_network(config, prior)
    network.load_state_dict(weights)
    return network


def find_labelled(
    estimator: PoseEstimator, photos: PhotoSet, rows: np.ndarray, change: Callable | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What the whole estimator says of the labelled persons of some photographs: keypoints (N, 14,
    2) in px, and their labels (N, 14, 3).

    Of several persons found the one whose box overlaps the label's most is taken; inf where none
    does. change: (image, keypoints, row) to the image and keypoints that count instead.
    """
    predicted = np.full((len(rows), 14, 2), np.inf)
    labels = photos.keypoints[rows].copy()

    for n, row in enumerate(Progress(rows, desc=f"{photos.name}, own boxes", delay=2, leave=False)):
        image = photos.image(row)
        if change is not None:
            image, labels[n] = change(image, labels[n], row)

        found = estimator.find_keypoints(image, estimator.detector.detect(image))
        if found:
            match = [overlaps(keypoint_box(labels[n]), s.box_px[None])[0] for s in found]
            if max(match) > 0.1:
                predicted[n] = found[int(np.argmax(match))].keypoints_px

    return predicted, labels


def upright(keypoints: np.ndarray) -> np.ndarray:
    """(N,) whether the labelled trunk, hips' middle to neck, lies within 45 degrees of up in the
    image; keypoints (N, 14, 3)."""
    hip_numbers = [KEYPOINT_NAMES.index(name) for name in ("right_hip", "left_hip")]
    hips = keypoints[:, hip_numbers]
    neck = keypoints[:, KEYPOINT_NAMES.index("neck")]
    trunk = neck[:, :2] - hips[..., :2].mean(1)  # (N, 2), y down

    labelled = (hips[..., 2] > 0).all(1) & (neck[:, 2] > 0)
    return labelled & (-trunk[:, 1] > np.abs(trunk[:, 0]))


def crowded(estimator: PoseEstimator, photos: PhotoSet, rows: np.ndarray) -> np.ndarray:
    """(N,) whether the detector sees the middle of somebody else in the crop of the labelled
    person."""
    found = np.zeros(len(rows), bool)
    for n, row in enumerate(rows):
        box = keypoint_box(photos.keypoints[row])
        area = crop_around(box, estimator.network.config.input_px)
        boxes = np.array(
            [
                d.box_px
                for d in estimator.detector.detect(photos.image(row))
                if d.score >= SURE_OF_OTHERS
            ]
        ).reshape(-1, 4)
        others = boxes[overlaps(box, boxes) < 0.3]
        middle = area.from_image((others[:, :2] + others[:, 2:]) / 2)
        found[n] = ((middle > 0) & (middle < area.size_px)).all(-1).any()

    return found


def false_alarms(estimator: PoseEstimator, images: list[np.ndarray]) -> int:
    """Pictures without people in which the estimator sees somebody."""
    return sum(
        bool(estimator.find_keypoints(image, estimator.detector.detect(image))) for image in images
    )
