# SPDX-License-Identifier: Apache-2.0
"""A contact sheet of labelled photographs: from the worst to the best, each with its 3D pose and
what was said of it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from lifting_ros.research.labels.labels import Labels
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_TO_JOINT
from lifting_ros.types import JointStatus, LiftedPoses, Person, Skeleton2D
from lifting_ros.viz.overlay import contact_sheet

EDGE = 0.12
"""Share of a window's side that the sheet leaves out on each side: windows have room for shifts."""


def spread_rows(labels: Labels, most: int) -> np.ndarray:
    """At most `most` rows (n,), evenly from the worst to the best: refused ones first, then by the
    error that is expected."""
    order = np.lexsort((-labels.quality["expected_error_m"], labels.good))
    places = np.linspace(0, len(order) - 1, min(most, len(order)))
    return order[places.round().astype(int)]


def draw_sheet(labels: Labels, rows: Sequence[int], height_px: int = 300) -> bytes:
    """The sheet of some rows as a PNG; DataError where there are none."""
    edge = round(EDGE * labels.windows.shape[1])
    pictures = []
    persons = []
    captions = []
    for row in rows:
        window = np.asarray(labels.windows[row])
        pictures.append(window[edge:-edge, edge:-edge])
        persons.append([_person(labels, row, edge)])
        image = labels.images[labels.image_index[row]]
        captions.append(f"{image}\n{said(labels, row)}")

    sheet = contact_sheet(pictures, persons, captions, 3, height_px)
    return cv2.imencode(".png", sheet[..., ::-1])[1].tobytes()


def said(labels: Labels, row: int) -> str:
    """Two lines on a label."""
    quality = {name: values[row] for name, values in labels.quality.items()}
    parts = [
        "good" if labels.good[row] else "refused",
        f"{1e3 * quality['expected_error_m']:.0f} mm expected",
        f"\nlifters {1e3 * quality['lifters_m']:.0f} mm",
        f"limbs {quality['limb_ratios']:.2f}",
        f"bent {quality['joint_limits_deg']:.0f} deg",
    ]

    return ", ".join(parts).replace(", \n", "\n")


def _person(labels: Labels, row: int, edge: int) -> Person:
    """The label as a Person for the overlay, in pixels of its window less `edge` on each side."""
    points = labels.keypoints[row, :, :2].astype(float) - edge
    confidence = labels.keypoints[row, :, 2].astype(float)
    seen = points[confidence > 0] if (confidence > 0).any() else np.zeros((1, 2))
    nothing = np.full((14, 2, 2), np.nan)
    skeleton = Skeleton2D(
        points, confidence, nothing, np.concatenate([seen.min(0), seen.max(0)]), 1.0
    )
    poses = LiftedPoses.invalid(1, 1)
    poses.joints_m[0] = labels.joints_m[row]
    poses.root_m[0] = 0.0
    poses.covariance_m2[0] = labels.covariance_m2[row]
    poses.status[0] = JointStatus.INFERRED
    poses.status[0, list(KEYPOINT_TO_JOINT)] = np.where(
        confidence > 0, JointStatus.OBSERVED, JointStatus.INFERRED
    )

    return Person(
        0, 0.0, skeleton, poses.skeleton(0, confidence, False), np.full((JOINT_COUNT, 3), np.nan)
    )
