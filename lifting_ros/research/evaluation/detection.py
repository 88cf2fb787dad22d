# SPDX-License-Identifier: Apache-2.0
"""Measures of the person detector, alone and through the whole estimator, on pictures that no
training here has seen."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifting_ros.estimator import PoseEstimator
from lifting_ros.io.progress import Progress
from lifting_ros.protocols import PersonDetector
from lifting_ros.research.datasets.crowd_pack import CrowdPack, open_crowd_pack
from lifting_ros.research.datasets.keypoints2d import keypoint_box, photo_sets_in, read_photo_set
from lifting_ros.research.datasets.matching import REPEATED, RIGHT, UNKNOWN, judge
from lifting_ros.research.datasets.negatives import read_negatives
from lifting_ros.research.datasets.scene_parts import Scene, labelled_scene, random_window
from lifting_ros.research.datasets.scenes import PHOTO_REACH, crowd_scene, empty_scene, surroundings
from lifting_ros.research.datasets.splits import rows_of

SIZE = (640, 480)
"""Width and height of the rendered pictures, px."""
PICTURES = (300, 300)
"""Rendered pictures with and without people."""
SIZE_CLASSES = {"60-100 px": (60, 100), "100-200 px": (100, 200), "over 200 px": (200, np.inf)}
"""Longer side of a person's box in a picture of that size."""
LEAST_SCORE = 0.02
"""Where the curve behind the average precision ends."""
CROPS = 8
"""Windows cut from each photograph without people."""

Find = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Image (H, W, 3) uint8 RGB to boxes (D, 4) and scores (D,), best first."""


class Judged(NamedTuple):
    """What was found in many scenes, at any score."""

    pictures: int
    scores: np.ndarray
    """(D,)"""
    verdicts: np.ndarray
    """(D,), see data.matching"""
    picture: np.ndarray
    """(D,) which picture."""
    sides_px: np.ndarray
    """(M,) longer side of every person's box."""
    found_at: np.ndarray
    """(M,) score at which the person is found, -1 where it is not."""


def detection_table(
    estimator: PoseEstimator, data: Path, work: Path, most: int | None = None
) -> dict[str, dict[str, float]]:
    """Rows by data set, for the detector alone and for the whole estimator, at the scores that the
    estimator is set to.

    data: folder with keypoints2d/, negatives/, body/ and mocap/; rendered pictures are kept in
    `work`/crowds; most: pictures a set. recall, precision: at IoU 0.5; AP: average precision, of
    the detector alone; repeated: persons found more than once, a picture; alarms: boxes where
    nobody is, a picture; pictures: with such a box.
    """
    crowds = open_crowd_pack(work / "crowds" / "validation", data, "validation", SIZE, *PICTURES)
    alone = at_any_score(estimator.detector)
    finders = {
        "detector": (of_detector(alone), estimator.detector.config.score),
        "estimator": (of_estimator(estimator), 0.0),
    }
    rows: dict[str, dict[str, float]] = {}

    for name, scenes in validation_sets(data, crowds, most).items():
        if next(scenes(), None) is None:
            continue

        for who, (find, score) in finders.items():
            judged = judge_all(
                find,
                Progress(
                    scenes(), desc=f"{name}, {who}", unit="picture", mininterval=5, leave=False
                ),
            )
            rows[f"{name}, {who}"] = detection_row(judged, score, who == "detector")
            if name == "crowds":
                rows |= {
                    f"{name}, {size}, {who}": recall_row(judged, score, *limits)
                    for size, limits in SIZE_CLASSES.items()
                }

    return rows


def validation_sets(
    data: Path, crowds: CrowdPack, most: int | None = None
) -> dict[str, Callable[[], Iterator[Scene]]]:
    """Scenes of the validation side by name, made when asked for."""
    empty = read_negatives(data / "negatives", "validation")[:most]
    photos = {
        name: read_photo_set(data / "keypoints2d", name)
        for name in photo_sets_in(data / "keypoints2d")
    }
    sets = {"crowds": lambda: crowd_scenes(crowds, most)}
    sets |= {name: lambda p=p: photo_scenes(p, "validation", most) for name, p in photos.items()}

    return sets | {
        "no people": lambda: iter(map(empty_scene, empty)),
        "parts of them": lambda: window_scenes(empty, CROPS),
        "rendered rooms": lambda: room_scenes(crowds, most),
    }


def crowd_scenes(crowds: CrowdPack, most: int | None = None) -> Iterator[Scene]:
    """The pictures of a pack that show people."""
    for picture in np.unique(crowds.picture)[:most]:
        rows = crowds.picture == picture
        image = np.asarray(crowds.images[picture])
        yield crowd_scene(image, crowds.keypoints[rows], crowds.seen[rows])


def room_scenes(crowds: CrowdPack, most: int | None = None) -> Iterator[Scene]:
    """The pictures of a pack that show nobody."""
    pictures = np.arange(len(crowds.images))
    empty = np.setdiff1d(pictures, crowds.picture)
    for picture in empty[:most]:
        image = np.asarray(crowds.images[picture])
        yield empty_scene(image)


def photo_scenes(photos, side: str, most: int | None = None) -> Iterator[Scene]:
    """Photographs of a side; only the labelled person's surroundings are known."""
    for index in np.flatnonzero(rows_of(photos.validation, side))[:most]:
        image = photos.image(index)
        keypoints = photos.keypoints[index]
        near = surroundings(keypoint_box(keypoints), image.shape[1::-1], PHOTO_REACH[photos.name])
        yield labelled_scene(image, keypoints[None], np.ones(1, bool), near)


def window_scenes(images: list[np.ndarray], each: int) -> Iterator[Scene]:
    """Random windows, half of them mirrored, of pictures without people."""
    for index, image in enumerate(images):
        for n in range(each):
            yield empty_scene(random_window(image, (320, 240), np.random.default_rng((index, n))))


def at_any_score(detector: PersonDetector) -> PersonDetector:
    """The same detector, set to find everybody from LEAST_SCORE on."""
    other = copy.copy(detector)
    other.config = dataclasses.replace(detector.config, score=LEAST_SCORE, max_persons=0)
    return other


def of_detector(detector: PersonDetector) -> Find:
    """The detector alone."""

    def find(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = detector.detect(image)
        boxes = np.array([detection.box_px for detection in found])
        scores = np.array([detection.score for detection in found])
        return boxes.reshape(-1, 4), scores

    return find


def of_estimator(estimator: PoseEstimator) -> Find:
    """The whole 2D side: boxes are those of the keypoints found."""

    def find(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        detections = estimator.detector.detect(image)
        found = estimator.find_keypoints(image, detections)
        boxes = np.array([skeleton.box_px for skeleton in found])
        scores = np.array([skeleton.score for skeleton in found])
        return boxes.reshape(-1, 4), scores

    return find


def judge_all(find: Find, scenes: Iterable[Scene]) -> Judged:
    """Everything that is found in the scenes, held against who is there."""
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


def detection_row(judged: Judged, score: float, curve: bool = False) -> dict[str, float]:
    """Figures at a score; see `detection_table`."""
    at = judged.scores >= score
    counted = at & (judged.verdicts != UNKNOWN)
    alarms = counted & (judged.verdicts != RIGHT) & (judged.verdicts != REPEATED)
    persons = len(judged.sides_px)

    return {
        "of": float(judged.pictures),
        "persons": float(persons),
        "recall": float(np.mean(judged.found_at >= score)) if persons else np.nan,
        "precision": float(np.mean(judged.verdicts[counted] == RIGHT))
        if persons and counted.any()
        else np.nan,
        "AP": average_precision(judged) if persons and curve else np.nan,
        "repeated": float((at & (judged.verdicts == REPEATED)).sum() / judged.pictures),
        "alarms": float(alarms.sum() / judged.pictures),
        "pictures": len(np.unique(judged.picture[alarms])) / judged.pictures,
    }


def recall_row(judged: Judged, score: float, low_px: float, high_px: float) -> dict[str, float]:
    """Recall of the persons of a size."""
    sized = (judged.sides_px >= low_px) & (judged.sides_px < high_px)
    found = judged.found_at[sized] >= score
    recall = float(np.mean(found)) if sized.any() else np.nan
    return {"persons": float(sized.sum()), "recall": recall}


def average_precision(judged: Judged) -> float:
    """Area under the best precision at each recall or a higher one."""
    counted = judged.verdicts != UNKNOWN
    order = np.argsort(-judged.scores[counted], kind="stable")
    right = np.cumsum(judged.verdicts[counted][order] == RIGHT)
    precision = right / np.arange(1, len(right) + 1)
    # Its envelope: the best precision at this recall or any higher one
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(right, prepend=0)

    return float((precision * steps).sum() / max(len(judged.sides_px), 1))
