# SPDX-License-Identifier: Apache-2.0
"""Measures of the lifting under the virtual-camera protocols: errors of the 17 joints, and how they
are distributed."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from lifting_ros.io.progress import Progress
from lifting_ros.lifting.request import PoseLifter
from lifting_ros.research.evaluation.metrics import (
    depth_and_across,
    flipped_limbs,
    mpjpe,
    n_aligned,
    n_mpjpe,
    pa_mpjpe,
)
from lifting_ros.research.evaluation.virtual_cameras import PROTOCOLS, Trial, make_trial
from lifting_ros.skeleton import JOINT_NAMES
from lifting_ros.types import LiftedPoses

METRICS = {"MPJPE": mpjpe, "N-MPJPE": n_mpjpe, "PA-MPJPE": pa_mpjpe}
"""Functions of joints and truth (N, 17, 3) that return (N,), in the unit given."""

PERCENTILES = (10, 50, 75, 90, 95, 99)
"""Percentiles of the persons' errors, %."""

BATCH = 256
"""Persons per call of a lifter."""


class Lifted(NamedTuple):
    """The lifter's answer to a trial."""

    poses: LiftedPoses
    valid: np.ndarray
    """(N,) bool: all joints were estimated."""
    seconds: float
    """Duration of the lifting."""


def lift_trial(
    lifter: PoseLifter,
    trial: Trial,
) -> Lifted:
    """Lift all N views of a trial, in batches."""
    count = len(trial.confidence)
    batches = np.array_split(np.arange(count), max(1, -(-count // BATCH)))

    parts = []
    start = time.perf_counter()

    for rows in Progress(batches, desc="lifting", delay=2, leave=False):
        poses = lifter.lift(
            trial.keypoints_px[rows],
            trial.confidence[rows],
            trial.covariance_px2[rows],
            trial.camera,
            trial.up[rows],
        )
        parts.append(poses)

    seconds = time.perf_counter() - start

    poses = LiftedPoses.joined(parts)
    return Lifted(poses, (poses.status > 0).all(1), seconds)


def guesses(poses: LiftedPoses) -> dict[str, np.ndarray]:
    """Root-relative guesses (N, M, 17, 3) by name: the answer, the weighted mean of the hypotheses,
    and all hypotheses. The answer takes the place of missing hypotheses."""
    answer = poses.joints_m - poses.root_m[:, None]
    answer = answer[:, None]  # (N, 1, 17, 3)
    weight = np.nan_to_num(poses.hypothesis_weight)[..., None, None]  # (N, M, 1, 1)

    hypotheses = poses.hypotheses_m - poses.hypotheses_m[:, :, :1]
    finite = np.isfinite(hypotheses).all((-1, -2), keepdims=True)
    hypotheses = np.where(finite & (weight > 0), hypotheses, answer)

    total = weight.sum(1, keepdims=True)
    weighted_sum = (weight * hypotheses).sum(1, keepdims=True)
    mean = weighted_sum / np.where(total > 0, total, 1)
    mean = np.where(total > 0, mean, answer)

    return {"best mode": answer, "Bayes mean": mean, "best of the hypotheses": hypotheses}


def errors(
    guess: np.ndarray,
    truth: np.ndarray,
) -> dict[str, np.ndarray]:
    """METRICS (N,) in mm of the best of M guesses (N, M, 17, 3), metres; each metric chooses the
    best itself."""
    found = {}
    for name, metric in METRICS.items():
        each = [metric(guess[:, index], truth) for index in range(guess.shape[1])]
        found[name] = 1e3 * np.stack(each).min(0)
    return found


def error_rows(
    lifted: Lifted,
    trial: Trial,
) -> dict[str, dict[str, float]]:
    """Mean errors in mm, in rows by the names of `guesses`; without the persons not lifted."""
    valid = lifted.valid
    truth = trial.joints_m[valid]

    rows = {}

    for name, guess in guesses(lifted.poses).items():
        by_metric = errors(guess[valid], truth)
        row = {metric: float(values.mean()) for metric, values in by_metric.items()}
        row["lifted %"] = 100 * float(valid.mean())
        rows[name] = row

    return rows


def lifter_errors(
    lifter: PoseLifter,
    poses_m: np.ndarray,
) -> dict[str, float]:
    """N-MPJPE and PA-MPJPE of a lifter under PROTOCOLS, mm; keys as `N-MPJPE, exact`."""
    found = {}
    for name, protocol in PROTOCOLS.items():
        trial = make_trial(poses_m, protocol)
        row = answer_row(lifter, trial)
        for metric in ("N-MPJPE", "PA-MPJPE"):
            found[f"{metric}, {name}"] = row[metric]

    return found


def answer_row(
    lifter: PoseLifter,
    trial: Trial,
) -> dict[str, float]:
    """Mean errors in mm of a lifter's answers."""
    lifted = lift_trial(lifter, trial)
    return error_rows(lifted, trial)["best mode"]


def where_it_sits(
    joints_m: np.ndarray,
    truth_m: np.ndarray,
) -> dict[str, float]:
    """Parts of the N-MPJPE of N persons (N, 17, 3): along depth and across the image in mm, limbs
    flipped in depth in %, and percentiles of the persons in mm."""
    joints, truth = n_aligned(joints_m, truth_m)
    depth, across = depth_and_across(joints[:, 1:], truth[:, 1:])

    row = {
        "along depth": 1e3 * depth,
        "across": 1e3 * across,
        "flipped %": 100 * flipped_limbs(joints, truth),
    }

    of_persons = 1e3 * mpjpe(joints, truth)
    values = np.percentile(of_persons, PERCENTILES)
    for percentile, value in zip(PERCENTILES, values, strict=True):
        row[f"p{percentile}"] = float(value)
    return row


def joint_errors(
    joints_m: np.ndarray,
    truth_m: np.ndarray,
) -> dict[str, float]:
    """Mean error of each joint in mm after the best scale about the root, (N, 17, 3)."""
    joints, truth = n_aligned(joints_m, truth_m)
    distance = np.linalg.norm(joints - truth, axis=-1)
    mean = 1e3 * distance.mean(0)
    return dict(zip(JOINT_NAMES, mean.tolist(), strict=True))
