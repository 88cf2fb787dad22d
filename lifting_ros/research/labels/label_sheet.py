# SPDX-License-Identifier: Apache-2.0
"""A contact sheet of labelled photographs, from the worst to the best, with poses and scores."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from lifting_ros.research.labels.labels import Labels
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_TO_JOINT
from lifting_ros.types import JointStatus, LiftedPoses, Person, Skeleton2D
from lifting_ros.viz.overlay import contact_sheet

EDGE = 0.12
"""Share of a window's side that is cut off on each side; the margin is for shifted crops."""


def spread_rows(labels: Labels, most: int) -> np.ndarray:
    """At most `most` rows (n,), evenly spread from the worst to the best: refused ones first, then
    by falling expected error."""
    expected = labels.quality["expected_error_m"]
    order = np.lexsort((-expected, labels.good))

    count = min(most, len(order))
    places = np.linspace(0, len(order) - 1, count)
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
    _, coded = cv2.imencode(".png", sheet[..., ::-1])
    return coded.tobytes()


def said(labels: Labels, row: int) -> str:
    """Two lines about a label."""
    quality = {name: values[row] for name, values in labels.quality.items()}
    expected_mm = 1e3 * quality["expected_error_m"]
    lifters_mm = 1e3 * quality["lifters_m"]

    verdict = "good" if labels.good[row] else "refused"
    expected = f"{expected_mm:.0f} mm expected"
    lifters = f"lifters {lifters_mm:.0f} mm"
    limbs = f"limbs {quality['limb_ratios']:.2f}"
    bent = f"bent {quality['joint_limits_deg']:.0f} deg"
    return f"{verdict}, {expected}\n{lifters}, {limbs}, {bent}"


def _person(
    labels: Labels,
    row: int,
    edge: int,
) -> Person:
    """The label as a Person for the overlay, in pixels of its window without `edge` px on each
    side."""
    # Keypoints
    keypoints = labels.keypoints[row].astype(float)
    points = keypoints[:, :2] - edge
    confidence = keypoints[:, 2]
    is_seen = confidence > 0
    seen = points[is_seen] if is_seen.any() else np.zeros((1, 2))
    box = np.concatenate([seen.min(0), seen.max(0)])
    unknown = np.full((14, 2, 2), np.nan)
    skeleton = Skeleton2D(points, confidence, unknown, box, 1.0)

    # Joints
    poses = LiftedPoses.invalid(1, 1)
    poses.joints_m[0] = labels.joints_m[row]
    poses.root_m[0] = 0.0
    poses.covariance_m2[0] = labels.covariance_m2[row]
    poses.status[0] = JointStatus.INFERRED
    observed = np.array(KEYPOINT_TO_JOINT)[is_seen]
    poses.status[0, observed] = JointStatus.OBSERVED

    pose = poses.skeleton(0, confidence, False)
    velocity = np.full((JOINT_COUNT, 3), np.nan)
    return Person(0, 0.0, skeleton, pose, velocity)
