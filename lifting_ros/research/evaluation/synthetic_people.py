# SPDX-License-Identifier: Apache-2.0
"""End-to-end errors on rendered people, whose joints are known: true box, network and lifter with
the camera of the picture, after each stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifting_ros.errors import DataError
from lifting_ros.estimator import PoseEstimator
from lifting_ros.geometry.camera import Camera
from lifting_ros.io.arrays import read_arrays
from lifting_ros.io.progress import Progress
from lifting_ros.lifting.lifting import Lifter
from lifting_ros.research.datasets.crops import crop_transform
from lifting_ros.research.datasets.pack import Pack, read_pack
from lifting_ros.research.evaluation.keypoint_calibration import (
    calibration_rows,
    covariances,
    errors_of,
    noise_of,
)
from lifting_ros.research.evaluation.keypoints import MAPS, Answers, ask
from lifting_ros.research.evaluation.lifting import errors
from lifting_ros.research.evaluation.metrics import mean_pck, swapped
from lifting_ros.skeleton import KEYPOINT_TO_JOINT

TITLES = ("rendered people, mm", "calibration of keypoints on rendered people, % inside")

EXACT_NOISE_PX = 0.5
"""Standard deviation given to the lifter for exact keypoints, pixels of the crop."""


_LABELS = {
    "keypoints": ("N", 14, 3),
    "validation": ("N",),
    "joints_camera_m": ("N", 17, 3),
    "K": ("N", 3, 3),
}
"""Shapes of the arrays in labels.npz."""

_MAPS_LIFTED = {"b": 0, "f": 2}
"""Which of MAPS are lifted, by the name in the rows."""


class RenderedPeople(NamedTuple):
    """N people of a pack, with their true joints."""

    pack: Pack
    rows: np.ndarray
    """(N,) their rows in the pack."""
    joints_m: np.ndarray
    """(N, 17, 3) in the optical frame."""
    matrix: np.ndarray
    """(N, 3, 3) K of the windows of the pack."""
    up: np.ndarray
    """(N, 3) in the optical frame; NaN where the pack does not contain it."""


class Observed(NamedTuple):
    """Keypoints of N people, as a lifter takes them, in pixels of their crops."""

    keypoints_px: np.ndarray
    """(N, 14, 2)."""
    confidence: np.ndarray
    """(N, 14) in [0, 1]."""
    covariance_px2: np.ndarray
    """(N, 14, 2, 2)."""


class LiftedCrops(NamedTuple):
    """What was found of N people, and their labels."""

    joints_m: np.ndarray
    """(N, 17, 3) in the optical frame; NaN where not lifted."""
    keypoints_px: np.ndarray
    """(N, 14, 2) in pixels of the crops."""
    labels: np.ndarray
    """(N, 14, 3) in pixels of the crops."""


def read_rendered(
    folder: Path,
    most: int,
) -> RenderedPeople:
    """At most `most` evenly spread people of a pack of `rendering.synthetic.write_pack`.

    DataError in one line for another kind of pack, for one with people of the training side, and
    for one without labels.
    """
    try:
        if "picture" in read_arrays(folder / "labels.npz", {}):
            raise DataError("it holds whole pictures; expected windows around one main person each")

        labels = read_arrays(folder / "labels.npz", _LABELS, {"up": ("N", 3)})
        pack = read_pack(folder)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: not a pack of rendered people ({error})") from None

    if not pack.validation.all():
        raise DataError(
            f"{folder}: shows people that are trained on: expected a pack of `lifting render "
            "--subjects validation`"
        )

    labelled = (pack.keypoints[..., 2] > 0).any(1)
    shown = np.flatnonzero(labelled)
    if not len(shown):
        raise DataError(f"{folder}: nobody is labelled in this pack")

    chosen = np.linspace(0, len(shown) - 1, min(most, len(shown)))
    rows = shown[chosen.astype(int)]
    joints = labels["joints_camera_m"][rows].astype(float)
    matrix = labels["K"][rows].astype(float)
    up = np.full((len(rows), 3), np.nan)
    if "up" in labels:
        up = labels["up"][rows].astype(float)

    return RenderedPeople(pack, rows, joints, matrix, up)


def crop_cameras(
    people: RenderedPeople,
    size_px: int,
) -> list[Camera]:
    """The cameras of the crops of the true boxes: pinholes, whose principal point may lie outside
    the crop."""
    cameras = []
    for row, matrix in zip(people.rows, people.matrix, strict=True):
        affine = crop_transform(people.pack.keypoints[row], size_px)
        into_crop = np.vstack([affine, [0, 0, 1]])
        cameras.append(Camera(into_crop @ matrix))

    return cameras


def synthetic_tables(
    estimators: Mapping[str, PoseEstimator],
    people: RenderedPeople,
) -> dict[str, dict[str, dict[str, float]]]:
    """Tables by TITLES. The rows of the first estimator do not contain its name, those of others
    do. The errors are those of the people that are lifted in all rows."""
    results = {}
    calibration = {}

    for index, (name, estimator) in enumerate(estimators.items()):
        add = f", {name}" if index else ""
        config = estimator.network.config
        cameras = crop_cameras(people, config.input_px)
        answers = ask(estimator.network, people.pack, people.rows, MAPS)

        # Keypoints
        found = {}
        if index == 0:
            found["exact keypoints"] = exact(people, cameras)
        for stage in range(len(answers.keypoints_px)):
            for kind in _MAPS_LIFTED:
                row = f"stage {stage + 1}, {kind}{add}"
                found[row] = seen(answers, stage, kind, estimator)

        # Joints
        for row, observed in found.items():
            joints = lift(estimator.lifter, observed, cameras, people.up)
            results[row] = LiftedCrops(joints, observed.keypoints_px, answers.labels)

        # Covariances of the keypoints
        errors = errors_of(answers, config.stride)
        rows = calibration_rows({"rendered": errors}, config)
        del rows["all sets"]
        calibration |= {row + add: values for row, values in rows.items()}

    tables = (error_rows(results, people.joints_m), calibration)
    return dict(zip(TITLES, tables, strict=True))


def exact(
    people: RenderedPeople,
    cameras: list[Camera],
) -> Observed:
    """The true keypoints, in pixels of the crops with these cameras."""
    joints = people.joints_m[:, list(KEYPOINT_TO_JOINT)]
    projected = [camera.project(each) for camera, each in zip(cameras, joints, strict=True)]
    keypoints = np.stack(projected)

    shape = keypoints.shape[:2]
    confidence = np.ones(shape)
    covariance = np.tile(EXACT_NOISE_PX**2 * np.eye(2), (*shape, 1, 1))
    return Observed(keypoints, confidence, covariance)


def seen(
    answers: Answers,
    stage: int,
    kind: str,
    estimator: PoseEstimator,
) -> Observed:
    """What the estimator would give its lifter after a stage, from the stage's own maps ("b") or
    from the fused ones ("f")."""
    maps = _MAPS_LIFTED[kind]
    confidence = answers.confidence[stage, maps]
    least = estimator.config.min_keypoint_confidence
    usable = np.where(confidence >= least, confidence, 0.0)

    config = estimator.network.config
    moment_px2 = answers.moment_px2[stage, maps].reshape(-1, 2, 2)
    moment = moment_px2 / config.stride**2
    covariance_px2 = covariances(moment, *noise_of(config)) * config.stride**2
    covariance_px2 = covariance_px2.reshape(*confidence.shape, 2, 2)
    return Observed(answers.keypoints_px[stage, maps], usable, covariance_px2)


def lift(
    lifter: Lifter,
    observed: Observed,
    cameras: list[Camera],
    up: np.ndarray,
) -> np.ndarray:
    """Joints (N, 17, 3) in metres of N persons, one camera and up direction each; NaN where not
    estimated."""
    found = []
    for n in Progress(range(len(cameras)), desc="lifting", delay=2, leave=False):
        person = [np.asarray(values[n : n + 1], np.float64) for values in observed]
        poses = lifter.lift(*person, cameras[n], up[n])
        found.append(poses.joints_m[0])

    return np.stack(found)


def error_rows(
    results: Mapping[str, LiftedCrops],
    truth_m: np.ndarray,
) -> dict[str, dict[str, float]]:
    """Mean and median errors in mm, and errors and swaps in 2D, by row.

    The errors in mm are those of the persons that are lifted in all rows, so that rows can be
    compared. truth_m: (N, 17, 3).
    """
    valid = {row: np.isfinite(result.joints_m).all((1, 2)) for row, result in results.items()}
    common = np.all(list(valid.values()), axis=0)

    rows = {}

    for row, result in results.items():
        by_metric = errors(result.joints_m[common][:, None], truth_m[common])
        if not common.any():
            by_metric = dict.fromkeys(by_metric, np.array([np.nan]))

        means = {metric: float(values.mean()) for metric, values in by_metric.items()}
        medians = {f"median {m}": float(np.median(values)) for m, values in by_metric.items()}
        lifted = {"lifted %": 100 * float(valid[row].mean())}
        rows[row] = means | medians | lifted | _errors_2d(result)

    return rows


def _errors_2d(result: LiftedCrops) -> dict[str, float]:
    labels = result.labels
    labelled = labels[..., 2] > 0
    distance = np.linalg.norm(result.keypoints_px - labels[..., :2], axis=-1)
    error = distance[labelled]

    return {
        "px": float(error.mean()),
        "median px": float(np.median(error)),
        "PCK": 100 * mean_pck(result.keypoints_px, labels),
        "swapped %": 100 * swapped(result.keypoints_px, labels),
    }
