# SPDX-License-Identifier: Apache-2.0
"""Measures of the lifting under the virtual-camera protocols: errors over 17 joints, and where they
sit."""

from __future__ import annotations

import dataclasses
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
PERCENTILES = (10, 50, 75, 90, 95, 99)
BATCH = 256


class Lifted(NamedTuple):
    """The lifter's answer to a trial."""

    poses: LiftedPoses
    valid: np.ndarray
    """(N,) bool: somebody was found there."""
    seconds: float


def lift_trial(lifter: PoseLifter, trial: Trial) -> Lifted:
    """Lift all views of a trial, in batches."""
    given = (trial.keypoints_px, trial.confidence, trial.covariance_px2, trial.up)
    parts = []
    count = len(trial.confidence)
    start = time.perf_counter()

    for rows in Progress(
        np.array_split(np.arange(count), max(1, -(-count // BATCH))),
        desc="lifting",
        delay=2,
        leave=False,
    ):
        keypoints, confidence, covariance, up = (values[rows] for values in given)
        parts.append(lifter.lift(keypoints, confidence, covariance, trial.camera, up))

    seconds = time.perf_counter() - start
    poses = LiftedPoses(
        *(
            np.concatenate([getattr(p, f.name) for p in parts])
            for f in dataclasses.fields(LiftedPoses)
        )
    )

    return Lifted(poses, (poses.status > 0).all(1), seconds)


def guesses(poses: LiftedPoses) -> dict[str, np.ndarray]:
    """Root-relative guesses (N, M, 17, 3) by name: the answer, the mean of the hypotheses by
    weight, and all hypotheses."""
    best = poses.joints_m[:, None] - poses.root_m[:, None, None]  # N, 1, 17, 3
    weight = np.nan_to_num(poses.hypothesis_weight)[..., None, None]  # N, M, 1, 1
    hypotheses = poses.hypotheses_m - poses.hypotheses_m[:, :, :1]
    hypotheses = np.where(
        np.isfinite(hypotheses).all((-1, -2), keepdims=True) & (weight > 0), hypotheses, best
    )
    total = weight.sum(1, keepdims=True)
    mean = np.where(
        total > 0, (weight * hypotheses).sum(1, keepdims=True) / np.where(total > 0, total, 1), best
    )

    return {"best mode": best, "Bayes mean": mean, "best of the hypotheses": hypotheses}


def errors(guess: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Every metric (N,) in mm of the best of M guesses (N, M, 17, 3; metres), each metric choosing
    its own best."""
    each = {
        name: np.stack([metric(guess[:, m], truth) for m in range(guess.shape[1])])
        for name, metric in METRICS.items()
    }
    return {name: 1e3 * values.min(0) for name, values in each.items()}


def error_rows(lifted: Lifted, trial: Trial) -> dict[str, dict[str, float]]:
    """Mean errors in mm by row: the lifter's answer, the mean and the best of its hypotheses;
    persons not lifted are left out."""
    valid = lifted.valid
    rows = {}

    for name, guess in guesses(lifted.poses).items():
        by_metric = errors(guess[valid], trial.joints_m[valid])
        row = {metric: float(values.mean()) for metric, values in by_metric.items()}
        row["lifted %"] = 100 * float(valid.mean())
        rows[name] = row

    return rows


def lifter_errors(lifter: PoseLifter, poses_m: np.ndarray) -> dict[str, float]:
    """Errors of a lifter in mm under the three main protocols, as `N-MPJPE, exact`."""
    found = {
        name: answer_row(lifter, make_trial(poses_m, protocol))
        for name, protocol in PROTOCOLS.items()
    }
    return {
        f"{metric}, {name}": row[metric]
        for name, row in found.items()
        for metric in ("N-MPJPE", "PA-MPJPE")
    }


def answer_row(lifter: PoseLifter, trial: Trial) -> dict[str, float]:
    """Mean errors in mm of a lifter's answers."""
    return error_rows(lift_trial(lifter, trial), trial)["best mode"]


def where_it_sits(joints_m: np.ndarray, truth_m: np.ndarray) -> dict[str, float]:
    """Where the N-MPJPE sits (N, 17, 3): mm along depth and across the image, % of limbs flipped in
    depth, percentiles of persons in mm."""
    joints, truth = n_aligned(joints_m, truth_m)
    depth, across = depth_and_across(joints[:, 1:], truth[:, 1:])
    each = np.percentile(1e3 * mpjpe(joints, truth), PERCENTILES)
    shares = {
        "along depth": 1e3 * depth,
        "across": 1e3 * across,
        "flipped %": 100 * flipped_limbs(joints, truth),
    }

    return shares | {f"p{p}": float(v) for p, v in zip(PERCENTILES, each, strict=True)}


def joint_errors(joints_m: np.ndarray, truth_m: np.ndarray) -> dict[str, float]:
    """Mean error of every joint in mm after the best scale about the root, (N, 17, 3)."""
    joints, truth = n_aligned(joints_m, truth_m)
    return dict(
        zip(
            JOINT_NAMES,
            (1e3 * np.linalg.norm(joints - truth, axis=-1).mean(0)).tolist(),
            strict=True,
        )
    )
