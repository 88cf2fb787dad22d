# SPDX-License-Identifier: Apache-2.0
"""Fits a network's person score (`keypoints.person_score`) by logistic regression.

First the linear probe, which has a weight for each channel of the trunk's last layer: it needs many
detections, so it is fitted on the pictures of the trainings. Then the few weights of the score, on
pictures that no network was trained on. Both fits use labelled persons, whole, cut off, and in
photographs made worse, and pictures of nobody.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from lifting_ros.detection.detector import overlaps
from lifting_ros.estimator import EstimatorConfig, PoseEstimator
from lifting_ros.keypoints.person_score import (
    PersonScore,
    Probe,
    bounded_logit,
    evidence_of,
    logit_of,
    person_score,
)
from lifting_ros.research.datasets.crowd_pack import CrowdPack, open_crowd_pack
from lifting_ros.research.datasets.half_seen import LEFT, half_seen
from lifting_ros.research.datasets.keypoints2d import (
    PhotoSet,
    keypoint_box,
    photo_sets_in,
    read_photo_set,
)
from lifting_ros.research.datasets.negatives import WITH_PEOPLE, negative_names, read_negatives
from lifting_ros.research.datasets.scene_parts import random_window
from lifting_ros.research.datasets.splits import rows_of
from lifting_ros.research.evaluation import robustness
from lifting_ros.research.training.augmentation import bad_camera
from lifting_ros.types import Detection, FoundKeypoints

WHOLE = "whole"
HALF = "half seen"
WORSE = "sport made worse"
CROWDS = "rendered crowds"
PHOTOGRAPHS = "photographs of nobody"
PARTS = "parts of them"
ROOMS = "rendered rooms"

NOBODY = (PHOTOGRAPHS, PARTS, ROOMS)
"""Kinds of pictures without people."""

SPORT = ("lspet", "gym")
"""Sets of people in rare poses. Made worse, they are the first to be taken for nobody. The first of
the sets that is there is used."""

WHOLE_OF_EACH = 75
"""Whole photographs of each set."""

WORSE_COUNT = 100
"""Photographs of sport, each made worse in all ways of WORSE_ON_TUNE."""

_SPORT = "sport, "
"""Before the condition, in the kinds of these pictures."""

WORSE_ON_TUNE = ("motion blur 9 px", "JPEG quality 20", "64 px person", "30 % hidden", "night")
"""Among `robustness.CONDITIONS`."""

PARTS_OF_EACH = 10
"""Windows of each photograph without people."""

_PART_PX = (320, 240)

ROOM_COUNT = 300
"""Rendered rooms of each of _ROOM_SEEDS."""

_ROOM_PX = (640, 480)
_ROOM_SEEDS = (112, 212)

_NEAR = 0.12
"""Distance of a keypoint that is right from its label, divided by the longer side of the labelled
box."""

_RIDGE = 1e-3
"""Weight of the squared coefficients of standardised evidence and layers."""

PROBE_ROWS = 200
"""Photographs of each set that the probe is fitted on, as far as there are so many."""

PROBE_HALVES = 2
"""Cut versions of each of them."""

PROBE_PARTS = 10
"""Windows of each photograph without people that the probe is fitted on."""

PROBE_WORSE = 200
"""Photographs of sport that it is fitted on, each made worse in four ways."""

PROBE_CROWDS = 200
PROBE_ROOMS = 1400
"""Rendered pictures with and without people that it is fitted on."""

_PROBE_SEED = 311

_SPORT_FIRST = 5
"""First of the photographs of sport that the probe is fitted on, so that few of them are among the
whole ones."""

PROBE_SHARES = {
    WHOLE: 0.15,
    HALF: 0.25,
    WORSE: 0.1,
    CROWDS: 0.1,
    PHOTOGRAPHS: 0.1,
    PARTS: 0.4,
    ROOMS: 0.25,
}
"""Weight of all rows of a kind in the fit of the probe, divided by the sum of those that are
there."""

_NEARBY = 0.15
"""Overlap of a detection's box with a labelled person's from which on it may show the person."""

_LEAST_STD = 1e-3
"""Added to the standard deviation of what is standardised; some channels are nearly constant."""

FOLDS = 5
"""Parts of the cross-validation; a photograph and its cut version are in the same one."""


class Picture(NamedTuple):
    """A picture with labelled persons, or with nobody."""

    kind: str
    photograph: str
    """What it was made from."""
    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    persons: Sequence[np.ndarray]
    """(14, 3) keypoints of each; empty: nobody."""


class Rows(NamedTuple):
    """D detections in P pictures: those of labelled persons, and all in pictures of nobody."""

    evidence: np.ndarray
    """(D, 4) of `person_score.evidence_of`."""
    deep: np.ndarray
    """(D, c) last layers of the trunk, averaged over the crop; float16."""
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

    @property
    def counts(self) -> np.ndarray:
        """(D,) bool, the rows that the weights are fitted on: all but sport made worse, which cost
        half-seen people with the network `lite`."""
        return ~np.char.startswith(self.kind, _SPORT)[self.picture]


def open_rooms(folder: Path, data: Path) -> list[np.ndarray]:
    """Rendered rooms without people, ROOM_COUNT images (H, W, 3) for each seed, of backgrounds of
    the side `tune`; rendered into subfolders of `folder` where they are not there yet."""
    images: list[np.ndarray] = []
    for seed in _ROOM_SEEDS:
        pack = open_crowd_pack(folder / str(seed), data, "tune", _ROOM_PX, 0, ROOM_COUNT, seed)
        images.extend(pack.images)

    return images


def tune_pictures(data: Path, rooms: Iterable[np.ndarray]) -> Iterator[Picture]:
    """Pictures of the side `tune` of `data`, and the rooms (H, W, 3) without people."""
    folder = data / "keypoints2d"
    for name in photo_sets_in(folder):
        photos = read_photo_set(folder, name)
        rows = np.flatnonzero(rows_of(photos.validation, "tune"))
        step = -(-len(rows) // WHOLE_OF_EACH)
        for row in rows:
            photograph = f"{name} {row}"
            keypoints = photos.keypoints[row].astype(float)
            if row in rows[::step]:
                yield Picture(WHOLE, photograph, photos.image(row), [keypoints])
            yield from _halves(name, photograph, photos.image(row), keypoints, row, 1)

    yield from _sport_made_worse(folder)
    yield from _pictures_of_nobody(data, "tune", PARTS_OF_EACH)
    yield from _rooms(rooms)


def probe_pictures(data: Path, rendered: CrowdPack) -> Iterator[Picture]:
    """Pictures of the side `train` of `data`, whole ones also as from a bad camera, and rendered
    pictures with and without people."""
    folder = data / "keypoints2d"
    for name in photo_sets_in(folder):
        photos = read_photo_set(folder, name)
        rows = np.flatnonzero(rows_of(photos.validation, "train"))
        step = -(-len(rows) // PROBE_ROWS)
        for row in rows[::step]:
            photograph = f"{name} {row}"
            keypoints = photos.keypoints[row].astype(float)
            image = photos.image(row)
            yield Picture(WHOLE, photograph, image, [keypoints])
            yield Picture(WHOLE, photograph, _worse(image, row), [keypoints])
            yield from _halves(name, photograph, image, keypoints, row, PROBE_HALVES)

    yield from _probe_sport(folder)
    for picture in _pictures_of_nobody(data, "train", PROBE_PARTS):
        yield picture
        if picture.kind == PHOTOGRAPHS:
            number = int(picture.photograph.split()[-1])
            yield picture._replace(image=_worse(picture.image, number))

    # Rendered, with people first
    for number in range(PROBE_CROWDS):
        persons = rendered.keypoints[rendered.picture == number]
        labelled = [keypoints for keypoints in persons if (keypoints[:, 2] > 0).sum() >= LEFT[0]]
        image = np.asarray(rendered.images[number])
        if labelled:  # else whoever is found would count
            yield Picture(CROWDS, f"crowd {number}", image, labelled)

    yield from _rooms(rendered.images[PROBE_CROWDS:])


def open_probe_pack(folder: Path, data: Path) -> CrowdPack:
    """The rendered pictures of `probe_pictures`, of the side `train`; rendered into `folder` where
    they are not there yet."""
    return open_crowd_pack(folder, data, "train", _ROOM_PX, PROBE_CROWDS, PROBE_ROOMS, _PROBE_SEED)


def _worse(image: np.ndarray, number: int) -> np.ndarray:
    """The image as a bad camera would take it: people in the dark or in motion are people, too."""
    rng = np.random.default_rng((number, 1))
    return bad_camera(image, rng)


def _halves(
    name: str, photograph: str, image: np.ndarray, keypoints: np.ndarray, seed: int, count: int
) -> Iterator[Picture]:
    """Up to `count` cut versions of a photograph of the set `name`."""
    if name == "lspet":  # robots do not meet half acrobats
        return

    rng = np.random.default_rng(seed)
    for _ in range(count):
        half = half_seen(image, keypoints, rng)
        if half is not None:
            part, moved = half
            yield Picture(HALF, photograph, part, [moved])


def _sport_rows(folder: Path, side: str, most: int) -> Iterator[tuple[str, int, PhotoSet]]:
    """Name, row and set of up to `most` photographs of the first of SPORT that is in `folder`."""
    name = next((one for one in SPORT if one in photo_sets_in(folder)), None)
    if name is None:
        return

    photos = read_photo_set(folder, name)
    rows = np.flatnonzero(rows_of(photos.validation, side))
    step = -(-len(rows) // most)
    first = min(_SPORT_FIRST, step - 1) if side == "train" else 0
    for row in rows[first::step]:
        yield f"{name} {row}", int(row), photos


def _sport_made_worse(folder: Path) -> Iterator[Picture]:
    """Photographs of sport of the side `tune`, made worse as in the measure of robustness."""
    for photograph, row, photos in _sport_rows(folder, "tune", WORSE_COUNT):
        for condition in WORSE_ON_TUNE:
            worsen = robustness.CONDITIONS[condition]
            rng = np.random.default_rng((0, row))
            image, moved = worsen(photos.image(row), photos.keypoints[row].astype(float), rng)
            yield Picture(f"{_SPORT}{condition}", photograph, image, [moved])


def _probe_sport(folder: Path) -> Iterator[Picture]:
    """Photographs of sport of the side `train`, each moving, compressed, partly hidden and dark, to
    a random degree."""
    for photograph, row, photos in _sport_rows(folder, "train", PROBE_WORSE):
        keypoints = photos.keypoints[row].astype(float)
        for way, worsen in enumerate((_moving, _compressed, robustness.hidden, _dark)):
            rng = np.random.default_rng((way, row))
            image, moved = worsen(photos.image(row), keypoints, rng)
            yield Picture(WORSE, photograph, image, [moved])


def _moving(image: np.ndarray, keypoints: np.ndarray, rng: np.random.Generator):
    return robustness.moving(image, keypoints, rng, int(rng.integers(5, 13)))


def _compressed(image: np.ndarray, keypoints: np.ndarray, rng: np.random.Generator):
    return robustness.jpeg(image, keypoints, rng, int(rng.integers(10, 40)))


def _dark(image: np.ndarray, keypoints: np.ndarray, rng: np.random.Generator):
    return robustness.night(image, keypoints, rng, float(2 ** rng.uniform(-6, -3)))


def _pictures_of_nobody(data: Path, side: str, parts: int) -> Iterator[Picture]:
    """The photographs without people of a side, and windows of each."""
    names, validation = negative_names(data / "negatives")
    images = read_negatives(data / "negatives", side)
    for number, (name, image) in enumerate(zip(names[rows_of(validation, side)], images)):
        if name in WITH_PEOPLE:
            continue

        photograph = f"nobody {number}"
        yield Picture(PHOTOGRAPHS, photograph, image, [])
        for n in range(parts):
            rng = np.random.default_rng((number, n))
            yield Picture(PARTS, photograph, random_window(image, _PART_PX, rng), [])


def _rooms(images: Iterable[np.ndarray]) -> Iterator[Picture]:
    for number, image in enumerate(images):
        yield Picture(ROOMS, f"room {number}", np.asarray(image), [])


def collect(estimator: PoseEstimator, pictures: Iterable[Picture]) -> Rows:
    """The rows of pictures; the probe's evidence is 0 (`with_probe`)."""
    kind = []
    photograph = []
    rows = []

    for number, picture in enumerate(pictures):
        kind.append(picture.kind)
        photograph.append(picture.photograph)
        detections = _near(picture.persons, estimator.detect(picture.image))
        for found, detection in estimator.look(picture.image, detections):
            if picture.persons and not any(shows(found, one) for one in picture.persons):
                continue

            evidence = evidence_of(detection.score, found, None)
            plain = person_score(detection.score, found)
            deep = np.asarray(found.deep, np.float16)
            rows.append((evidence, deep, plain, number))

    evidence, deep, plain, picture_number = (np.array(column) for column in zip(*rows))
    return Rows(evidence, deep, plain, picture_number, np.array(kind), np.array(photograph))


def _near(persons: Sequence[np.ndarray], detections: Sequence[Detection]) -> list[Detection]:
    """The detections that may show one of the persons; all where there is nobody."""
    if not persons:
        return list(detections)

    boxes = np.array([keypoint_box(keypoints) for keypoints in persons])
    return [one for one in detections if overlaps(one.box_px, boxes).max() > _NEARBY]


def with_probe(rows: Rows, probe: Probe) -> Rows:
    """The same rows with the evidence of a probe."""
    evidence = rows.evidence.copy()
    evidence[:, -1] = probe.evidence(rows.deep.astype(float))
    return rows._replace(evidence=evidence)


def shows(found: FoundKeypoints, keypoints: np.ndarray) -> bool:
    """Whether at least half of the labelled keypoints (14, 3) are found near their place."""
    labelled = keypoints[:, 2] > 0
    box = keypoint_box(keypoints)
    near = _NEAR * max(box[2:] - box[:2])
    distance = np.linalg.norm(found.keypoints_px - keypoints[:, :2], axis=1)
    return bool((distance[labelled] < near).mean() >= 0.5)


def fit(rows: Rows, used: np.ndarray | None = None) -> PersonScore:
    """The likeliest weights that are not negative; persons and alarms weigh the same in all.

    used: (D,) bool, the rows to fit on, as far as they count; None: all that do.
    """
    used = rows.counts if used is None else used & rows.counts
    is_person = rows.is_person[used]
    weight = np.where(is_person, 0.5 / is_person.sum(), 0.5 / (~is_person).sum())
    factors, constant = _logistic(rows.evidence[used], is_person, weight, least=0.0)
    return PersonScore(*map(float, factors), constant)


def fit_probe(rows: Rows) -> Probe:
    """The likeliest linear probe; each kind of pictures weighs as in PROBE_SHARES."""
    kind = rows.kind[rows.picture]
    weight = np.zeros(len(kind))
    for name in np.unique(kind):
        of_kind = kind == name
        weight[of_kind] = PROBE_SHARES[name] / of_kind.sum()

    deep = rows.deep.astype(float)
    return Probe(*_logistic(deep, rows.is_person, weight / weight.sum()))


def _logistic(
    inputs: np.ndarray, is_person: np.ndarray, weight: np.ndarray, least: float | None = None
) -> tuple[np.ndarray, float]:
    """Factors (K,) and constant of the likeliest logistic regression of rows (D, K) with weights
    (D,); no factor is below `least`."""
    mean = inputs.mean(0)
    std = inputs.std(0) + _LEAST_STD
    standardised = (inputs - mean) / std
    sign = np.where(is_person, 1.0, -1.0)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        factors = parameters[:-1]
        margin = sign * (standardised @ factors + parameters[-1])
        value = weight @ np.logaddexp(0, -margin) + _RIDGE * factors @ factors
        pull = -weight * sign * expit(-margin)
        gradient = np.append(standardised.T @ pull + 2 * _RIDGE * factors, pull.sum())
        return value, gradient

    count = inputs.shape[1]
    bounds = [(least, None)] * count + [(None, None)]
    best = minimize(loss, np.zeros(count + 1), jac=True, method="L-BFGS-B", bounds=bounds)
    factors = best.x[:-1] / std
    constant = best.x[-1] - factors @ mean
    return factors, float(constant)


def shifted(score: PersonScore, rows: Rows, alarms: float) -> PersonScore:
    """The same with another constant: at the default `min_person_score`, a share `alarms` of the
    rendered rooms has a false alarm."""
    threshold = threshold_at(logit_of(score, rows.evidence), rows, alarms)
    wanted = bounded_logit(np.array(EstimatorConfig().min_person_score))
    constant = score.constant + float(wanted) - threshold
    return dataclasses.replace(score, constant=constant)


def held_out(rows: Rows, folds: int = FOLDS) -> np.ndarray:
    """(D,) logits, each by weights that were fitted without its photograph."""
    _, number = np.unique(rows.photograph, return_inverse=True)
    fold = np.random.default_rng(0).permutation(number.max() + 1)[number] % folds
    fold = fold[rows.picture]

    result = np.zeros(len(rows.evidence))
    for one in range(folds):
        score = fit(rows, fold != one)
        result[fold == one] = logit_of(score, rows.evidence[fold == one])

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
