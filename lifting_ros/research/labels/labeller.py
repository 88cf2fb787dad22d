# SPDX-License-Identifier: Apache-2.0
"""Makes 3D labels of photographs: two lifters and the estimator that finds their keypoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lifting_ros.estimator import EstimatorConfig, KeypointLifter, PoseEstimator
from lifting_ros.geometry.camera import Camera
from lifting_ros.io.checkpoint import sha256_of
from lifting_ros.lifting.stereo import StereoLifter
from lifting_ros.research.datasets.pack import WINDOW_PX
from lifting_ros.research.labels.label_quality import LabelConfig, quality_of
from lifting_ros.research.labels.labels import QUALITY, Labels, cut_windows, validation_images
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT
from lifting_ros.types import LiftedPoses, Skeleton2D

Columns = dict[str, np.ndarray]

SHAPES = {
    "windows": (WINDOW_PX, WINDOW_PX, 3),
    "keypoints": (KEYPOINT_COUNT, 3),
    "joints_m": (JOINT_COUNT, 3),
    "covariance_m2": (JOINT_COUNT, 3, 3),
    "toward": (3,),
}
"""Columns with more than one number per person -> the shape of one person's."""

_LEAST_DISTANCE_M = 1e-9


class Labeller:
    """Labels people with the stereoscopic lifter, and with the estimator's lifter beside it."""

    def __init__(self, config: EstimatorConfig, lifter: Path, annotated: bool = False):
        """Load the estimator and a stereoscopic lifter; LiftingError where that fails.

        annotated: the keypoints of all people are known, so that no network is required.
        """
        self._lifter = StereoLifter.load(lifter)
        self._estimator = KeypointLifter(config) if annotated else PoseEstimator(config)
        sha256 = {
            "weights": self._estimator.weights_sha256,
            "prior": self._estimator.prior_sha256,
            "lifter": sha256_of(lifter),
        }
        self.about: dict[str, Any] = {"sha256": sha256, "size_m": self._lifter.size_m}
        """What the labels are made with."""

    def label(
        self,
        image: np.ndarray,
        number: int,
        camera: Camera | None,
    ) -> Columns | None:
        """Columns (n, ...) by name of the people of one image; None where nobody is found.

        image: (H, W, 3) uint8 RGB; number: its index, which is kept.
        """
        people = self._estimator.find_keypoints(image, self._estimator.detect(image))
        return self.label_people(image, number, camera, people)

    def label_people(
        self,
        image: np.ndarray,
        number: int,
        camera: Camera | None,
        people: Sequence[Skeleton2D],
    ) -> Columns | None:
        """As `label`, of people whose keypoints are known."""
        if not people:
            return None

        keypoints = _stack(people, "keypoints_px")
        confidence = _stack(people, "confidence")
        least = self._estimator.config.min_keypoint_confidence
        usable = np.where(confidence >= least, confidence, 0.0)

        # Lift with both lifters.
        request = (keypoints, usable, _stack(people, "covariance_px2"), camera)
        found = self._lifter.reconstruct(*request)
        poses = self._lifter.finish(found, camera is not None)
        other = self._estimator.lifter.lift(*request)

        score = np.array([person.score for person in people])
        usual_limbs = self._estimator.prior.limbs_[:, 0]
        baseline = self._lifter.network.config.baseline
        quality = quality_of(found, poses, other, score, usable, usual_limbs, baseline)

        windows, points = zip(*cut_windows(image, _stack(people, "box_px"), keypoints, usable))
        joints_m = poses.joints_m - poses.root_m[:, None]
        columns = {
            "windows": np.stack(windows),
            "keypoints": np.stack(points),
            "joints_m": joints_m,
            "covariance_m2": poses.covariance_m2,
            "toward": _directions(poses, camera),
            "image_index": np.full(len(people), number),
            **{f"quality_{name}": values for name, values in quality.items()},
        }
        lifted = np.isfinite(joints_m).all((1, 2))
        if not lifted.any():
            return None
        return {name: values[lifted] for name, values in columns.items()}


def join_labels(
    parts: Sequence[Columns],
    images: Sequence[str],
    limits: LabelConfig,
    about: dict[str, Any],
) -> Labels:
    """The labels of all images, from the columns of those where somebody was found.

    images: file names; limits: of the scores of a good label; about: what the labels are made with.
    """
    names = [*SHAPES, "image_index", *(f"quality_{name}" for name in QUALITY)]
    columns = {}
    for name in names:
        if parts:
            columns[name] = np.concatenate([part[name] for part in parts])
        else:
            columns[name] = np.zeros((0, *SHAPES.get(name, ())))

    quality = {name: columns.pop(f"quality_{name}") for name in QUALITY}
    image_index = columns.pop("image_index").astype(int)
    return Labels(
        **columns,
        good=limits.accepts(quality),
        validation=validation_images(image_index, len(images)),
        image_index=image_index,
        images=tuple(images),
        quality=quality,
        about=about | {"limits": dataclasses.asdict(limits)},
    )


def _stack(people: Sequence[Skeleton2D], attribute: str) -> np.ndarray:
    return np.stack([getattr(person, attribute) for person in people])


def _directions(poses: LiftedPoses, camera: Camera | None) -> np.ndarray:
    """Unit vectors (N, 3) from the camera to the roots; (0, 0, 1) where the camera is not known."""
    if camera is None:
        return np.tile([0.0, 0, 1], (len(poses.root_m), 1))
    distance = np.linalg.norm(poses.root_m, axis=-1, keepdims=True)
    return poses.root_m / np.maximum(distance, _LEAST_DISTANCE_M)
