# SPDX-License-Identifier: Apache-2.0
"""Range and place of rendered people whose camera is known: large and small in the picture, whole
and cut off above the hips, with straight and with bent knees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np

from lifting_ros.estimator import PoseEstimator
from lifting_ros.geometry.camera import Camera, scale_intrinsics
from lifting_ros.io.progress import Progress
from lifting_ros.research.datasets.keypoints2d import keypoint_box
from lifting_ros.research.evaluation.calibration import (
    calibration,
    calibration_row,
    mahalanobis,
)
from lifting_ros.research.evaluation.half_bodies import cut_row
from lifting_ros.research.evaluation.people_groups import GROUPS, groups_of
from lifting_ros.research.evaluation.rendered_people import matching_person
from lifting_ros.research.evaluation.synthetic_people import RenderedPeople
from lifting_ros.skeleton import ROOT

Rows = dict[str, dict[str, float]]

LEVELS = (50, 90)
"""Levels of the intervals, %."""

POSTURES = GROUPS[:2]


class Sight(NamedTuple):
    """How a picture is shown to the estimator."""

    scale: float = 1.0
    """Factor on its sides."""
    is_cut: bool = False
    """Whether it ends above the hips."""


SIGHTS = {
    "whole": Sight(),
    "half the size": Sight(scale=0.5),
    "a quarter of the size": Sight(scale=0.25),
    "cut off above the hips": Sight(is_cut=True),
}


class Placed(NamedTuple):
    """N people who were found and placed, in the optical frame."""

    root_m: np.ndarray
    """(N, 3) as estimated."""
    covariance_m2: np.ndarray
    """(N, 3, 3) of it."""
    truth_m: np.ndarray
    """(N, 17, 3) true joints."""
    height_px: np.ndarray
    """(N,) longer side of the box of the labelled keypoints."""
    sought: int
    """Number of people who should have been found."""


def place_rows(estimator: PoseEstimator, people: RenderedPeople) -> Rows:
    """A row of range and place for each of SIGHTS and POSTURES; see `place_row`."""
    rows: Rows = {}
    for name, sight in SIGHTS.items():
        placed = place(estimator, people, sight)
        groups = groups_of(placed.truth_m)
        for posture in POSTURES:
            rows[f"{name}, {posture}"] = place_row(placed, groups[posture])
        found = 100 * len(placed.root_m) / placed.sought if placed.sought else float("nan")
        rows[f"{name}, all"] = place_row(placed) | {"found %": found}
    return rows


def place(estimator: PoseEstimator, people: RenderedPeople, sight: Sight) -> Placed:
    """The people that the estimator finds where a picture is shown like `sight`.

    Where pictures are cut, only upright people with all leg keypoints labelled are sought.
    """
    found = []
    sought = 0
    for index in Progress(range(len(people.rows)), desc="placing", unit="picture", delay=2):
        image = np.asarray(people.pack.images[people.rows[index]])
        labels = people.pack.keypoints[people.rows[index]]
        shown = show(image, people.matrix[index], labels, sight)
        if shown is None:
            continue

        sought += 1
        image, matrix, labels = shown
        persons = estimator.estimate(image, Camera(matrix), people.up[index]).persons
        box_px = keypoint_box(labels)
        person = matching_person(persons, box_px)
        if person is None or not np.isfinite(person.skeleton_3d.root_covariance_m2).all():
            continue

        skeleton = person.skeleton_3d
        side_px = float((box_px[2:] - box_px[:2]).max())
        joints_m = people.joints_m[index]
        found.append((skeleton.root_m, skeleton.root_covariance_m2, joints_m, side_px))

    columns = list(zip(*found)) or [[]] * 4
    return Placed(
        root_m=np.array(columns[0], float).reshape(-1, 3),
        covariance_m2=np.array(columns[1], float).reshape(-1, 3, 3),
        truth_m=np.array(columns[2], float).reshape(-1, *people.joints_m.shape[1:]),
        height_px=np.array(columns[3], float),
        sought=sought,
    )


def show(
    image: np.ndarray, matrix: np.ndarray, labels: np.ndarray, sight: Sight
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Image, camera matrix and labels (14, 3) of a picture shown like `sight`; None where it cannot
    be cut above the hips."""
    if sight.is_cut:
        end = cut_row(labels)
        if end is None:
            return None
        image = np.ascontiguousarray(image[:end])
        labels = labels[labels[:, 1] < end]

    if sight.scale != 1.0:
        size = np.array(image.shape[1::-1])
        smaller = np.maximum(np.rint(sight.scale * size), 1).astype(int)
        factor = smaller / size
        image = cv2.resize(image, tuple(smaller.tolist()), interpolation=cv2.INTER_AREA)
        matrix = scale_intrinsics(matrix, *factor)
        labels = labels.copy()
        labels[:, :2] = (labels[:, :2] + 0.5) * factor - 0.5

    return image, matrix, labels


def place_row(placed: Placed, chosen: np.ndarray | None = None) -> Mapping[str, float]:
    """Median of range divided by true range; mean range error in % of it; share of true ranges
    inside the intervals of LEVELS in %; NEES of range and place; of the people `chosen` (N,)."""
    chosen = np.ones(len(placed.root_m), bool) if chosen is None else chosen
    root_m = placed.root_m[chosen]
    truth_m = placed.truth_m[chosen, ROOT]
    covariance = placed.covariance_m2[chosen]

    # Range along the ray of the estimate
    range_m = np.linalg.norm(root_m, axis=-1)
    ray = root_m / np.maximum(range_m, 1e-12)[:, None]
    error_m = root_m - truth_m
    along_m = (ray * error_m).sum(-1)
    variance = np.einsum("na,nab,nb->n", ray, covariance, ray)
    ranges = calibration(along_m**2 / np.maximum(variance, 1e-12), 1)
    places = calibration(mahalanobis(error_m, covariance), 3)

    count = len(root_m)
    ratio = range_m / np.linalg.norm(truth_m, axis=-1)
    row = {
        "range / true": float(np.median(ratio)) if count else float("nan"),
        "range error %": 100 * float(np.abs(ratio - 1).mean()) if count else float("nan"),
    }
    row |= calibration_row(ranges, LEVELS)
    del row["count"]
    return row | {
        "place NEES": places.nees,
        "longer side px": float(np.median(placed.height_px[chosen])) if count else float("nan"),
        "people": float(count),
    }
