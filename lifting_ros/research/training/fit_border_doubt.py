# SPDX-License-Identifier: Apache-2.0
"""Fits a network's doubt about legs at the border (`keypoints.border_doubt`).

Photographs that no network was trained on are cut off at several heights, above and below hips,
knees and ankles. The fit maximises the likelihood of which leg keypoints the cut leaves in view.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import logit

from lifting_ros.detection.detector import box_of_keypoints, overlaps
from lifting_ros.errors import DataError
from lifting_ros.estimator import PoseEstimator
from lifting_ros.keypoints.border_doubt import (
    LEAST_PRESENCE,
    LEGS,
    BorderDoubt,
    distance_inside,
    taken,
)
from lifting_ros.research.datasets.keypoints2d import keypoint_box, photo_sets_in, read_photo_set
from lifting_ros.research.datasets.splits import rows_of
from lifting_ros.research.evaluation.half_bodies import cut_row
from lifting_ros.skeleton import KEYPOINT_NAMES
from lifting_ros.types import FoundKeypoints

CUTS = (
    ("hip", -0.5, 0.0),
    ("hip", 0.0, 0.4),
    ("knee", -0.3, 0.3),
    ("ankle", -0.3, 0.2),
)
"""Where each photograph is cut: somewhere between two distances below a pair of keypoints, in
lengths of the trunk."""

PEOPLE_OF_EACH = 60
"""Largest number of people of each set."""

LEAST_ROWS_PX = 40
"""Least height of what is left of a photograph."""

FOLDS = 5
"""Parts of the cross-validation, by photograph."""

_LEAST_OVERLAP = 0.1
"""IoU of an answer with the labelled person."""

_REACHES = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12)
"""Values of `BorderDoubt.reach` that are tried."""

_NEAR = 0.05
"""Distance of keypoints `at the border` from it, in longer sides of the person's box."""

_START = 1.0
_MOST = 20.0
"""Largest doubt that a fit gives, far from certain to be absent."""

_LEG_INDEX = [k for keypoints in LEGS.values() for k in keypoints]
_SHOULDERS = [KEYPOINT_NAMES.index(name) for name in ("right_shoulder", "left_shoulder")]


class Picture(NamedTuple):
    """A photograph that ends somewhere on the labelled person."""

    photograph: str
    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    keypoints: np.ndarray
    """(14, 3) labels; those of the legs also below the end of the image."""


class Rows(NamedTuple):
    """What the network says of the keypoints of P people who are cut off."""

    logit: np.ndarray
    """(P, 14) of the presence."""
    inside: np.ndarray
    """(P, 14) `distance_inside`; NaN for one placed outside the picture, which is never
    reported."""
    in_view: np.ndarray
    """(P, 14) bool: whether the labelled keypoint is in the picture."""
    mass: np.ndarray
    """(P, 14) confidence divided by the presence."""
    photograph: np.ndarray
    """(P,) name of the photograph."""


def cut_pictures(data: Path) -> Iterator[Picture]:
    """The rows `tune` of the photographs in `data` that show an upright person with labelled legs,
    each cut at CUTS."""
    folder = data / "keypoints2d"
    for name in photo_sets_in(folder):
        if name == "lspet":  # acrobats
            continue

        photos = read_photo_set(folder, name)
        held_back = np.flatnonzero(rows_of(photos.validation, "tune"))
        upright = [row for row in held_back if cut_row(photos.keypoints[row]) is not None]
        step = max(1, -(-len(upright) // PEOPLE_OF_EACH))
        for row in upright[::step]:
            keypoints = photos.keypoints[row].astype(float)
            image = photos.image(row)
            rng = np.random.default_rng(int(row))
            for end in ends_of_cuts(keypoints, rng):
                if LEAST_ROWS_PX < end < len(image):
                    part = np.ascontiguousarray(image[:end])
                    yield Picture(f"{name} {row}", part, keypoints)


def ends_of_cuts(keypoints: np.ndarray, rng: np.random.Generator) -> list[int]:
    """The image rows at which a photograph of a person (14, 3) is cut, one for each of CUTS."""
    y = keypoints[:, 1]
    hips = y[list(LEGS["hip"])]
    trunk = hips.min() - y[_SHOULDERS].max()
    ends = []
    for kind, least, most in CUTS:
        middle = y[list(LEGS[kind])].mean()
        ends.append(int(middle + rng.uniform(least, most) * trunk))

    return ends


def collect(estimator: PoseEstimator, pictures: Iterable[Picture]) -> Rows:
    """The rows of the pictures in which the labelled person is found; DataError without any.

    estimator: without a doubt about borders, so that its confidences are the network's.
    """
    rows = []
    for picture in pictures:
        height, width = picture.image.shape[:2]
        seen = picture.keypoints[picture.keypoints[:, 1] < height]
        answer = _answer_to(estimator, picture.image, seen)
        if answer is None:
            continue

        found, box = answer
        inside = distance_inside(found.keypoints_px, box, (width, height))
        placed = found.confidence > 0
        presence = np.clip(found.presence, LEAST_PRESENCE, 1 - LEAST_PRESENCE)
        in_view = picture.keypoints[:, 1] <= height - 0.5
        mass = found.confidence / presence
        rows.append(
            (
                logit(presence),
                np.where(placed, inside, np.nan),
                in_view,
                mass,
                picture.photograph,
            )
        )

    if not rows:
        raise DataError("fitting the doubt about borders: nobody was found in cut photographs")

    return Rows(*(np.array(column) for column in zip(*rows)))


def _answer_to(
    estimator: PoseEstimator, image: np.ndarray, seen: np.ndarray
) -> tuple[FoundKeypoints, np.ndarray] | None:
    """What the network finds of the person with labels (n, 3) in the image, and the box (4,) that
    it was cropped around; None where the person is not found."""
    answers = []
    boxes = []
    for found, detection in estimator.look(image, estimator.detect(image)):
        if estimator.score_person(detection.score, found) < estimator.config.min_person_score:
            continue

        answers.append((found, detection.box_px))
        boxes.append(box_of_keypoints(found.keypoints_px, found.confidence, detection.box_px))

    if not answers:
        return None

    shared = overlaps(keypoint_box(seen), np.array(boxes))
    best = int(shared.argmax())
    return answers[best] if shared[best] > _LEAST_OVERLAP else None


def fit(rows: Rows) -> BorderDoubt:
    """The likeliest values; none is negative."""
    best = min((_fit_at(rows, reach) for reach in _REACHES), key=lambda one: one[0])
    return best[1]


def _fit_at(rows: Rows, reach: float) -> tuple[float, BorderDoubt]:
    """The mean negative log-likelihood, and the likeliest values with that reach."""

    def doubt_of(values: np.ndarray) -> BorderDoubt:
        by_kind = dict(zip(LEGS, map(float, values), strict=True))
        return BorderDoubt(**by_kind, reach=reach)

    bounds = [(0.0, _MOST)] * len(LEGS)
    start = np.full(len(LEGS), _START)
    best = minimize(lambda values: surprise(rows, doubt_of(values)), start, bounds=bounds)
    rounded = np.round(best.x, 3)
    return float(best.fun), doubt_of(rounded)


def surprise(rows: Rows, doubt: BorderDoubt) -> float:
    """Mean negative log-likelihood, in nats, of which placed leg keypoints are in view."""
    legs = np.s_[:, _LEG_INDEX]
    placed = np.isfinite(rows.inside[legs])
    after = (rows.logit - taken(rows.inside, doubt))[legs][placed]
    sign = np.where(rows.in_view[legs][placed], 1.0, -1.0)
    return float(np.logaddexp(0, -sign * after).mean())


def held_out(rows: Rows, folds: int = FOLDS) -> np.ndarray:
    """(P, 14) what is taken from the logits, each by values that were fitted without its
    photograph."""
    _, number = np.unique(rows.photograph, return_inverse=True)
    fold = np.random.default_rng(0).permutation(number.max() + 1)[number] % folds
    result = np.zeros_like(rows.logit)
    for one in range(folds):
        chosen = fold == one
        kept = Rows(*(column[~chosen] for column in rows))
        result[chosen] = taken(rows.inside[chosen], fit(kept))

    return result


def shares(rows: Rows, from_logit: np.ndarray, least: float) -> dict[str, dict[str, float]]:
    """By kind of keypoint: shares that are reported, with a confidence of at least `least`, of
    those below the picture (`absent`), in it (`present`), and in it near its lower border (`at the
    border`).

    from_logit: (P, 14) what is taken from the logits.
    """
    presence = 1 / (1 + np.exp(from_logit - rows.logit))
    confidence = np.where(np.isfinite(rows.inside), rows.mass * presence, 0.0)
    reported = confidence >= least
    near = rows.in_view & (rows.inside < _NEAR)
    table = {}
    for kind, keypoints in LEGS.items():
        of_kind = np.s_[:, list(keypoints)]
        groups = {"absent": ~rows.in_view, "present": rows.in_view, "at the border": near}
        row = {}
        for name, group in groups.items():
            chosen = group[of_kind]
            row[name] = float(reported[of_kind][chosen].mean()) if chosen.any() else np.nan
            row[f"{name}, count"] = float(chosen.sum())
        table[kind] = row

    return table
