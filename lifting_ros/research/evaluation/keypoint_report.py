# SPDX-License-Identifier: Apache-2.0
"""Tables of the 2D side, of one network or of several to compare."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lifting_ros.estimator import PoseEstimator
from lifting_ros.keypoints.network import NetworkConfig
from lifting_ros.research.datasets.keypoints2d import photo_sets_in, read_photo_set
from lifting_ros.research.datasets.negatives import read_negatives
from lifting_ros.research.datasets.pack import Pack
from lifting_ros.research.evaluation.everyday import everyday_tables, read_everyday
from lifting_ros.research.evaluation.half_bodies import half_body_row
from lifting_ros.research.evaluation.keypoint_calibration import calibration_rows, errors_of
from lifting_ros.research.evaluation.keypoints import (
    MAPS,
    Answers,
    ask,
    crowded,
    false_alarms,
    find_labelled,
    upright,
    validation_rows,
)
from lifting_ros.research.evaluation.metrics import mean_pck, pck, swapped
from lifting_ros.skeleton import KEYPOINT_NAMES

TITLES = (
    "keypoints",
    "PCK@0.2 of each keypoint after the last stage, %",
    "2D error stage by stage",
    "left taken for right, % of keypoints",
    "calibration of keypoints on the odd rows, % inside",
)
EVERYDAY = (
    "everyday photographs, hand labels: PCK@0.2 of 12 limb keypoints, found and inside ellipses, %"
)
HALF_BODIES = (
    "cut above the hips: people found, leg keypoints reported of 6; share reported where all are "
    "in view"
)

CROWDED = ", crowded"
"""Added to the name of a set: its photographs with another person in the crop."""

UPRIGHT = ", upright"
"""Added to the name of a set: its people with an upright trunk."""

HALF_UPRIGHT = "lspet"
"""The set with such a row: acrobats, many of them not upright."""

Row = dict[str, float]
Table = dict[str, Row]


def keypoint_tables(
    estimators: Mapping[str, PoseEstimator],
    packs: list[Pack],
    data: Path | None,
) -> dict[str, Table]:
    """Tables by TITLES. The rows of the first estimator are named after the photo set, those of
    others after the set and the estimator.

    data: folder with the photographs, for the columns of the package's own detector; None: without
    these columns.
    """
    tables: dict[str, Table] = {title: {} for title in TITLES}
    for index, (name, estimator) in enumerate(estimators.items()):
        add = f", {name}" if index else ""
        parts = _tables_of(estimator, packs, data)
        for title, rows in parts.items():
            table = tables.setdefault(title, {})
            table |= {row + add: values for row, values in rows.items()}

    # The rows of a set one below the other
    first = tables[TITLES[0]]
    names = sorted(first, key=lambda name: name.split(",")[0])
    tables[TITLES[0]] = {name: first[name] for name in names}
    return tables


def _tables_of(
    estimator: PoseEstimator,
    packs: list[Pack],
    data: Path | None,
) -> dict[str, Table]:
    """The tables of one estimator."""
    answers = {}
    odd = {}
    for pack in packs:
        rows = validation_rows(pack)
        if len(rows):
            answers[pack.name] = ask(estimator.network, pack, rows, MAPS)
            odd[pack.name] = rows % 2 == 1

    tables = network_tables(answers, odd, estimator.network.config)
    if data is not None:
        add_own_detector(tables[TITLES[0]], estimator, data)
        tables |= hand_labelled_tables(estimator, data)
    return tables


def network_tables(
    answers: Mapping[str, Answers],
    odd: Mapping[str, np.ndarray],
    config: NetworkConfig,
) -> dict[str, Table]:
    """Tables by TITLES of one network, from its answers by set, with maps as in MAPS.

    odd: by set, which of the answers are used to measure the covariances.
    """
    after: Table = {}
    joints: Table = {}
    stages: Table = {}
    swaps: Table = {}
    errors = {}

    for name, found in answers.items():
        after[name] = {}
        swaps[name] = {}
        for number, stage in enumerate(found.keypoints_px, 1):  # (M, N, 14, 2)
            column = f"stage {number}"
            fused = stage[-1]
            after[name][column] = mean_pck(fused, found.labels)
            swaps[name][column] = 100 * swapped(fused, found.labels)
            stages[f"{name}, {column}"] = stage_row(stage, found.labels)
            if name == HALF_UPRIGHT:
                rows = upright(found.labels)
                row = after.setdefault(name + UPRIGHT, {})
                row[column] = mean_pck(fused[rows], found.labels[rows])

        each = 100 * pck(fused, found.labels)
        joints[name] = dict(zip(KEYPOINT_NAMES, each.tolist(), strict=True))
        if odd[name].any():
            errors[name] = errors_of(_part(found, odd[name]), config.stride)

    covariances = calibration_rows(errors, config) if errors else {}
    tables = (after, joints, stages, swaps, covariances)
    return dict(zip(TITLES, tables, strict=True))


def stage_row(
    points: np.ndarray,
    labels: np.ndarray,
) -> Row:
    """PCK@0.2, mean and median error in pixels of the crop, of b_t, b_hat_t and f_t.

    points: (3, N, 14, 2); labels: (N, 14, 3). NaN for maps that the stage lacks.
    """
    labelled = labels[..., 2] > 0
    distance = np.linalg.norm(points - labels[..., :2], axis=-1)
    error = distance[:, labelled]  # (3, n)

    row = {}

    for kind, found, each in zip(("b", "b^", "f"), points, error, strict=True):
        unknown = np.isnan(each).any()
        row[f"PCK {kind}"] = float("nan") if unknown else 100 * mean_pck(found, labels)
        row[f"px {kind}"] = float(each.mean())
        row[f"median px {kind}"] = float(np.median(each))

    return row


def _part(
    answers: Answers,
    rows: np.ndarray,
) -> Answers:
    """Some of the N answers."""
    return Answers(
        answers.keypoints_px[:, :, rows],
        answers.confidence[:, :, rows],
        answers.moment_px2[:, :, rows],
        answers.labels[rows],
    )


def add_own_detector(
    rows: Table,
    estimator: PoseEstimator,
    data: Path,
) -> None:
    """Add to the rows of the photo sets the PCK with the package's own detector and the share of
    people found; add a row of false alarms."""
    names = [name for name in rows if not name.endswith((UPRIGHT, CROWDED))]
    for name in names:
        photos = read_photo_set(data / "keypoints2d", name)
        validation = np.flatnonzero(photos.validation)
        predicted, labels = find_labelled(estimator, photos, validation)
        rows[name] |= own_boxes(predicted, labels)

        others = crowded(estimator, photos, validation)
        if others.any():
            rows[name + CROWDED] = own_boxes(predicted[others], labels[others])

        if name + UPRIGHT in rows:
            chosen = upright(labels)
            rows[name + UPRIGHT] |= own_boxes(predicted[chosen], labels[chosen])

    nobody = read_negatives(data / "negatives", "validation")
    rows["negatives"] = {
        "pictures": float(len(nobody)),
        "false alarms": float(false_alarms(estimator, nobody)),
    }


def hand_labelled_tables(
    estimator: PoseEstimator,
    data: Path,
) -> dict[str, Table]:
    """Tables of the everyday photographs, if they exist, and of half bodies."""
    folder = data / "keypoints2d"
    tables = {}
    if (folder / "everyday").is_dir():
        everyday = read_everyday(folder / "everyday")
        tables[EVERYDAY] = everyday_tables(estimator, everyday)

    halves = {}

    for name in photo_sets_in(folder):
        if name != HALF_UPRIGHT:
            photos = read_photo_set(folder, name)
            rows = np.flatnonzero(photos.validation)
            halves[name] = half_body_row(estimator, photos, rows)

    tables[HALF_BODIES] = halves
    return tables


def own_boxes(
    predicted: np.ndarray,
    labels: np.ndarray,
) -> Row:
    """PCK@0.2 and share of persons found, from the output of `keypoints.find_labelled`."""
    found = np.isfinite(predicted[:, 0, 0])
    return {
        "own boxes": mean_pck(predicted, labels),
        "found": float(found.mean()),
    }
