# SPDX-License-Identifier: Apache-2.0
"""Rendered people, whose joints are known, as detector and keypoint network find them: what the
small networks beside a keypoint network learn from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifting_ros.errors import DataError
from lifting_ros.estimator import EstimatorConfig, PoseEstimator, network_and_detector
from lifting_ros.geometry.camera import Camera
from lifting_ros.io.arrays import read_arrays, read_images, write_npz
from lifting_ros.io.checkpoint import sha256_of
from lifting_ros.io.progress import Progress
from lifting_ros.lifting.request import Keypoints
from lifting_ros.research.datasets.keypoint_errors import answer_to
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT, KEYPOINT_TO_JOINT

LEAST_SCORE = 0.5
"""Least score of a person whose answers are learnt from."""

JOINTS_OF_KEYPOINTS = list(KEYPOINT_TO_JOINT)
"""(14,) the joint of each keypoint, as an index of arrays."""


class FoundPeople(NamedTuple):
    """N people."""

    keypoints_px: np.ndarray
    """(N, 14, 2) as found."""
    confidence: np.ndarray
    """(N, 14)"""
    covariance_px2: np.ndarray
    """(N, 14, 2, 2)"""
    local: np.ndarray
    """(N, 14, c) float16 the trunk's last layer at the keypoints; c is 0 for a network without a
    trunk."""
    joints_m: np.ndarray
    """(N, 17, 3) true joints, optical frame."""
    matrix: np.ndarray
    """(N, 3, 3) camera matrices."""
    up: np.ndarray
    """(N, 3) in the optical frame."""

    def camera(self, index: int) -> Camera:
        """The camera of a picture."""
        return Camera(self.matrix[index])

    def seen(self, index: int, config: EstimatorConfig) -> Keypoints:
        """The keypoints of one person as the lifter takes them."""
        one = slice(index, index + 1)
        confidence = self.confidence[one]
        usable = np.where(confidence >= config.min_keypoint_confidence, confidence, 0.0)
        return Keypoints(self.keypoints_px[one], usable, self.covariance_px2[one])

    def joints_px(self, index: int) -> np.ndarray:
        """(14, 2) where the keypoints' joints are in the picture."""
        return self.camera(index).project(self.joints_m[index, JOINTS_OF_KEYPOINTS])


_SHAPES: dict[str, tuple[int | str, ...]] = {
    "keypoints_px": ("N", KEYPOINT_COUNT, 2),
    "confidence": ("N", KEYPOINT_COUNT),
    "covariance_px2": ("N", KEYPOINT_COUNT, 2, 2),
    "local": ("N", KEYPOINT_COUNT, "c"),
    "joints_m": ("N", JOINT_COUNT, 3),
    "matrix": ("N", 3, 3),
    "up": ("N", 3),
}


def open_found_people(config: EstimatorConfig, people: Path, most: int, work: Path) -> FoundPeople:
    """Up to `most` people of a pack of `lifting render`, found once and kept in `work`.

    DataError in one line for another folder, and where nobody is found.
    """
    labels_file = people / "labels.npz"
    if not labels_file.is_file():
        raise DataError(f"{people}: not a pack of rendered people (no labels.npz)")

    # The name of the file depends on everything that the answers depend on
    parts = [sha256_of(file) for file in (*network_and_detector(config), labels_file)]
    key = hashlib.sha256("".join([*parts, repr(config), str(most)]).encode()).hexdigest()
    kept = work / f"found_people_{key[:16]}.npz"
    if not kept.is_file():
        found = find_people(PoseEstimator(config), people, most)
        work.mkdir(parents=True, exist_ok=True)
        write_npz(kept, found._asdict())

    return FoundPeople(**read_arrays(kept, _SHAPES))


def find_people(estimator: PoseEstimator, people: Path, most: int) -> FoundPeople:
    """The first `most` people of a pack, without those who are not found; errors as
    `open_found_people`."""
    expected = {"joints_camera_m": ("N", JOINT_COUNT, 3), "K": ("N", 3, 3), "up": ("N", 3)}
    labels = read_arrays(people / "labels.npz", expected)
    images = read_images(people / "images.npy")[:most]

    rows = []
    shown = Progress(images, desc="people found", unit="picture")
    for image, *known in zip(shown, *(labels[name].astype(float) for name in expected)):
        joints_m, matrix, _ = known
        true_px = Camera(matrix).project(joints_m[JOINTS_OF_KEYPOINTS])
        found = estimator.find_keypoints(image, estimator.detect(image))
        answer = answer_to(true_px, found)
        if answer is not None:
            local = np.zeros((KEYPOINT_COUNT, 0)) if answer.local is None else answer.local
            answered = (answer.keypoints_px, answer.confidence, answer.covariance_px2)
            rows.append((*answered, local.astype(np.float16), *known))

    if not rows:
        raise DataError(f"{people}: nobody was found in these pictures")
    return FoundPeople(*(np.stack(values) for values in zip(*rows)))
