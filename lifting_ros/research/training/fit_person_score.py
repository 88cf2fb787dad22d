# SPDX-License-Identifier: Apache-2.0
"""Fits the weights of a network's person score (`keypoints.person_score`) by logistic regression.

The rows are detections in pictures that no network was trained on: of labelled persons, whole and
cut off, and in pictures of nobody.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from lifting_ros.estimator import EstimatorConfig, PoseEstimator
from lifting_ros.io.arrays import read_images
from lifting_ros.keypoints.person_score import (
    PersonScore,
    bounded_logit,
    evidence_of,
    person_score,
    surest,
)
from lifting_ros.research.datasets.crowd_pack import write_crowd_pack
from lifting_ros.research.datasets.half_seen import half_seen
from lifting_ros.research.datasets.keypoints2d import keypoint_box, photo_sets_in, read_photo_set
from lifting_ros.research.datasets.made_once import make_once
from lifting_ros.research.datasets.mocap import find_mocap
from lifting_ros.research.datasets.negatives import read_negatives
from lifting_ros.research.datasets.scene_parts import random_window
from lifting_ros.research.datasets.splits import rows_of
from lifting_ros.research.rendering.synthetic_pack import VERSION
from lifting_ros.types import FoundKeypoints

WHOLE = "whole"
HALF = "half seen"
PHOTOGRAPHS = "photographs of nobody"
PARTS = "parts of them"
ROOMS = "rendered rooms"

NOBODY = (PHOTOGRAPHS, PARTS, ROOMS)
"""Kinds of pictures without people."""

WHOLE_OF_EACH = 75
"""Whole photographs of each set."""

PARTS_OF_EACH = 10
"""Windows of each photograph without people."""

_PART_PX = (320, 240)

ROOM_COUNT = 300

_ROOM_PX = (640, 480)
_ROOM_SEED = 112

_NEAR = 0.12
"""Distance of a keypoint that is right from its label, divided by the longer side of the labelled
box."""

_RIDGE = 1e-3
"""Weight of the squared coefficients of standardised evidence."""

FOLDS = 5
"""Parts of the cross-validation; a photograph and its cut version are in the same one."""


class Picture(NamedTuple):
    """A picture with one labelled person, or with nobody."""

    kind: str
    photograph: str
    """What it was made from."""
    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    keypoints: np.ndarray | None
    """(14, 3) of the person; None: nobody."""


class Rows(NamedTuple):
    """D detections in P pictures: those of the labelled persons, and all where nobody is."""

    evidence: np.ndarray
    """(D, 3) of `person_score.evidence_of`."""
    plain: np.ndarray
    """(D,) score without weights."""
    picture: np.ndarray
    """(D,) number of the picture."""
    kind: np.ndarray
    """(P,) kinds of the pictures."""
    photograph: np.ndarray
    """(P,) what each was made from."""

    @property
    def is_person(self) -> np.ndarray:
        """(D,) bool."""
        return ~np.isin(self.kind[self.picture], NOBODY)


def open_rooms(folder: Path, data: Path) -> np.ndarray:
    """Rendered rooms without people (ROOM_COUNT, H, W, 3), of backgrounds of the side `tune`;
    rendered into `folder` where it is not there yet."""
    source = partial(_room_source, data)
    make_once(
        folder, VERSION, lambda folder: write_crowd_pack(folder, source, _ROOM_PX, 0, ROOM_COUNT)
    )
    return read_images(folder / "images.npy")


def _room_source(data: Path):
    # Only rendering requires the packages that this imports
    from lifting_ros.research.rendering.synthetic import SyntheticPeople

    backgrounds = read_negatives(data / "negatives", "tune")
    return SyntheticPeople(
        data / "body", find_mocap(data), backgrounds, _ROOM_SEED, _ROOM_PX, "training"
    )


def tune_pictures(data: Path, rooms: np.ndarray) -> Iterator[Picture]:
    """Pictures of the side `tune` of `data`, and the rooms (R, H, W, 3) without people."""
    folder = data / "keypoints2d"
    for name in photo_sets_in(folder):
        photos = read_photo_set(folder, name)
        rows = np.flatnonzero(rows_of(photos.validation, "tune"))
        step = -(-len(rows) // WHOLE_OF_EACH)
        for row in rows:
            photograph = f"{name} {row}"
            keypoints = photos.keypoints[row].astype(float)
            if row in rows[::step]:
                yield Picture(WHOLE, photograph, photos.image(row), keypoints)
            if name == "lspet":  # half an acrobat is nothing that a robot meets
                continue

            rng = np.random.default_rng(row)
            half = half_seen(photos.image(row), keypoints, rng)
            if half is not None:
                yield Picture(HALF, photograph, *half)

    for number, image in enumerate(read_negatives(data / "negatives", "tune")):
        photograph = f"nobody {number}"
        yield Picture(PHOTOGRAPHS, photograph, image, None)
        for n in range(PARTS_OF_EACH):
            rng = np.random.default_rng((number, n))
            yield Picture(PARTS, photograph, random_window(image, _PART_PX, rng), None)

    for number, image in enumerate(rooms):
        yield Picture(ROOMS, f"room {number}", np.asarray(image), None)


def collect(estimators: Sequence[PoseEstimator], pictures: Iterable[Picture]) -> list[Rows]:
    """The rows of each estimator; all have the same detector, which runs once."""
    kind = []
    photograph = []
    columns: list[list[tuple]] = [[] for _ in estimators]

    for number, picture in enumerate(pictures):
        kind.append(picture.kind)
        photograph.append(picture.photograph)
        detections = estimators[0].detector.detect(picture.image)
        for estimator, rows in zip(estimators, columns):
            for found, detection in estimator.look(picture.image, detections):
                if picture.keypoints is not None and not shows(found, picture.keypoints):
                    continue

                keypoints = surest(found.presence)
                evidence = evidence_of(detection.score, keypoints, found.ends)
                plain = person_score(detection.score, found.presence)
                rows.append((evidence, plain, number))

    result = []
    for rows in columns:
        evidence, plain, picture_number = zip(*rows)
        result.append(
            Rows(
                np.array(evidence),
                np.array(plain),
                np.array(picture_number),
                np.array(kind),
                np.array(photograph),
            )
        )

    return result


def shows(found: FoundKeypoints, keypoints: np.ndarray) -> bool:
    """Whether at least half of the labelled keypoints (14, 3) are found near their place."""
    labelled = keypoints[:, 2] > 0
    box = keypoint_box(keypoints)
    near = _NEAR * max(box[2:] - box[:2])
    distance = np.linalg.norm(found.keypoints_px - keypoints[:, :2], axis=1)
    return bool((distance[labelled] < near).mean() >= 0.5)


def fit(rows: Rows, used: np.ndarray | None = None) -> PersonScore:
    """The likeliest weights that are not negative; persons and alarms weigh the same in all.

    used: (D,) bool, the rows to fit on; None: all.
    """
    if used is None:
        used = np.ones(len(rows.evidence), bool)

    evidence = rows.evidence[used]
    is_person = rows.is_person[used]
    mean = evidence.mean(0)
    std = evidence.std(0) + 1e-9
    inputs = (evidence - mean) / std
    weight = np.where(is_person, 0.5 / is_person.sum(), 0.5 / (~is_person).sum())
    sign = np.where(is_person, 1.0, -1.0)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        factors = parameters[:-1]
        margin = sign * (inputs @ factors + parameters[-1])
        value = weight @ np.logaddexp(0, -margin) + _RIDGE * factors @ factors
        pull = -weight * sign * expit(-margin)
        gradient = np.append(inputs.T @ pull + 2 * _RIDGE * factors, pull.sum())
        return value, gradient

    bounds = [(0, None)] * 3 + [(None, None)]
    best = minimize(loss, np.zeros(4), jac=True, method="L-BFGS-B", bounds=bounds)
    factors = best.x[:3] / std
    constant = best.x[3] - factors @ mean
    return PersonScore(*map(float, factors), float(constant))


def shifted(score: PersonScore, rows: Rows, alarms: float) -> PersonScore:
    """The same with another constant: at the default `min_person_score`, a share `alarms` of the
    rendered rooms has a false alarm."""
    threshold = threshold_at(logits(score, rows.evidence), rows, alarms)
    wanted = bounded_logit(np.array(EstimatorConfig().min_person_score))
    constant = score.constant + float(wanted) - threshold
    return dataclasses.replace(score, constant=constant)


def logits(score: PersonScore, evidence: np.ndarray) -> np.ndarray:
    """(D,) logits of the scores of rows (D, 3)."""
    factors = np.array([score.detector, score.keypoints, score.ends])
    return evidence @ factors + score.constant


def held_out(rows: Rows, folds: int = FOLDS) -> np.ndarray:
    """(D,) logits, each by weights that were fitted without its photograph."""
    _, number = np.unique(rows.photograph, return_inverse=True)
    fold = np.random.default_rng(0).permutation(number.max() + 1)[number] % folds
    fold = fold[rows.picture]

    result = np.zeros(len(rows.evidence))
    for one in range(folds):
        score = fit(rows, fold != one)
        result[fold == one] = logits(score, rows.evidence[fold == one])

    return result


def highest(values: np.ndarray, rows: Rows) -> np.ndarray:
    """(P,) highest value of the rows of each picture, -inf where there are none."""
    result = np.full(len(rows.kind), -np.inf)
    np.maximum.at(result, rows.picture, values)
    return result


def threshold_at(values: np.ndarray, rows: Rows, alarms: float) -> float:
    """The value that is exceeded in a share `alarms` of the rendered rooms."""
    rooms = np.sort(highest(values, rows)[rows.kind == ROOMS])[::-1]
    count = round(alarms * len(rooms))
    return float(rooms[count - 1 : count + 1].mean())


def shares(values: np.ndarray, rows: Rows, threshold: float) -> dict[str, float]:
    """By kind, the share of the pictures with a value from the threshold on: persons found, or
    false alarms."""
    reported = highest(values, rows) >= threshold
    kinds = dict.fromkeys(rows.kind.tolist())
    return {kind: float(reported[rows.kind == kind].mean()) for kind in kinds}
