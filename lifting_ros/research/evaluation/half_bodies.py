# SPDX-License-Identifier: Apache-2.0
"""Whether keypoints outside the picture are reported as absent: on labelled photographs, whole and
cut off above the hips."""

from __future__ import annotations

import numpy as np

from lifting_ros.estimator import PoseEstimator
from lifting_ros.io.progress import Progress
from lifting_ros.research.datasets.keypoints2d import PhotoSet
from lifting_ros.research.evaluation.keypoints import find_person
from lifting_ros.skeleton import KEYPOINT_NAMES

LEGS = [k for k, name in enumerate(KEYPOINT_NAMES) if name.endswith(("hip", "knee", "ankle"))]
"""The six keypoints of hips, knees and ankles."""

ABOVE_HIPS = 0.15
"""Distance of the cut above the hips, divided by the length of the trunk."""

_SHOULDERS = [KEYPOINT_NAMES.index(name) for name in ("right_shoulder", "left_shoulder")]
_HIPS = [KEYPOINT_NAMES.index(name) for name in ("right_hip", "left_hip")]


def half_body_row(
    estimator: PoseEstimator,
    photos: PhotoSet,
    rows: np.ndarray,
) -> dict[str, float]:
    """People found and leg keypoints reported, of the rows that show an upright person with all
    leg keypoints labelled. Reported means a confidence that the lifter uses.

    people: number of those rows; found: share of the people found in the cut photographs; absent:
    leg keypoints reported, of 6, per person found in the cut photographs, where none is in view;
    present: share of the leg keypoints reported in the whole photographs, where all are in view.
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
        whole = find_person(estimator, image, labels)
        if whole is not None:
            reported = whole.confidence[LEGS] >= least
            present.append(reported.mean())

        upper_image = np.ascontiguousarray(image[:end])
        upper_labels = labels[labels[:, 1] < end]
        half = find_person(estimator, upper_image, upper_labels)
        if half is not None:
            reported = half.confidence[LEGS] >= least
            absent.append(reported.sum())

    return {
        "people": float(people),
        "found": len(absent) / people if people else np.nan,
        "absent": float(np.mean(absent)) if absent else np.nan,
        "present": float(np.mean(present)) if present else np.nan,
    }


def cut_row(labels: np.ndarray) -> int | None:
    """The image row at which a photograph ends above the hips of a person (14, 3).

    None for a person who lies, hangs or lacks a label of shoulders or legs.
    """
    required = [*_SHOULDERS, *LEGS]
    if not (labels[required, 2] > 0).all():
        return None

    shoulder = labels[_SHOULDERS, 1].max()
    hip = labels[_HIPS, 1].min()
    trunk = hip - shoulder
    end = int(hip - ABOVE_HIPS * trunk)
    legs_below = (labels[LEGS, 1] > end + 1).all()
    return end if trunk > 20 and legs_below else None
