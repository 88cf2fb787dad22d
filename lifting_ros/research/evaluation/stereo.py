# SPDX-License-Identifier: Apache-2.0
"""Ablation of the stereoscopic lifter on one protocol: complete, without the search, and without
view synthesis."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lifting_ros.lifting.person_view import second_view
from lifting_ros.lifting.stereo import StereoLifter
from lifting_ros.research.evaluation.calibration import calibrate, calibration_row
from lifting_ros.research.evaluation.lifting import error_rows, lift_trial
from lifting_ros.research.evaluation.virtual_cameras import Trial
from lifting_ros.skeleton import KEYPOINT_NAMES, limb_lengths

HEAD = tuple(KEYPOINT_NAMES.index(name) for name in ("head_top", "neck"))
"""The keypoints at the ends of the head, whose length is the unit of PCKh."""

Rows = dict[str, dict[str, float]]


def variants(paths: Sequence[str | Path]) -> dict[str, StereoLifter]:
    """Lifters by name of the row, from files of weights.

    A network with view synthesis gives two lifters, with and without the search; another gives
    one. With more than two files the names contain that of the file. CheckpointError in one line
    for a file without such weights.
    """
    found: dict[str, StereoLifter] = {}
    for path in paths:
        lifter = StereoLifter.load(path)
        searching = dataclasses.replace(lifter, search=True)
        own = f" ({Path(path).stem})" if len(paths) > 2 else ""

        if lifter.network.config.synthesis:
            found[f"stereo{own}"] = searching
            found[f"stereo without search{own}"] = dataclasses.replace(lifter, search=False)
        else:
            found[f"stereo without view synthesis{own}"] = searching

    return found


def stereo_rows(
    lifters: Mapping[str, StereoLifter],
    trial: Trial,
) -> tuple[Rows, Rows, Rows]:
    """Mean errors in mm, coverage of the covariances, and speed, by lifter; without the persons not
    lifted.

    With a known camera the errors have the PCKh of the synthesised view at half a head.
    """
    error = {}
    calibration = {}
    speed = {}

    for name, lifter in lifters.items():
        lifted = lift_trial(lifter, trial)
        error[name] = error_rows(lifted, trial)["best mode"]
        if lifter.network.config.synthesis and trial.camera is not None:
            error[name]["view PCKh %"] = 100 * view_pckh(lifter, trial)

        results = calibrate(lifted.poses, trial.joints_m)
        for row, result in results.items():
            calibration[f"{name}, {row}"] = calibration_row(result)

        count = len(lifted.valid)
        speed[name] = {"poses": float(count), "poses/s": count / lifted.seconds}

    return error, calibration, speed


def view_pckh(
    lifter: StereoLifter,
    trial: Trial,
) -> float:
    """PCKh of the synthesised view: the share of its keypoints within half a head of what a
    camera `baseline` sizes to the right would see."""
    found = lifter.reconstruct(
        trial.keypoints_px, trial.confidence, trial.covariance_px2, trial.camera, trial.up
    )
    baseline = lifter.network.config.baseline
    truth = second_view_of(trial.joints_m, found.view.rotation, baseline)

    top, neck = HEAD
    head = np.linalg.norm(truth[:, top] - truth[:, neck], axis=-1)
    error = np.linalg.norm(found.right - truth, axis=-1)
    correct = error <= head[:, None] / 2
    return float(correct.mean())


def second_view_of(
    joints_m: np.ndarray,
    rotation: np.ndarray,
    baseline: float,
) -> np.ndarray:
    """Rays (N, 14, 2) of the keypoints in the view of a second camera.

    joints_m: (N, 17, 3) absolute, optical frame; rotation: (N, 3, 3) from there to the frame of the
    second camera, which is `baseline` sizes of the person to the right in it.
    """
    joints = np.einsum("nab,njb->nja", rotation, joints_m)
    limbs = limb_lengths(joints)
    size = np.sqrt((limbs**2).sum(-1))
    return second_view(joints, baseline * size)
