# SPDX-License-Identifier: Apache-2.0
"""Measures of the person detector, alone and inside the whole estimator, on pictures that are not
used for training."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifting_ros.estimator import PoseEstimator
from lifting_ros.io.progress import Progress
from lifting_ros.protocols import PersonDetector
from lifting_ros.research.datasets.crowd_pack import CrowdPack, open_crowd_pack
from lifting_ros.research.datasets.keypoints2d import (
    PhotoSet,
    keypoint_box,
    photo_sets_in,
    read_photo_set,
)
from lifting_ros.research.datasets.matching import REPEATED, RIGHT, UNKNOWN, judge
from lifting_ros.research.datasets.negatives import read_negatives
from lifting_ros.research.datasets.scene_parts import Scene, labelled_scene, random_window
from lifting_ros.research.datasets.scenes import PHOTO_REACH, crowd_scene, empty_scene, surroundings
from lifting_ros.research.datasets.splits import rows_of
from lifting_ros.research.evaluation.keypoints import find_skeletons
from lifting_ros.types import Detection, Skeleton2D

SIZE = (640, 480)
"""Width and height of the rendered pictures, px."""

PICTURES = (300, 300)
"""Number of rendered pictures with and without people."""

SIZE_CLASSES = {"60-100 px": (60, 100), "100-200 px": (100, 200), "over 200 px": (200, np.inf)}
"""Range of the longer side of a person's box in a rendered picture, px."""

LEAST_SCORE = 0.02
"""Lowest score of the precision-recall curve behind the average precision."""

CROPS = 8
"""Number of windows cut from each photograph without people."""

Find = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Image (H, W, 3) uint8 RGB to boxes (D, 4) and scores (D,), best first."""


class Finder(NamedTuple):
    """What is measured."""

    find: Find
    score: float
    """Lowest score that counts."""
    curve: bool
    """Whether it returns boxes from LEAST_SCORE on, as the average precision requires."""


class Judged(NamedTuple):
    """D boxes found in many scenes with M persons, at any score."""

    pictures: int
    """Number of scenes."""
    scores: np.ndarray
    """(D,) of the boxes."""
    verdicts: np.ndarray
    """(D,) of the boxes, see `datasets.matching`."""
    picture: np.ndarray
    """(D,) number of the scene of each box."""
    sides_px: np.ndarray
    """(M,) longer side of each person's box."""
    found_at: np.ndarray
    """(M,) score of the box that finds the person, -1 where none does."""


def detection_table(
    estimator: PoseEstimator,
    data: Path,
    work: Path,
    most: int | None = None,
) -> dict[str, dict[str, float]]:
    """Rows by data set, for the detector alone and for the whole estimator, each at its own score.

    data: folder with keypoints2d/, negatives/, body/ and mocap/; rendered pictures are kept in
    `work`/crowds; most: pictures per set.

    Columns: recall and precision at IoU 0.5; AP, the average precision of the detector alone;
    repeated, second boxes of the same person per picture; alarms, boxes per picture where nobody
    is; pictures, the share of the pictures with such a box.
    """
    crowds = open_crowd_pack(work / "crowds" / "validation", data, "validation", SIZE, *PICTURES)
    alone = at_any_score(estimator.detector)
    finders = {
        "detector": Finder(of_detector(alone), estimator.detector.config.score, curve=True),
        "estimator": Finder(of_estimator(estimator), 0.0, curve=False),
    }

    rows: dict[str, dict[str, float]] = {}

    for name, scenes in validation_sets(data, crowds, most).items():
        if next(scenes(), None) is None:
            continue

        for who, finder in finders.items():
            shown = Progress(
                scenes(), desc=f"{name}, {who}", unit="picture", mininterval=5, leave=False
            )
            judged = judge_all(finder.find, shown)
            rows[f"{name}, {who}"] = detection_row(judged, finder.score, finder.curve)
            if name != "crowds":
                continue

            for size, (low_px, high_px) in SIZE_CLASSES.items():
                row = recall_row(judged, finder.score, low_px, high_px)
                rows[f"{name}, {size}, {who}"] = row

    return rows


def validation_sets(
    data: Path,
    crowds: CrowdPack,
    most: int | None = None,
) -> dict[str, Callable[[], Iterator[Scene]]]:
    """Functions that make the scenes of the validation side, by name of the set."""
    empty = read_negatives(data / "negatives", "validation")[:most]

    sets: dict[str, Callable[[], Iterator[Scene]]] = {}
    sets["crowds"] = partial(crowd_scenes, crowds, most)

    for name in photo_sets_in(data / "keypoints2d"):
        photos = read_photo_set(data / "keypoints2d", name)
        sets[name] = partial(photo_scenes, photos, "validation", most)

    sets["no people"] = partial(map, empty_scene, empty)
    sets["parts of them"] = partial(window_scenes, empty, CROPS)
    sets["rendered rooms"] = partial(room_scenes, crowds, most)
    return sets


def crowd_scenes(
    crowds: CrowdPack,
    most: int | None = None,
) -> Iterator[Scene]:
    """The pictures of a pack that show people."""
    for picture in np.unique(crowds.picture)[:most]:
        rows = crowds.picture == picture
        image = np.asarray(crowds.images[picture])
        yield crowd_scene(image, crowds.keypoints[rows], crowds.seen[rows])


def room_scenes(
    crowds: CrowdPack,
    most: int | None = None,
) -> Iterator[Scene]:
    """The pictures of a pack that show nobody."""
    pictures = np.arange(len(crowds.images))
    empty = np.setdiff1d(pictures, crowds.picture)
    for picture in empty[:most]:
        image = np.asarray(crowds.images[picture])
        yield empty_scene(image)


def photo_scenes(
    photos: PhotoSet,
    side: str,
    most: int | None = None,
) -> Iterator[Scene]:
    """Photographs of a side; only the surroundings of the labelled person are known."""
    rows = np.flatnonzero(rows_of(photos.validation, side))
    for row in rows[:most]:
        image = photos.image(row)
        size = image.shape[1::-1]
        keypoints = photos.keypoints[row]
        box = keypoint_box(keypoints)
        near = surroundings(box, size, PHOTO_REACH[photos.name])
        yield labelled_scene(image, keypoints[None], np.ones(1, bool), near)


def window_scenes(
    images: list[np.ndarray],
    each: int,
) -> Iterator[Scene]:
    """Random windows, half of them mirrored, of pictures without people."""
    for index, image in enumerate(images):
        for number in range(each):
            rng = np.random.default_rng((index, number))
            window = random_window(image, (320, 240), rng)
            yield empty_scene(window)


def at_any_score(detector: PersonDetector) -> PersonDetector:
    """A copy of the detector that returns all boxes from LEAST_SCORE on."""
    other = copy.copy(detector)
    other.config = dataclasses.replace(detector.config, score=LEAST_SCORE, max_persons=0)
    return other


def of_detector(detector: PersonDetector) -> Find:
    """The detector alone."""

    def find(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _boxes_and_scores(detector.detect(image))

    return find


def of_estimator(estimator: PoseEstimator) -> Find:
    """The whole 2D side: boxes are those of the keypoints found."""

    def find(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _boxes_and_scores(find_skeletons(estimator, image))

    return find


def _boxes_and_scores(
    found: Sequence[Detection] | Sequence[Skeleton2D],
) -> tuple[np.ndarray, np.ndarray]:
    boxes = np.array([one.box_px for one in found])
    scores = np.array([one.score for one in found])
    return boxes.reshape(-1, 4), scores


def judge_all(
    find: Find,
    scenes: Iterable[Scene],
) -> Judged:
    """The boxes found in the scenes, judged against the persons that are there."""
    columns: list[tuple[np.ndarray, ...]] = []
    for number, scene in enumerate(scenes):
        boxes, scores = find(scene.image)
        verdicts, found_by = judge(boxes, scene)
        found_at = np.append(scores, -1.0)[found_by]

        sizes = scene.boxes[:, 2:] - scene.boxes[:, :2]
        sides = sizes.max(-1, initial=0)
        scene_number = np.full(len(scores), number)
        columns.append((scores, verdicts, scene_number, sides, found_at))

    joined = [np.concatenate(column) for column in zip(*columns)]
    return Judged(len(columns), *joined)


def detection_row(
    judged: Judged,
    score: float,
    curve: bool = False,
) -> dict[str, float]:
    """Figures at a score; see `detection_table`. NaN where there is nothing to measure.

    curve: whether the boxes reach down to LEAST_SCORE, so that AP has a meaning.
    """
    persons = len(judged.sides_px)
    reported = judged.scores >= score
    known = reported & (judged.verdicts != UNKNOWN)
    right = judged.verdicts == RIGHT
    repeated = judged.verdicts == REPEATED
    alarms = known & ~right & ~repeated
    with_alarm = np.unique(judged.picture[alarms])

    recall = np.nan
    precision = np.nan
    if persons:
        recall = float(np.mean(judged.found_at >= score))
    if persons and known.any():
        precision = float(np.mean(right[known]))

    return {
        "of": float(judged.pictures),
        "persons": float(persons),
        "recall": recall,
        "precision": precision,
        "AP": average_precision(judged) if persons and curve else np.nan,
        "repeated": float((reported & repeated).sum() / judged.pictures),
        "alarms": float(alarms.sum() / judged.pictures),
        "pictures": len(with_alarm) / judged.pictures,
    }


def recall_row(
    judged: Judged,
    score: float,
    low_px: float,
    high_px: float,
) -> dict[str, float]:
    """Recall of the persons whose longer side lies in a range."""
    sized = (judged.sides_px >= low_px) & (judged.sides_px < high_px)
    found = judged.found_at[sized] >= score
    recall = float(np.mean(found)) if sized.any() else np.nan
    return {"persons": float(sized.sum()), "recall": recall}


def average_precision(judged: Judged) -> float:
    """Area under the precision-recall curve, with each precision raised to the best one at the same
    or a higher recall."""
    counted = judged.verdicts != UNKNOWN
    scores = judged.scores[counted]
    order = np.argsort(-scores, kind="stable")
    verdicts = judged.verdicts[counted][order]

    right = np.cumsum(verdicts == RIGHT)
    precision = right / np.arange(1, len(right) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(right, prepend=0)

    persons = max(len(judged.sides_px), 1)
    return float((best * steps).sum() / persons)
