# SPDX-License-Identifier: Apache-2.0
"""The network from image to 3D: against labels, which says how well it repeats them, and against
the truth of rendered people."""

from __future__ import annotations

import numpy as np
import torch

from lifting_ros.research.datasets.crops import true_crop
from lifting_ros.research.evaluation.lifting import errors
from lifting_ros.research.evaluation.synthetic_people import RenderedPeople, crop_cameras
from lifting_ros.research.labels.label_crops import LabelSet, turned_to
from lifting_ros.research.training.image_pose import ImagePose

BATCH = 64


def label_errors(estimator: ImagePose, labels: LabelSet) -> dict[str, float]:
    """Mean distances in mm from labels; N-MPJPE and PA-MPJPE. Nothing where there are none."""
    if not len(labels):
        return {}

    found = []
    batches = -(-len(labels) // BATCH)
    for rows in np.array_split(np.arange(len(labels)), batches):
        exact = labels.exact(rows, estimator.network.input_px)
        found.append(estimator.estimate(torch.from_numpy(exact.crops)))

    return _mean(np.concatenate(found), estimator.size_m * labels.joints, "labels")


def rendered_errors(estimator: ImagePose, people: RenderedPeople) -> dict[str, float]:
    """Mean errors in mm on rendered people, in the crops of their true boxes, and of the mean of
    all their poses in place of an answer."""
    side = estimator.network.input_px
    crops = np.stack(
        [
            true_crop(people.pack.images[row], people.pack.keypoints[row], side)[0]
            for row in people.rows
        ]
    )
    tensors = torch.from_numpy(crops.transpose(0, 3, 1, 2).astype(np.float32) / 255).split(BATCH)
    found = np.concatenate([estimator.estimate(part) for part in tensors])
    middle = np.array(
        [camera.rays(np.full(2, (side - 1) / 2)) for camera in crop_cameras(people, side)]
    )
    toward = np.concatenate([middle, np.ones((len(middle), 1))], 1)
    truth = turned_to(people.joints_m, toward / np.linalg.norm(toward, axis=-1, keepdims=True))
    constant = np.broadcast_to((truth - truth[:, :1]).mean(0), truth.shape)

    return _mean(found, truth, "rendered") | _mean(constant, truth, "one pose for all")


def _mean(found: np.ndarray, truth: np.ndarray, where: str) -> dict[str, float]:
    return {
        f"{m}, {where}": float(v.mean())
        for m, v in errors(found[:, None], truth).items()
        if m != "MPJPE"
    }
