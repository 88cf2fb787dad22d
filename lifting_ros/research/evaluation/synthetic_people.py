# SPDX-License-Identifier: Apache-2.0
"""End to end on rendered people, whose joints are known: true box, network, lifter with the
picture's camera, stage by stage."""

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
    PARAMETERS,
    calibration_rows,
    covariances,
    errors_of,
)
from lifting_ros.research.evaluation.keypoints import MAPS, Answers, ask
from lifting_ros.research.evaluation.lifting import errors
from lifting_ros.research.evaluation.metrics import mean_pck, swapped
from lifting_ros.skeleton import KEYPOINT_TO_JOINT

TITLES = ("rendered people, mm", "calibration of keypoints on rendered people, % inside")

EXACT_NOISE_PX = 0.5
"""Standard deviation given to the lifter for exact keypoints, pixels of the crop."""


class RenderedPeople(NamedTuple):
    """Rows of a pack with the truth in space."""

    pack: Pack
    rows: np.ndarray
    """(N,) of the pack."""
    joints_m: np.ndarray
    """(N, 17, 3) in the optical frame."""
    matrix: np.ndarray
    """(N, 3, 3) K of the pack's windows."""
    up: np.ndarray
    """(N, 3) in the optical frame; NaN where the pack does not tell."""


def read_rendered(folder: Path, most: int) -> RenderedPeople:
    """At most `most` evenly spread people of a pack of `data.synthetic.write_pack`, held-out
    subjects alone; DataError in one line for another pack or an empty one."""
    expected = {
        "keypoints": ("N", 14, 3),
        "validation": ("N",),
        "joints_camera_m": ("N", 17, 3),
        "K": ("N", 3, 3),
    }
    try:
        if "picture" in read_arrays(folder / "labels.npz", {}):
            raise DataError("it holds whole pictures; expected windows around one main person each")

        labels = read_arrays(folder / "labels.npz", expected, {"up": ("N", 3)})
        pack = read_pack(folder)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: not a pack of rendered people ({error})") from None

    if not pack.validation.all():
        raise DataError(
            f"{folder}: shows people that are trained on: expected a pack of `lifting render "
            "--subjects validation`"
        )

    joints = labels["joints_camera_m"].astype(float)
    matrix = labels["K"].astype(float)
    shown = np.flatnonzero((pack.keypoints[..., 2] > 0).any(1))
    if not len(shown):
        raise DataError(f"{folder}: nobody is labelled in this pack")

    rows = shown[np.linspace(0, len(shown) - 1, min(most, len(shown))).astype(int)]
    up = labels["up"].astype(float) if "up" in labels else np.full((len(pack.images), 3), np.nan)

    return RenderedPeople(pack, rows, joints[rows], matrix[rows], up[rows])


def crop_cameras(people: RenderedPeople, size_px: int) -> list[Camera]:
    """The cameras of the crops of the true boxes: pinholes with the principal point wherever the
    crop has left it."""
    cameras = []
    for row, matrix in zip(people.rows, people.matrix, strict=True):
        into_crop = np.vstack([crop_transform(people.pack.keypoints[row], size_px), [0, 0, 1]])
        cameras.append(Camera(into_crop @ matrix))

    return cameras


def synthetic_tables(
    estimators: Mapping[str, PoseEstimator], people: RenderedPeople
) -> dict[str, dict[str, dict[str, float]]]:
    """Tables by TITLES. The first estimator's rows have no name, those of others have theirs;
    errors are of the people that all lift."""
    lifted = {}
    keypoints = {}
    labels = {}
    calibration = {}

    for index, (name, estimator) in enumerate(estimators.items()):
        add = f", {name}" if index else ""
        config = estimator.network.config
        cameras = crop_cameras(people, config.input_px)
        answers = ask(estimator.network, people.pack, people.rows, MAPS)
        found = {} if index else {"exact keypoints": exact(people, cameras)}

        for stage in range(len(answers.keypoints_px)):
            found |= {
                f"stage {stage + 1}, {kind}{add}": seen(answers, stage, kind, estimator)
                for kind in ("b", "f")
            }

        lifted |= {
            row: lift(estimator.lifter, *given, cameras, people.up) for row, given in found.items()
        }
        keypoints |= {row: given[0] for row, given in found.items()}
        labels |= dict.fromkeys(found, answers.labels)  # in pixels of this network's crops
        rows = calibration_rows({"rendered": errors_of(answers, config.stride)}, config)
        calibration |= {row + add: values for row, values in rows.items() if row != "all sets"}

    return dict(
        zip(
            TITLES,
            (error_rows(lifted, keypoints, labels, people.joints_m), calibration),
            strict=True,
        )
    )


def exact(
    people: RenderedPeople, cameras: list[Camera]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The true keypoints (N, 14, 2), confidences (N, 14) and covariances (N, 14, 2, 2), in pixels
    of the crops."""
    joints = people.joints_m[:, list(KEYPOINT_TO_JOINT)]
    keypoints = np.stack([camera.project(j) for camera, j in zip(cameras, joints, strict=True)])

    shape = keypoints.shape[:2]
    confidence = np.ones(shape)
    covariance = np.tile(EXACT_NOISE_PX**2 * np.eye(2), (*shape, 1, 1))
    return keypoints, confidence, covariance


def seen(
    answers: Answers, stage: int, kind: str, estimator: PoseEstimator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the estimator would give its lifter after a stage, of its own maps ("b") or of the fused
    ones ("f"); shapes as `exact`."""
    config = estimator.network.config
    which = {"b": 0, "f": 2}[kind]
    confidence = answers.confidence[stage, which]
    usable = np.where(confidence >= estimator.config.min_keypoint_confidence, confidence, 0.0)
    cells = answers.moment_px2[stage, which].reshape(-1, 2, 2) / config.stride**2
    covariance = (
        covariances(cells, *(getattr(config, name) for name in PARAMETERS)) * config.stride**2
    )

    return answers.keypoints_px[stage, which], usable, covariance.reshape(*confidence.shape, 2, 2)


def lift(
    lifter: Lifter, keypoints_px, confidence, covariance_px2, cameras: list[Camera], up: np.ndarray
) -> np.ndarray:
    """Joints (N, 17, 3) in metres of N persons, one camera each; NaN where not estimated."""
    found = []
    for n in Progress(range(len(cameras)), desc="lifting", delay=2, leave=False):
        person = (
            np.asarray(given[n : n + 1], np.float64)
            for given in (keypoints_px, confidence, covariance_px2)
        )
        found.append(lifter.lift(*person, cameras[n], up[n]).joints_m[0])

    return np.stack(found)


def error_rows(
    lifted: Mapping[str, np.ndarray],
    keypoints: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    truth_m: np.ndarray,
) -> dict[str, dict[str, float]]:
    """Mean and median errors in mm, 2D error and swaps by row; of the persons that every row lifts,
    so that the rows compare.

    lifted: (N, 17, 3) metres by row; keypoints: (N, 14, 2) by row, in pixels of its crops, as its
    labels (N, 14, 3); truth_m: (N, 17, 3).
    """
    valid = {row: np.isfinite(joints).all((1, 2)) for row, joints in lifted.items()}
    common = np.all(list(valid.values()), axis=0)
    rows = {}

    for row, joints in lifted.items():
        error = np.linalg.norm(keypoints[row] - labels[row][..., :2], axis=-1)[
            labels[row][..., 2] > 0
        ]
        space = {
            m: v if len(v) else np.array([np.nan])
            for m, v in errors(joints[common][:, None], truth_m[common]).items()
        }
        rows[row] = {metric: float(v.mean()) for metric, v in space.items()}
        rows[row] |= {f"median {metric}": float(np.median(v)) for metric, v in space.items()} | {
            "lifted %": 100 * float(valid[row].mean())
        }
        rows[row] |= {"px": float(error.mean()), "median px": float(np.median(error))}
        rows[row] |= {
            "PCK": 100 * mean_pck(keypoints[row], labels[row]),
            "swapped %": 100 * swapped(keypoints[row], labels[row]),
        }

    return rows
