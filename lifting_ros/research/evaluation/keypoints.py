# SPDX-License-Identifier: Apache-2.0
"""Measures of the 2D side on validation photographs: the maps of each stage, and PCK with the true
boxes or with the boxes of the package's own detector."""

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
from lifting_ros.types import Skeleton2D

MAPS = ("belief", "projected", "fused")
"""Belief maps of a stage: its own b_t, the lifted and projected b_hat_t, and the fused f_t."""

BATCH = 32
"""Crops per run of the network."""

SURE_OF_OTHERS = 0.3
"""Minimum score of a detection that counts as another person in the crop."""

_LEAST_OVERLAP = 0.1
"""An answer must overlap the labelled box with a higher IoU."""

_SAME_PERSON = 0.3
"""A detection with a lower IoU is not the labelled person."""

_NECK = KEYPOINT_NAMES.index("neck")
_HIPS = [KEYPOINT_NAMES.index(name) for name in ("right_hip", "left_hip")]


class Answers(NamedTuple):
    """Keypoints of N crops after S stages, from M kinds of belief maps; in pixels of the crops."""

    keypoints_px: np.ndarray
    """(S, M, N, 14, 2); NaN where a stage lacks that kind of maps."""
    confidence: np.ndarray
    """(S, M, N, 14) in [0, 1]."""
    moment_px2: np.ndarray
    """(S, M, N, 14, 2, 2) second moment of each belief map about its keypoint."""
    labels: np.ndarray
    """(N, 14, 3) x, y and weight of the label; 0: no label."""


def ask(
    runner: NetworkRunner,
    pack: Pack,
    rows: np.ndarray,
    maps: Sequence[str] = ("fused",),
) -> Answers:
    """The answers of the network to some rows of a pack, cropped by their true boxes.

    maps: which belief maps are decoded, of MAPS.
    """
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
    runner: NetworkRunner,
    images: torch.Tensor,
    maps: Sequence[str],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints, confidences and second moments of crops (n, 3, h, w), as in `Answers`."""
    output = runner(images.float().div_(255))
    presence = 1.0 if output.presence is None else output.presence.float().sigmoid()
    stride = runner.config.stride

    points = []
    confidences = []
    moments = []

    for stage in output.stages:
        for name in maps:
            beliefs = getattr(stage, name)
            if beliefs is None:
                beliefs = torch.full_like(stage.fused, torch.nan)

            cells, mass, moment = belief_maps.decode(beliefs.float())
            pixels = belief_maps.cells_to_pixels(cells, stride)
            confidence = mass * presence
            points.append(pixels.cpu().numpy())
            confidences.append(confidence.cpu().numpy())
            moments.append((moment * stride**2).cpu().numpy())

    shape = (len(output.stages), len(maps), len(images), 14)
    return (
        np.stack(points).reshape(*shape, 2),
        np.stack(confidences).reshape(shape),
        np.stack(moments).reshape(*shape, 2, 2),
    )


def validation_rows(
    pack: Pack,
    most: int | None = None,
) -> np.ndarray:
    """The first `most` rows of a pack's validation side that have a label."""
    labelled = (pack.keypoints[..., 2] > 0).any(1)
    return np.flatnonzero(pack.validation & labelled)[:most]


def pck_true_boxes(
    runner: NetworkRunner,
    pack: Pack,
    most: int | None = None,
) -> np.ndarray:
    """PCK@0.2 of each keypoint after each stage, (S, 14), on the validation side of a pack, with
    the true boxes."""
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
    """Mean PCK@0.2 of the first and the last stage, with the true boxes, on the first `most`
    validation rows of each pack with labels."""
    runner = NetworkRunner(network_of(weights, config, prior), device)
    result = {}

    for pack in packs:
        if not len(validation_rows(pack)):
            continue

        by_stage = pck_true_boxes(runner, pack, most)
        each = np.nanmean(by_stage, 1)
        result[f"{pack.name}_stage1"] = float(each[0])
        result[f"{pack.name}_stage{len(each)}"] = float(each[-1])

    return result


def network_of(
    weights: dict,
    config: NetworkConfig,
    prior,
) -> MultistageNetwork:
    """A network with these weights, on the CPU."""
    network = build_network(config, prior)
    network.load_state_dict(weights)
    return network


def find_skeletons(
    estimator: PoseEstimator,
    image: np.ndarray,
) -> list[Skeleton2D]:
    """The skeletons that the whole 2D side finds in an image (H, W, 3) uint8 RGB."""
    detections = estimator.detect(image)
    return estimator.find_keypoints(image, detections)


def find_person(
    estimator: PoseEstimator,
    image: np.ndarray,
    labels: np.ndarray,
) -> Skeleton2D | None:
    """Of the skeletons found, the one whose box overlaps that of the labels (n, 3) most; None where
    none does."""
    found = find_skeletons(estimator, image)
    if not found:
        return None

    boxes = np.array([skeleton.box_px for skeleton in found])
    shared = overlaps(keypoint_box(labels), boxes)
    best = int(np.argmax(shared))
    return found[best] if shared[best] > _LEAST_OVERLAP else None


def find_labelled(
    estimator: PoseEstimator,
    photos: PhotoSet,
    rows: np.ndarray,
    change: Callable | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The keypoints (N, 14, 2) that the whole 2D side finds for the labelled persons of N
    photographs, px, inf where it does not find the person; and the labels (N, 14, 3).

    change: function of image, keypoints and row that returns the image and keypoints to use
    instead.
    """
    predicted = np.full((len(rows), 14, 2), np.inf)
    labels = photos.keypoints[rows].copy()

    shown = Progress(rows, desc=f"{photos.name}, own boxes", delay=2, leave=False)

    for number, row in enumerate(shown):
        image = photos.image(row)
        if change is not None:
            image, labels[number] = change(image, labels[number], row)

        skeleton = find_person(estimator, image, labels[number])
        if skeleton is not None:
            predicted[number] = skeleton.keypoints_px

    return predicted, labels


def upright(keypoints: np.ndarray) -> np.ndarray:
    """(N,) whether the trunk, from the middle of the hips to the neck, is labelled and within 45
    degrees of upright in the image; keypoints (N, 14, 3)."""
    hips = keypoints[:, _HIPS]
    neck = keypoints[:, _NECK]
    trunk = neck[:, :2] - hips[..., :2].mean(1)  # (N, 2), y down

    hips_labelled = (hips[..., 2] > 0).all(1)
    neck_labelled = neck[:, 2] > 0
    across = np.abs(trunk[:, 0])
    return hips_labelled & neck_labelled & (-trunk[:, 1] > across)


def crowded(
    estimator: PoseEstimator,
    photos: PhotoSet,
    rows: np.ndarray,
) -> np.ndarray:
    """(N,) whether the middle of another detected person lies in the crop of the labelled one."""
    found = np.zeros(len(rows), bool)
    for number, row in enumerate(rows):
        box = keypoint_box(photos.keypoints[row])
        area = crop_around(box, estimator.network.config.input_px)

        detections = estimator.detect(photos.image(row))
        sure = [one.box_px for one in detections if one.score >= SURE_OF_OTHERS]
        boxes = np.array(sure).reshape(-1, 4)
        others = boxes[overlaps(box, boxes) < _SAME_PERSON]

        middle = area.from_image((others[:, :2] + others[:, 2:]) / 2)
        inside = (middle > 0) & (middle < area.size_px)
        found[number] = inside.all(-1).any()

    return found


def false_alarms(
    estimator: PoseEstimator,
    images: list[np.ndarray],
) -> int:
    """Number of pictures without people in which the estimator finds somebody."""
    return sum(bool(find_skeletons(estimator, image)) for image in images)
