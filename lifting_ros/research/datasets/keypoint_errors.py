# SPDX-License-Identifier: Apache-2.0
"""Measured errors of the 2D side: detector and keypoint network run on rendered people, whose
keypoints are known. The errors are then applied to other people.

All 14 errors of one person are applied together, to a person in a similar view. So correlated
errors stay correlated: exchanged sides, a misplaced limb, a half body.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifting_ros.detection.detector import overlaps
from lifting_ros.errors import DataError
from lifting_ros.estimator import EstimatorConfig, PoseEstimator, network_and_detector
from lifting_ros.io.arrays import read_arrays, read_images, write_npz
from lifting_ros.io.checkpoint import sha256_of
from lifting_ros.io.progress import Progress
from lifting_ros.research.datasets.keypoints2d import keypoint_box
from lifting_ros.skeleton import KEYPOINT_FLIP, KEYPOINT_NAMES, KEYPOINT_TO_JOINT
from lifting_ros.types import Skeleton2D

VIEWS = 6
"""Kinds of views: from the front, the side and behind; trunk upright or not."""

LEAST_ROWS = 30
"""A view with fewer people uses the errors of all views."""

_MATCH = 0.3
"""Minimum IoU of a person and the skeleton found for it."""

_SIDE = 0.3
"""A person whose shoulders are narrower, divided by the extent, is seen from the side."""

_CONFUSED = 0.5
"""A keypoint is exchanged if its distance from the other side's true keypoint is less than this
fraction of the distance from its own."""

_SHOULDERS = [KEYPOINT_NAMES.index(name) for name in ("right_shoulder", "left_shoulder")]
_HIPS = [KEYPOINT_NAMES.index(name) for name in ("right_hip", "left_hip")]


class KeypointErrors(NamedTuple):
    """Errors of M people. Distances are divided by the person's extent, the root mean square
    distance of the 14 true keypoints from their mean."""

    offset: np.ndarray
    """(M, 14, 2) found keypoint minus its true one; minus the other side's where exchanged."""
    swapped: np.ndarray
    """(M, 14) bool: exchanged with the other side's keypoint."""
    confidence: np.ndarray
    """(M, 14) in [0, 1]."""
    deviation: np.ndarray
    """(M, 14) std that the network reports."""
    view: np.ndarray
    """(M,) kind of view, 0 to VIEWS - 1."""


def measure_errors(
    estimator: PoseEstimator,
    images: np.ndarray,
    true_px: np.ndarray,
) -> KeypointErrors:
    """Errors of the whole 2D side, its own detector included, on the main persons of pictures.

    images: M of (H, W, 3) uint8 RGB; true_px: (M, 14, 2), also where hidden or outside. People who
    are not found are left out; DataError where nobody is found.
    """
    rows = []
    shown = Progress(images, desc="errors of keypoints", unit="picture")
    for image, true in zip(shown, true_px):
        found = estimator.find_keypoints(image, estimator.detect(image))
        answer = answer_to(true, found)
        if answer is not None:
            rows.append(_errors_of(answer, true))

    if not rows:
        raise DataError("errors of keypoints: nobody was found in these pictures")
    return KeypointErrors(*(np.stack(values) for values in zip(*rows)))


def answer_to(
    true: np.ndarray,
    found: list[Skeleton2D],
) -> Skeleton2D | None:
    """The skeleton whose box has the largest IoU with the box of the true keypoints (14, 2); None
    below _MATCH."""
    if not found:
        return None

    labels = np.concatenate([true, np.ones((len(true), 1))], 1)
    boxes = np.array([skeleton.box_px for skeleton in found])
    shared = overlaps(keypoint_box(labels), boxes)
    best = int(np.argmax(shared))
    return found[best] if shared[best] >= _MATCH else None


def _errors_of(
    answer: Skeleton2D,
    true: np.ndarray,
) -> KeypointErrors:
    """The errors of one person, a KeypointErrors without its first axis."""
    extent = extents(true[None])[0]

    # Exchanged sides
    other = true[list(KEYPOINT_FLIP)]
    own_gap = np.linalg.norm(answer.keypoints_px - true, axis=-1)
    other_gap = np.linalg.norm(answer.keypoints_px - other, axis=-1)
    swapped = other_gap < _CONFUSED * own_gap

    belongs_to = np.where(swapped[:, None], other, true)
    offset = (answer.keypoints_px - belongs_to) / extent
    variance = np.trace(answer.covariance_px2, axis1=1, axis2=2) / 2
    deviation = np.sqrt(variance) / extent

    return KeypointErrors(
        offset=offset.astype(np.float32),
        swapped=swapped,
        confidence=answer.confidence.astype(np.float32),
        deviation=deviation.astype(np.float32),
        view=view_of(true[None])[0],
    )


def extents(points: np.ndarray) -> np.ndarray:
    """Root mean square distance (N,) of points (N, 14, 2) from their mean."""
    centred = points - points.mean(1, keepdims=True)
    square = (centred**2).sum(-1)
    return np.sqrt(square.mean(1))


def view_of(points: np.ndarray) -> np.ndarray:
    """Kind of view (N,) of keypoints (N, 14, 2), y down: 0 front, 1 side, 2 behind; 3 more where
    the trunk is not upright."""
    right = points[:, _SHOULDERS[0]]
    left = points[:, _SHOULDERS[1]]
    width = (left - right)[:, 0] / extents(points)
    facing = np.select([width > _SIDE, width < -_SIDE], [0, 2], 1)

    hips = points[:, _HIPS].mean(1)
    trunk = hips - (right + left) / 2
    upright = trunk[:, 1] > np.abs(trunk[:, 0])
    return np.where(upright, facing, facing + 3)


class Carried(NamedTuple):
    """Keypoints of N people with measured errors."""

    points: np.ndarray
    """(N, 14, 2)."""
    deviation: np.ndarray
    """(N, 14) std that the network reports, in the unit of `points`."""
    confidence: np.ndarray
    """(N, 14)."""


def carry_over(
    errors: KeypointErrors,
    points: np.ndarray,
    rng: np.random.Generator,
) -> Carried:
    """Exact keypoints (N, 14, 2) with the measured errors of people in a similar view."""
    # A person in a similar view for each
    chosen = rng.integers(0, len(errors.view), len(points))
    view = view_of(points)
    for kind in range(VIEWS):
        alike = np.flatnonzero(errors.view == kind)
        rows = np.flatnonzero(view == kind)
        if len(alike) >= LEAST_ROWS:
            chosen[rows] = rng.choice(alike, len(rows))

    other = points[:, list(KEYPOINT_FLIP)]
    belongs_to = np.where(errors.swapped[chosen][..., None], other, points)
    extent = extents(points)[:, None]
    return Carried(
        points=belongs_to + errors.offset[chosen] * extent[..., None],
        deviation=errors.deviation[chosen] * extent,
        confidence=errors.confidence[chosen],
    )


def open_errors(
    people: Path,
    work: Path,
) -> KeypointErrors:
    """Errors of the shipped detector and network on rendered people, measured once and kept in
    `work`.

    people: a pack of windows that `lifting render` made; DataError in one line for another folder.
    """
    labels_file = people / "labels.npz"
    if not labels_file.is_file():
        raise DataError(f"{people}: not a pack of rendered people (no labels.npz)")

    # The name of the file depends on everything that the errors depend on
    config = EstimatorConfig(device="cpu", min_person_score=0.0)
    files = [*network_and_detector(config), labels_file]
    depends_on = [sha256_of(file) for file in files] + [repr(dataclasses.asdict(config))]
    key = hashlib.sha256("".join(depends_on).encode()).hexdigest()
    kept = work / f"keypoint_errors_{key[:16]}.npz"
    if kept.is_file():
        return read_errors(kept)

    # The true keypoints, also of hidden joints
    expected = {"joints_camera_m": ("N", 17, 3), "K": ("N", 3, 3)}
    labels = read_arrays(labels_file, expected)
    images = read_images(people / "images.npy")
    seen = labels["joints_camera_m"][:, list(KEYPOINT_TO_JOINT)]
    projected = np.einsum("nab,nkb->nka", labels["K"], seen)
    true_px = projected[..., :2] / projected[..., 2:]

    errors = measure_errors(PoseEstimator(config), images, true_px)
    work.mkdir(parents=True, exist_ok=True)
    save_errors(kept, errors)
    return errors


def save_errors(
    path: Path,
    errors: KeypointErrors,
) -> None:
    """Write the errors as .npz."""
    write_npz(path, errors._asdict())


def read_errors(path: Path) -> KeypointErrors:
    """Read what `save_errors` wrote; FileNotFoundError, or DataError in one line for another
    file."""
    expected = {
        "offset": ("M", 14, 2),
        "swapped": ("M", 14),
        "confidence": ("M", 14),
        "deviation": ("M", 14),
        "view": ("M",),
    }

    return KeypointErrors(**read_arrays(path, expected))
