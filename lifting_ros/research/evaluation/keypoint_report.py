# SPDX-License-Identifier: Apache-2.0
"""Tables of the 2D side, for one network or several beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lifting_ros.estimator import PoseEstimator
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
"""Added to a set's name: those with somebody else in the crop."""
UPRIGHT = ", upright"
"""Added to a set's name: those of its people whose trunk is."""
HALF_UPRIGHT = "lspet"
"""The set for which that makes a difference: acrobats."""

Row = dict[str, float]


def keypoint_tables(
    estimators: Mapping[str, PoseEstimator], packs: list[Pack], data: Path | None
) -> dict[str, dict[str, Row]]:
    """Tables by TITLES. The first estimator's rows are named by photo set alone, those of others by
    their name as well.

    data: folder with the photographs, for the columns of the own detector; None leaves these out.
    """
    tables = {title: {} for title in TITLES}
    for index, (name, estimator) in enumerate(estimators.items()):
        add = f", {name}" if index else ""
        answers = {
            p.name: ask(estimator.network, p, validation_rows(p), MAPS)
            for p in packs
            if len(validation_rows(p))
        }
        odd = {p.name: validation_rows(p) % 2 == 1 for p in packs if p.name in answers}
        parts = network_tables(answers, odd, estimator.network.config)

        if data is not None:
            add_own_detector(parts[TITLES[0]], estimator, data)
            parts |= hand_labelled_tables(estimator, data)

        for title, rows in parts.items():
            tables.setdefault(title, {}).update({row + add: values for row, values in rows.items()})

    for title in TITLES[:1]:  # the same set of several networks one below the other
        tables[title] = dict(sorted(tables[title].items(), key=lambda item: item[0].split(",")[0]))

    return tables


def network_tables(
    answers: Mapping[str, Answers], odd: Mapping[str, np.ndarray], config
) -> dict[str, dict[str, Row]]:
    """The tables of one network from its answers by set, with maps as in MAPS; odd: which of the
    answers judge the covariances."""
    after = {}
    joints = {}
    stages = {}
    swaps = {}
    errors = {}

    for name, found in answers.items():
        after[name] = {}
        swaps[name] = {}
        for number, stage in enumerate(found.keypoints_px, 1):  # (M, N, 14, 2)
            after[name][f"stage {number}"] = mean_pck(stage[-1], found.labels)
            swaps[name][f"stage {number}"] = 100 * swapped(stage[-1], found.labels)
            stages[f"{name}, stage {number}"] = stage_row(stage, found.labels)
            if name == HALF_UPRIGHT:
                rows = upright(found.labels)
                after.setdefault(name + UPRIGHT, {})[f"stage {number}"] = mean_pck(
                    stage[-1, rows], found.labels[rows]
                )

        joints[name] = dict(
            zip(KEYPOINT_NAMES, (100 * pck(stage[-1], found.labels)).tolist(), strict=True)
        )

        if odd[name].any():
            errors[name] = errors_of(_part(found, odd[name]), config.stride)

    return dict(
        zip(
            TITLES,
            (after, joints, stages, swaps, calibration_rows(errors, config) if errors else {}),
            strict=True,
        )
    )


def stage_row(points: np.ndarray, labels: np.ndarray) -> Row:
    """PCK@0.2 and mean and median error in pixels of the network's input of b_t, b_hat_t and f_t,
    (3, N, 14, 2); labels (N, 14, 3)."""
    labelled = labels[..., 2] > 0
    row = {}
    error = np.linalg.norm(points - labels[..., :2], axis=-1)[:, labelled]  # (3, n)
    for kind, found, each in zip(("b", "b^", "f"), points, error, strict=True):
        unknown = np.isnan(each).any()
        row[f"PCK {kind}"] = float("nan") if unknown else 100 * mean_pck(found, labels)
        row[f"px {kind}"] = float(each.mean())
        row[f"median px {kind}"] = float(np.median(each))

    return row


def _part(answers: Answers, rows: np.ndarray) -> Answers:
    return Answers(*(values[:, :, rows] for values in answers[:3]), answers.labels[rows])


def add_own_detector(rows: dict[str, Row], estimator: PoseEstimator, data: Path) -> None:
    """PCK with the own detector and share found in the rows of the photo sets, and a row of false
    alarms."""
    for name in [name for name in rows if not name.endswith((UPRIGHT, CROWDED))]:
        photos = read_photo_set(data / "keypoints2d", name)
        predicted, labels = find_labelled(estimator, photos, np.flatnonzero(photos.validation))
        rows[name] |= own_boxes(predicted, labels)
        others = crowded(estimator, photos, np.flatnonzero(photos.validation))
        if others.any():
            rows[name + CROWDED] = own_boxes(predicted[others], labels[others])

        if name + UPRIGHT in rows:
            rows[name + UPRIGHT] |= own_boxes(predicted[upright(labels)], labels[upright(labels)])

    nobody = read_negatives(data / "negatives", "validation")
    rows["negatives"] = {
        "pictures": float(len(nobody)),
        "false alarms": float(false_alarms(estimator, nobody)),
    }


def hand_labelled_tables(estimator: PoseEstimator, data: Path) -> dict[str, dict[str, Row]]:
    """Tables of the everyday photographs, where they are there, and of half bodies."""
    tables = {}
    if (data / "keypoints2d" / "everyday").is_dir():
        tables[EVERYDAY] = everyday_tables(
            estimator, read_everyday(data / "keypoints2d" / "everyday")
        )

    sets = [
        read_photo_set(data / "keypoints2d", name)
        for name in photo_sets_in(data / "keypoints2d")
        if name != HALF_UPRIGHT
    ]
    tables[HALF_BODIES] = {
        photos.name: half_body_row(estimator, photos, np.flatnonzero(photos.validation))
        for photos in sets
    }

    return tables


def own_boxes(predicted: np.ndarray, labels: np.ndarray) -> Row:
    """PCK@0.2 of what `keypoints.find_labelled` returns, and the share of persons found."""
    return {
        "own boxes": mean_pck(predicted, labels),
        "found": float(np.isfinite(predicted[:, 0, 0]).mean()),
    }
