# SPDX-License-Identifier: Apache-2.0
"""Annotated 2D poses in COCO's format: `person_keypoints_val2017.json` and files like it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lifting_ros.conventions import point_names, to_keypoints
from lifting_ros.errors import DataError

CONVENTION = "coco17"

HIDDEN_CONFIDENCE = 0.5
"""Confidence of a keypoint that was labelled although it is hidden: its place is a guess."""

_CONFIDENCE = np.array([0.0, HIDDEN_CONFIDENCE, 1.0])
"""By COCO's visibility: 0 not labelled, 1 labelled and hidden, 2 labelled and visible."""


class AnnotatedPoses(NamedTuple):
    """N annotated people."""

    file: np.ndarray
    """(N,) name of the image, as the file has it."""
    keypoints_px: np.ndarray
    """(N, 14, 2); NaN where not labelled."""
    confidence: np.ndarray
    """(N, 14)."""
    covariance_px2: np.ndarray
    """(N, 14, 2, 2); NaN where the lifter has to choose it."""


def read_coco_keypoints(path: str | Path) -> AnnotatedPoses:
    """People of a COCO file with a labelled keypoint or more, in this package's order of keypoints.

    FileNotFoundError where there is no file; DataError in one line for another kind of file.
    """
    content = _read_json(Path(path))
    names = _image_names(content, path)
    _check_categories(content, path)

    files = []
    points = []
    for number, annotation in enumerate(content["annotations"]):
        where = f"{path}: annotations[{number}]"
        triples = _triples(annotation, where)
        if not triples[:, 2].any():
            continue
        image = annotation.get("image_id")
        if image not in names:
            raise DataError(f"{where}: image_id: expected the id of one of images, got {image!r}")
        files.append(names[image])
        points.append(triples)

    if not files:
        raise DataError(f"{path}: annotations: expected people with keypoints, found none")
    stacked = np.stack(points)
    confidence = _CONFIDENCE[stacked[..., 2].astype(int)]
    keypoints, sure, covariance = to_keypoints(stacked[..., :2], confidence, CONVENTION)
    if covariance is None:
        covariance = np.full((*keypoints.shape, 2), np.nan)
    return AnnotatedPoses(np.array(files), keypoints, sure, covariance)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also of text that is not UTF-8
        raise DataError(f"{path}: not a readable .json ({error})") from None

    is_coco = isinstance(content, dict)
    for name in ("images", "annotations"):
        if not is_coco or not isinstance(content.get(name), list):
            raise DataError(f"{path}: {name}: expected a list, as COCO's keypoint files have it")
    return content


def _image_names(content: dict[str, Any], path: str | Path) -> dict[Any, str]:
    """File names of the images by id."""
    names = {}
    for number, image in enumerate(content["images"]):
        if not isinstance(image, dict) or not {"id", "file_name"} <= set(image):
            raise DataError(f"{path}: images[{number}]: expected id and file_name")
        if not isinstance(image["id"], int | str):
            raise DataError(f"{path}: images[{number}]: id: expected a number or a text")
        names[image["id"]] = str(image["file_name"])
    return names


def _check_categories(content: dict[str, Any], path: str | Path) -> None:
    """DataError where the file names other keypoints than COCO's."""
    expected = list(point_names(CONVENTION))
    categories = content.get("categories", [])
    if not isinstance(categories, list):
        raise DataError(f"{path}: categories: expected a list")
    for category in categories:
        named = category.get("keypoints") if isinstance(category, dict) else None
        if named and named != expected:
            raise DataError(f"{path}: categories: keypoints: expected {', '.join(expected)}")


def _triples(annotation: Any, where: str) -> np.ndarray:
    """x, y and visibility (17, 3) of an annotation; zeros where it has no keypoints."""
    count = len(point_names(CONVENTION))
    if not isinstance(annotation, dict):
        raise DataError(f"{where}: expected an object")
    numbers = annotation.get("keypoints", [0] * (3 * count))
    try:
        triples = np.array(numbers, np.float64).reshape(count, 3)
    except (TypeError, ValueError):
        raise DataError(f"{where}: keypoints: expected {3 * count} numbers") from None

    if not np.isfinite(triples).all() or not np.isin(triples[:, 2], (0, 1, 2)).all():
        raise DataError(f"{where}: keypoints: expected x, y and a visibility of 0, 1 or 2 each")
    return triples
