# SPDX-License-Identifier: Apache-2.0
"""Is a keypoint that is not in the picture said to be absent? Labelled photographs, cut off above
the hips and as they are."""

from __future__ import annotations

import numpy as np

from lifting_ros.detection.detector import overlaps
from lifting_ros.estimator import PoseEstimator
from lifting_ros.io.progress import Progress
from lifting_ros.research.datasets.keypoints2d import PhotoSet, keypoint_box
from lifting_ros.skeleton import KEYPOINT_NAMES
from lifting_ros.types import Skeleton2D

LEGS = [k for k, name in enumerate(KEYPOINT_NAMES) if name.endswith(("hip", "knee", "ankle"))]
"""The six keypoints of hips, knees and ankles."""

ABOVE_HIPS = 0.15
"""How far above the hips the photograph ends, divided by the length of the trunk."""

_SHOULDERS = [KEYPOINT_NAMES.index(name) for name in ("right_shoulder", "left_shoulder")]
_HIPS = [KEYPOINT_NAMES.index(name) for name in ("right_hip", "left_hip")]


def half_body_row(estimator: PoseEstimator, photos: PhotoSet, rows: np.ndarray) -> dict[str, float]:
    """People found and legs reported, of those rows that show an upright person with all legs
    labelled.

    found: share of the people found in the cut photographs; absent: leg keypoints of six with a
    confidence that the lifter uses, of those found in the cut photographs, where none is in view;
    present: share of them in the whole photographs, where all are.
    """
    least = estimator.config.min_keypoint_confidence
    absent = []
    present = []
    people = 0

    for row in Progress(rows, desc=f"{photos.name}, half bodies", delay=2, leave=False):
        labels = photos.keypoints[row]
        end = cut_row(labels)
        if end is None:
            continue

        people += 1
        image = photos.image(row)
        whole = _person(estimator, image, labels)

        if whole is not None:
            present.append((whole.confidence[LEGS] >= least).mean())

        half = _person(estimator, np.ascontiguousarray(image[:end]), labels[labels[:, 1] < end])

        if half is not None:
            absent.append((half.confidence[LEGS] >= least).sum())

    return {
        "people": float(people),
        "found": len(absent) / people if people else np.nan,
        "absent": float(np.mean(absent)) if absent else np.nan,
        "present": float(np.mean(present)) if present else np.nan,
    }


def cut_row(labels: np.ndarray) -> int | None:
    """The image row at which a photograph ends above the hips of a person (14, 3); None for one who
    lies, hangs or lacks labels."""
    if not (labels[[*_SHOULDERS, *LEGS], 2] > 0).all():
        return None

    shoulder = labels[_SHOULDERS, 1].max()
    hip = labels[_HIPS, 1].min()
    trunk = hip - shoulder
    end = int(hip - ABOVE_HIPS * trunk)
    legs_below = (labels[LEGS, 1] > end + 1).all()

    return end if trunk > 20 and legs_below else None


def _person(estimator: PoseEstimator, image: np.ndarray, labels: np.ndarray) -> Skeleton2D | None:
    """The skeleton whose box overlaps that of the labels (n, 3) most; None without overlap."""
    found = estimator.find_keypoints(image, estimator.detector.detect(image))
    if not found:
        return None

    shared = [overlaps(keypoint_box(labels), skeleton.box_px[None])[0] for skeleton in found]

    return found[int(np.argmax(shared))] if max(shared) > 0.1 else None
