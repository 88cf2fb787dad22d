# SPDX-License-Identifier: Apache-2.0
"""PCK of 2D keypoints on everyday photographs with hand labels of several people, many of them
partly hidden or cut off. The set is only for measuring.

People count if both shoulders and hips are labelled and the torso is longer than LEAST_TORSO_PX. A
skeleton can match a person if its median error is below one torso; the one with the most correct
keypoints is the match. A person without a match is wrong in every keypoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifting_ros.estimator import PoseEstimator
from lifting_ros.io.arrays import read_arrays
from lifting_ros.io.progress import Progress
from lifting_ros.research.datasets.keypoints2d import decode_rgb, read_tar
from lifting_ros.research.evaluation.calibration import calibration, calibration_row, mahalanobis
from lifting_ros.research.evaluation.keypoints import find_skeletons
from lifting_ros.research.evaluation.metrics import ALPHA
from lifting_ros.skeleton import KEYPOINT_NAMES, LSP_TO_KEYPOINT
from lifting_ros.types import Skeleton2D

LEAST_TORSO_PX = 25.0
"""Shortest torso of a person who counts, px."""

LEVELS = (50, 90)
"""Levels of the ellipses, %."""

_LIMBS = slice(2, 14)
"""The 12 keypoints of arms and legs."""

_R_SHOULDER = KEYPOINT_NAMES.index("right_shoulder")
_L_SHOULDER = KEYPOINT_NAMES.index("left_shoulder")
_R_HIP = KEYPOINT_NAMES.index("right_hip")
_L_HIP = KEYPOINT_NAMES.index("left_hip")

_SHOULDERS = [_R_SHOULDER, _L_SHOULDER]
_HIPS = [_R_HIP, _L_HIP]
_KNEES = [KEYPOINT_NAMES.index(name) for name in ("right_knee", "left_knee")]


class EverydaySet(NamedTuple):
    """Photographs and the M people labelled in them."""

    images: tuple[np.ndarray, ...]
    """(H, W, 3) uint8 RGB each."""
    keypoints: np.ndarray
    """(M, 14, 3) x, y px and 1 where labelled; not labelled means hidden, cut off or small."""
    image_index: np.ndarray
    """(M,) the photograph of each person."""


class Answers(NamedTuple):
    """The skeletons that match the M labelled people."""

    error_px: np.ndarray
    """(M, 14, 2) keypoint minus label; NaN where nothing matches."""
    covariance_px2: np.ndarray
    """(M, 14, 2, 2); NaN where nothing matches."""


def read_everyday(folder: str | Path) -> EverydaySet:
    """Read `annotations.npz` and `images.tar`; errors as `read_photo_set`."""
    folder = Path(folder)
    expected = {"names": ("N",), "joints": ("M", 14, 3), "image_index": ("M",)}
    labels = read_arrays(folder / "annotations.npz", expected)
    names = [str(name) for name in labels["names"]]
    files = read_tar(folder / "images.tar", names)
    images = tuple(decode_rgb(files[name], f"{folder}/{name}") for name in names)

    keypoints = labels["joints"][:, list(LSP_TO_KEYPOINT)]
    return EverydaySet(images, keypoints.astype(float), labels["image_index"])


def everyday_tables(
    estimator: PoseEstimator,
    photos: EverydaySet,
) -> dict[str, dict[str, float]]:
    """Rows by kind of people: PCK@0.2 of the 12 limb keypoints, share found, count, and % of labels
    inside the keypoints' ellipses."""
    answers = find_everybody(estimator, photos)
    kinds = kinds_of_people(photos.keypoints)
    return {kind: everyday_row(answers, photos.keypoints, rows) for kind, rows in kinds.items()}


def find_everybody(
    estimator: PoseEstimator,
    photos: EverydaySet,
) -> Answers:
    """The match of each labelled person among what the 2D side of the estimator finds."""
    count = len(photos.keypoints)
    error = np.full((count, 14, 2), np.nan)
    covariance = np.full((count, 14, 2, 2), np.nan)

    shown = Progress(photos.images, desc="everyday photographs", delay=2, leave=False)

    for number, image in enumerate(shown):
        found = find_skeletons(estimator, image)
        for person in np.flatnonzero(photos.image_index == number):
            label = photos.keypoints[person]
            best = best_answer(found, label)
            if best is not None:
                error[person] = best.keypoints_px - label[:, :2]
                covariance[person] = best.covariance_px2

    return Answers(error, covariance)


def best_answer(
    found: list[Skeleton2D],
    label: np.ndarray,
) -> Skeleton2D | None:
    """The skeleton that matches a labelled person (14, 3); None where none does."""
    torso = _torso(label[None])[0]
    labelled = label[_LIMBS, 2] > 0

    best = None
    most = -1

    for skeleton in found:
        distance = np.linalg.norm(skeleton.keypoints_px - label[:, :2], axis=-1)
        error = distance[_LIMBS][labelled] / torso
        error = np.where(np.isfinite(error), error, np.inf)
        correct = int((error < ALPHA).sum())
        if np.median(error) < 1 and correct > most:
            best = skeleton
            most = correct

    return best


def kinds_of_people(keypoints: np.ndarray) -> dict[str, np.ndarray]:
    """Boolean rows (M,) by kind: all who count, whole, partly seen, sitting."""
    seen = keypoints[..., 2] > 0
    trunk_seen = seen[:, _SHOULDERS + _HIPS].all(1)
    counted = trunk_seen & (_torso(keypoints) > LEAST_TORSO_PX)
    whole = seen[:, _LIMBS].all(1)

    # Sitting: an upright trunk, and knees little lower than the hips
    shoulder = keypoints[:, _SHOULDERS, :2].mean(1)
    hip = keypoints[:, _HIPS, :2].mean(1)
    knee = keypoints[:, _KNEES, :2].mean(1)
    trunk = np.linalg.norm(shoulder - hip, axis=1)
    upright = (hip - shoulder)[:, 1] > 0.7 * trunk
    level = (knee - hip)[:, 1] < 0.45 * trunk
    sitting = seen[:, _KNEES].all(1) & upright & level

    return {
        "all": counted,
        "whole": counted & whole,
        "partly seen": counted & ~whole,
        "sitting": counted & sitting,
    }


def everyday_row(
    answers: Answers,
    keypoints: np.ndarray,
    rows: np.ndarray,
) -> dict[str, float]:
    """One row of `everyday_tables`; NaN where nobody is of that kind."""
    error = answers.error_px[rows]
    labels = keypoints[rows]
    if not len(labels):
        return _empty_row()

    # PCK: the mean over the keypoints that are labelled somewhere
    labelled = labels[:, _LIMBS, 2] > 0
    distance = np.linalg.norm(error[:, _LIMBS], axis=-1)
    relative = distance / _torso(labels)[:, None]
    correct = np.nan_to_num(relative, nan=np.inf) < ALPHA
    shares = []

    for keypoint in range(correct.shape[1]):
        counted = labelled[:, keypoint]
        if counted.any():
            shares.append(correct[counted, keypoint].mean())

    # Ellipses, of the people found
    found = np.isfinite(error).all((1, 2))
    inside = labelled & found[:, None]
    covariance = answers.covariance_px2[rows][:, _LIMBS]
    square = mahalanobis(error[:, _LIMBS][inside], covariance[inside])
    ellipses = calibration(square, 2)

    row = {
        "PCK": 100 * float(np.mean(shares)),
        "found": 100 * float(found.mean()),
        "people": float(len(labels)),
    }

    return row | calibration_row(ellipses, LEVELS)


def _empty_row() -> dict[str, float]:
    row = {"PCK": np.nan, "found": np.nan, "people": 0.0}
    ellipses = calibration(np.zeros(0), 2)
    return row | calibration_row(ellipses, LEVELS)


def _torso(keypoints: np.ndarray) -> np.ndarray:
    """(M,) distance from the left shoulder to the right hip, px, labelled or not."""
    shoulder = keypoints[:, _L_SHOULDER, :2]
    hip = keypoints[:, _R_HIP, :2]
    return np.linalg.norm(shoulder - hip, axis=1)
