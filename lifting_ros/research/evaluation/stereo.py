# SPDX-License-Identifier: Apache-2.0
"""The stereoscopic lifter and what its parts are worth: whole, without the search, and networks
without view synthesis, on one protocol."""

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

Rows = dict[str, dict[str, float]]


def variants(paths: Sequence[str | Path]) -> dict[str, StereoLifter]:
    """Lifters by row: of weights with view synthesis the whole and the one without search, of
    others the whole without view synthesis.

    CheckpointError in one line for a file that holds none.
    """
    found: dict[str, StereoLifter] = {}
    for path in paths:
        lifter = StereoLifter.load(path)
        own = f" ({Path(path).stem})" if len(paths) > 2 else ""
        if lifter.network.config.synthesis:
            found[f"stereo{own}"] = dataclasses.replace(lifter, search=True)
            found[f"stereo without search{own}"] = dataclasses.replace(lifter, search=False)
        else:
            found[f"stereo without view synthesis{own}"] = dataclasses.replace(lifter, search=True)

    return found


def stereo_rows(lifters: Mapping[str, StereoLifter], trial: Trial) -> tuple[Rows, Rows, Rows]:
    """Mean errors in mm, calibration of the covariances, and speed, by lifter; persons not lifted
    are left out.

    View synthesis is measured where a camera is known: PCKh of the second view, the share of its
    keypoints within half a head.
    """
    error = {}
    calibration = {}
    speed = {}

    for name, lifter in lifters.items():
        lifted = lift_trial(lifter, trial)
        error[name] = error_rows(lifted, trial)["best mode"]
        if lifter.network.config.synthesis and trial.camera is not None:
            error[name] |= {"view PCKh %": 100 * view_pckh(lifter, trial)}

        calibration |= {
            f"{name}, {row}": calibration_row(result)
            for row, result in calibrate(lifted.poses, trial.joints_m).items()
        }
        speed[name] = {
            "poses": float(len(lifted.valid)),
            "poses/s": len(lifted.valid) / lifted.seconds,
        }

    return error, calibration, speed


def view_pckh(lifter: StereoLifter, trial: Trial, share: float = 0.5) -> float:
    """PCKh of the synthesised view: share of keypoints within `share` heads of what a camera
    `baseline` sizes to the right would see."""
    found = lifter.reconstruct(
        trial.keypoints_px, trial.confidence, trial.covariance_px2, trial.camera, trial.up
    )
    truth = second_view_of(trial.joints_m, found.view.rotation, lifter.network.config.baseline)
    head = np.linalg.norm(truth[:, HEAD[0]] - truth[:, HEAD[1]], axis=-1)
    error = np.linalg.norm(found.right - truth, axis=-1)
    correct = error <= share * head[:, None]

    return float(correct.mean())


def second_view_of(joints_m: np.ndarray, rotation: np.ndarray, baseline: float) -> np.ndarray:
    """Rays (N, 14, 2) of joints (N, 17, 3; optical frame, absolute) in frames turned by `rotation`
    (N, 3, 3), before a camera that is `baseline` sizes of the person to the right in them."""
    joints = np.einsum("nab,njb->nja", rotation, joints_m)
    size = np.sqrt((limb_lengths(joints) ** 2).sum(-1))
    return second_view(joints, baseline * size)
