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
from lifting_ros.skeleton import KEYPOINT_NAMES, LSP_TO_KEYPOINT
from lifting_ros.types import Skeleton2D

LEAST_TORSO_PX = 25.0
ALPHA = 0.2
"""A keypoint is right within so many torsos of its label."""

LEVELS = (50, 90)

_LIMBS = slice(2, 14)
_NAMES = ("right_shoulder", "left_shoulder", "right_hip", "left_hip", "right_knee", "left_knee")
_R_SHOULDER, _L_SHOULDER, _R_HIP, _L_HIP, _R_KNEE, _L_KNEE = (
    KEYPOINT_NAMES.index(name) for name in _NAMES
)


class EverydaySet(NamedTuple):
    """Photographs and everybody who is labelled in them."""

    images: tuple[np.ndarray, ...]
    """(H, W, 3) uint8 RGB each."""
    keypoints: np.ndarray
    """(M, 14, 3) x, y px and 1 where labelled; not labelled means hidden, cut off or small."""
    image_index: np.ndarray
    """(M,) the photograph of each person."""


class Answers(NamedTuple):
    """What was found of the M labelled people."""

    error_px: np.ndarray
    """(M, 14, 2) keypoint minus label; NaN where the person was not found."""
    covariance_px2: np.ndarray
    """(M, 14, 2, 2); NaN where the person was not found."""


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


def everyday_tables(estimator: PoseEstimator, photos: EverydaySet) -> dict[str, dict[str, float]]:
    """Rows by kind of people: PCK@0.2 of the 12 limb keypoints, share found, count, and % of labels
    inside the keypoints' ellipses."""
    answers = find_everybody(estimator, photos)
    return {
        kind: everyday_row(answers, photos.keypoints, rows)
        for kind, rows in kinds_of_people(photos.keypoints).items()
    }


def find_everybody(estimator: PoseEstimator, photos: EverydaySet) -> Answers:
    """The answers of the whole 2D side to every labelled person."""
    count = len(photos.keypoints)
    answers = Answers(np.full((count, 14, 2), np.nan), np.full((count, 14, 2, 2), np.nan))

    for number, image in enumerate(
        Progress(photos.images, desc="everyday photographs", delay=2, leave=False)
    ):
        found = estimator.find_keypoints(image, estimator.detector.detect(image))
        for person in np.flatnonzero(photos.image_index == number):
            best = best_answer(found, photos.keypoints[person])
            if best is not None:
                answers.error_px[person] = best.keypoints_px - photos.keypoints[person, :, :2]
                answers.covariance_px2[person] = best.covariance_px2

    return answers


def best_answer(found: list[Skeleton2D], label: np.ndarray) -> Skeleton2D | None:
    """The skeleton that answers for a labelled person (14, 3), None where none does."""
    best = None
    most = -1
    torso = _torso(label[None])[0]
    limbs = label[_LIMBS, 2] > 0

    for skeleton in found:
        error = np.linalg.norm(skeleton.keypoints_px - label[:, :2], axis=-1)[_LIMBS][limbs] / torso
        error = np.where(np.isfinite(error), error, np.inf)
        right = int((error < ALPHA).sum())
        if np.median(error) < 1 and right > most:
            best = skeleton
            most = right

    return best


def kinds_of_people(keypoints: np.ndarray) -> dict[str, np.ndarray]:
    """Boolean rows (M,) by kind: all who count, whole, partly seen, sitting."""
    seen = keypoints[..., 2] > 0
    counted = seen[:, [_R_SHOULDER, _L_SHOULDER, _R_HIP, _L_HIP]].all(1) & (
        _torso(keypoints) > LEAST_TORSO_PX
    )
    whole = seen[:, _LIMBS].all(1)

    pairs = ([_R_SHOULDER, _L_SHOULDER], [_R_HIP, _L_HIP], [_R_KNEE, _L_KNEE])
    shoulder, hip, knee = (keypoints[:, pair, :2].mean(1) for pair in pairs)
    trunk = np.linalg.norm(shoulder - hip, axis=1)
    upright = (hip - shoulder)[:, 1] > 0.7 * trunk
    level = (knee - hip)[:, 1] < 0.45 * trunk
    sitting = seen[:, [_R_KNEE, _L_KNEE]].all(1) & upright & level

    return {
        "all": counted,
        "whole": counted & whole,
        "partly seen": counted & ~whole,
        "sitting": counted & sitting,
    }


def everyday_row(answers: Answers, keypoints: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    """One row of `everyday_tables`; NaN where nobody is of that kind."""
    error = answers.error_px[rows]
    labels = keypoints[rows]
    if not len(labels):
        return (
            {"PCK": np.nan, "found": np.nan, "people": 0.0}
            | {f"{level} %": np.nan for level in LEVELS}
            | {"NEES": np.nan, "n": 0.0}
        )

    labelled = labels[:, _LIMBS, 2] > 0
    distance = np.linalg.norm(error[:, _LIMBS], axis=-1) / _torso(labels)[:, None]
    right = np.nan_to_num(distance, nan=np.inf) < ALPHA
    each = [right[labelled[:, k], k].mean() for k in range(right.shape[1]) if labelled[:, k].any()]

    found = np.isfinite(error).all((1, 2))
    inside = labelled & found[:, None]
    covariance = answers.covariance_px2[rows][:, _LIMBS]
    ellipses = calibration(mahalanobis(error[:, _LIMBS][inside], covariance[inside]), 2)
    row = {
        "PCK": 100 * float(np.mean(each)),
        "found": 100 * float(found.mean()),
        "people": float(len(labels)),
    }

    return row | calibration_row(ellipses, LEVELS)


def _torso(keypoints: np.ndarray) -> np.ndarray:
    """(M,) left shoulder to right hip, px, labelled or not."""
    return np.linalg.norm(keypoints[:, _L_SHOULDER, :2] - keypoints[:, _R_HIP, :2], axis=1)
