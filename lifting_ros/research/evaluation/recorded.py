# SPDX-License-Identifier: Apache-2.0
"""Tables of the papers on data sets not at hand: errors by action on Human3.6M and MPI-INF-3DHP,
depth orders on Leeds Sports Pose.

Human3.6M's protocol 1 is the column MPJPE, protocol 2 PA-MPJPE, both on subjects 9 and 11, the
average of the actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import numpy as np

from lifting_ros.lifting.request import PoseLifter
from lifting_ros.research.datasets.human36m import read_clips, record, y_up
from lifting_ros.research.datasets.mpi_inf_3dhp import read_test, read_train
from lifting_ros.research.datasets.recorded import Recorded
from lifting_ros.research.datasets.relative_lsp import CrowdSet, read_relative_lsp
from lifting_ros.research.datasets.virtual_cameras import make_views
from lifting_ros.research.evaluation.lifting import BATCH, errors
from lifting_ros.research.evaluation.metrics import wrong_orders
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_TO_JOINT

EVERY = 64
"""Every how many frames of Human3.6M count: 50 frames a second show little new."""
MODEL_NOISE_PX = 2.0
"""Standard deviation given to the lifters for exact keypoints, px."""

_PAIRS = np.array(list(combinations(range(JOINT_COUNT), 2)))


def read_recorded(
    path: str | Path, cameras_h5: str = "", every: int = EVERY
) -> Recorded | CrowdSet:
    """Whatever lies at `path`: a .json of Leeds Sports Pose, an .npz or a folder of Human3.6M, a
    folder of MPI-INF-3DHP.

    Human3.6M without `cameras_h5` is seen by virtual cameras. FileNotFoundError or DataError in
    one line where none of these is there.
    """
    path = Path(path)
    if path.suffix == ".json":
        return read_relative_lsp(path)
    if path.is_dir() and any(path.glob("TS*/annot_data.mat")):
        return read_test(path)
    if path.is_dir() and any(path.glob("S*/Seq*/annot.mat")):
        return read_train(path)

    clips = read_clips(path)
    if cameras_h5:
        return record(clips, cameras_h5, every)

    poses = np.concatenate([y_up(clip.positions_m[::every]) for clip in clips])
    actions = np.concatenate(
        [np.full(len(clip.positions_m[::every]), clip.action, object) for clip in clips]
    )
    views = make_views(poses, 1)

    return Recorded(
        views.joints_m,
        views.keypoints_px,
        views.up,
        np.zeros(len(poses), int),
        (views.camera,),
        actions,
    )


def recorded_tables(
    lifters: Mapping[str, PoseLifter], recorded: Recorded | CrowdSet
) -> dict[str, dict[str, dict[str, float]]]:
    """Tables by title: errors in mm and wrong depth orders in % by lifter and action; of
    comparisons by a crowd the orders alone."""
    if isinstance(recorded, CrowdSet):
        return {
            "wrong depth orders, %": {
                name: crowd_row(lifter, recorded) for name, lifter in lifters.items()
            }
        }

    return {f"{name}, by action": action_rows(lifter, recorded) for name, lifter in lifters.items()}


def action_rows(lifter: PoseLifter, recorded: Recorded) -> dict[str, dict[str, float]]:
    """Errors in mm by action, and the average of the actions; those not lifted are left out and
    counted."""
    joints = lift_recorded(lifter, recorded)
    lifted = np.isfinite(joints).all((1, 2))
    each = {
        name: np.full(len(joints), np.nan) for name in ("MPJPE", "N-MPJPE", "PA-MPJPE", "order %")
    }

    for name, values in errors(joints[lifted][:, None], recorded.joints_m[lifted]).items():
        each[name][lifted] = values

    truth = recorded.joints_m[lifted]
    pairs = np.broadcast_to(_PAIRS, (len(truth), *_PAIRS.shape))
    label = np.sign(truth[:, _PAIRS[:, 0], 2] - truth[:, _PAIRS[:, 1], 2])
    each["order %"][lifted] = 100 * np.nanmean(wrong_orders(joints[lifted], pairs, label), axis=1)
    rows = {}

    for action in sorted(set(recorded.action.tolist())):
        own = recorded.action == action
        rows[action] = {
            name: float(np.nanmean(values[own])) if (own & lifted).any() else float("nan")
            for name, values in each.items()
        }
        rows[action]["lifted %"] = 100 * float(lifted[own].mean())

    average = {
        name: float(np.nanmean([row[name] for row in rows.values()]))
        for name in [*each, "lifted %"]
    }

    return rows | {"average": average}


def lift_recorded(lifter: PoseLifter, recorded: Recorded) -> np.ndarray:
    """Joints (N, 17, 3) in the optical frame, metres; NaN of those not lifted."""
    joints = np.full(recorded.joints_m.shape, np.nan)
    told = np.tile(MODEL_NOISE_PX**2 * np.eye(2), (BATCH, *recorded.keypoints_px.shape[1:2], 1, 1))

    for number, camera in enumerate(recorded.cameras):
        own = np.flatnonzero(recorded.camera == number)
        for rows in np.array_split(own, max(1, -(-len(own) // BATCH))):
            keypoints = recorded.keypoints_px[rows]
            ones = np.ones((len(rows), told.shape[1]))
            joints[rows] = lifter.lift(
                keypoints, ones, told[: len(rows)], camera, recorded.up[rows]
            ).joints_m

    return joints


def crowd_row(lifter: PoseLifter, crowd: CrowdSet) -> dict[str, float]:
    """Share of the crowd's comparisons in % that the lifter contradicts, by the side that the
    photographs are on; no camera is known."""
    seen = np.isfinite(crowd.keypoints_px).all(-1)
    joints = lifter.lift(crowd.keypoints_px, seen.astype(float)).joints_m[
        :, list(KEYPOINT_TO_JOINT)
    ]
    wrong = wrong_orders(joints[crowd.photograph], crowd.pairs[:, None], crowd.label[:, None])[:, 0]
    sides = {"train": crowd.train[crowd.photograph], "test": ~crowd.train[crowd.photograph]}
    counted = {name: wrong[side & np.isfinite(wrong)] for name, side in sides.items()}
    row = {
        name: 100 * float(values.mean()) if len(values) else float("nan")
        for name, values in counted.items()
    }

    return row | {"comparisons": float(sum(map(len, counted.values())))}
