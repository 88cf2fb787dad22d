# SPDX-License-Identifier: Apache-2.0
"""Errors of the network that estimates 3D from the image: against its kind of labels, which shows
how well it repeats them, and against the truth of rendered people."""

from __future__ import annotations

import numpy as np
import torch

from lifting_ros.research.datasets.crops import true_crop
from lifting_ros.research.evaluation.lifting import errors
from lifting_ros.research.evaluation.synthetic_people import RenderedPeople, crop_cameras
from lifting_ros.research.labels.label_crops import LabelSet, turned_to
from lifting_ros.research.training.image_pose import ImagePose

BATCH = 64
"""Crops per run of the network."""


def label_errors(
    estimator: ImagePose,
    labels: LabelSet,
) -> dict[str, float]:
    """Mean MPJPE, N-MPJPE and PA-MPJPE from the labels, mm, everybody being of the estimator's
    size; empty without labels."""
    if not len(labels):
        return {}

    found = []
    batches = -(-len(labels) // BATCH)

    for rows in np.array_split(np.arange(len(labels)), batches):
        exact = labels.exact(rows, estimator.network.input_px)
        crops = torch.from_numpy(exact.crops)
        found.append(estimator.estimate(crops))

    truth = estimator.size_m * labels.joints
    return _mean_errors(np.concatenate(found), truth, "labels")


def rendered_errors(
    estimator: ImagePose,
    people: RenderedPeople,
) -> dict[str, float]:
    """Mean MPJPE, N-MPJPE and PA-MPJPE on rendered people in the crops of their true boxes, mm; and
    those of a constant answer, the mean of all their poses."""
    side = estimator.network.input_px
    crops = []
    for row in people.rows:
        crop, _ = true_crop(people.pack.images[row], people.pack.keypoints[row], side)
        crops.append(crop)

    images = np.stack(crops).transpose(0, 3, 1, 2)
    tensors = torch.from_numpy(images.astype(np.float32) / 255)
    found = np.concatenate([estimator.estimate(part) for part in tensors.split(BATCH)])

    # The truth, turned towards the middle of each crop as the answers are
    centre = np.full(2, (side - 1) / 2)
    middle = np.array([camera.rays(centre) for camera in crop_cameras(people, side)])
    toward = np.concatenate([middle, np.ones((len(middle), 1))], 1)
    toward = toward / np.linalg.norm(toward, axis=-1, keepdims=True)
    truth = turned_to(people.joints_m, toward)

    relative = truth - truth[:, :1]
    constant = np.broadcast_to(relative.mean(0), truth.shape)
    network_errors = _mean_errors(found, truth, "rendered")
    return network_errors | _mean_errors(constant, truth, "one pose for all")


def _mean_errors(
    found: np.ndarray,
    truth: np.ndarray,
    where: str,
) -> dict[str, float]:
    by_metric = errors(found[:, None], truth)
    return {f"{metric}, {where}": float(values.mean()) for metric, values in by_metric.items()}
