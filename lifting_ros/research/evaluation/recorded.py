# SPDX-License-Identifier: Apache-2.0
"""Tables of the papers on data sets that the user provides: errors by action on Human3.6M and
MPI-INF-3DHP, depth orders on Leeds Sports Pose.

Protocol 1 of Human3.6M is the column MPJPE, and protocol 2 the column PA-MPJPE; both are the
average of the actions of subjects 9 and 11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from lifting_ros.lifting.request import PoseLifter
from lifting_ros.research.datasets.human36m import Clip, read_clips, record, sampled, y_up
from lifting_ros.research.datasets.mpi_inf_3dhp import read_test, read_train
from lifting_ros.research.datasets.recorded import Recorded
from lifting_ros.research.datasets.relative_lsp import CrowdSet, read_relative_lsp
from lifting_ros.research.datasets.virtual_cameras import make_views
from lifting_ros.research.evaluation.lifting import BATCH, errors
from lifting_ros.research.evaluation.metrics import wrong_orders
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_TO_JOINT

EVERY = 64
"""One of so many frames of Human3.6M counts: at 50 frames per second neighbours differ little."""

MODEL_NOISE_PX = 2.0
"""Standard deviation of the exact keypoints that the lifters are told, px."""

_PAIRS = np.array(list(combinations(range(JOINT_COUNT), 2)))
"""(K, 2) all pairs of joints."""

_METRICS = ("MPJPE", "N-MPJPE", "PA-MPJPE", "order %")


def read_recorded(
    path: str | Path,
    cameras_h5: str = "",
    every: int = EVERY,
) -> Recorded | CrowdSet:
    """The data set at `path`: a .json of Leeds Sports Pose, an .npz or a folder of Human3.6M, or a
    folder of MPI-INF-3DHP.

    Without `cameras_h5`, Human3.6M is seen by virtual cameras. FileNotFoundError or DataError in
    one line for anything else.
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
    return _record_virtually(clips, every)


def _record_virtually(
    clips: Sequence[Clip],
    every: int,
) -> Recorded:
    poses, actions = sampled(clips, every)
    views = make_views(y_up(poses), 1)
    return Recorded(
        views.joints_m,
        views.keypoints_px,
        views.up,
        np.zeros(len(views.joints_m), int),
        (views.camera,),
        actions,
    )


def recorded_tables(
    lifters: Mapping[str, PoseLifter],
    recorded: Recorded | CrowdSet,
) -> dict[str, dict[str, dict[str, float]]]:
    """Tables by title.

    For recorded joints, one table per lifter: errors in mm and wrong depth orders in %, by action.
    For comparisons by a crowd, one table of the depth orders, by lifter.
    """
    if isinstance(recorded, CrowdSet):
        rows = {name: crowd_row(lifter, recorded) for name, lifter in lifters.items()}
        return {"wrong depth orders, %": rows}

    return {f"{name}, by action": action_rows(lifter, recorded) for name, lifter in lifters.items()}


def action_rows(
    lifter: PoseLifter,
    recorded: Recorded,
) -> dict[str, dict[str, float]]:
    """Errors in mm and wrong depth orders in % by action, and the average of the actions. Persons
    not lifted are left out, and their share is given."""
    joints = lift_recorded(lifter, recorded)
    lifted = np.isfinite(joints).all((1, 2))
    found = joints[lifted]
    truth = recorded.joints_m[lifted]

    # Measures of each person, NaN where not lifted
    each = {name: np.full(len(joints), np.nan) for name in _METRICS}
    for name, values in errors(found[:, None], truth).items():
        each[name][lifted] = values

    pairs = np.broadcast_to(_PAIRS, (len(truth), *_PAIRS.shape))
    first, second = _PAIRS.T
    label = np.sign(truth[:, first, 2] - truth[:, second, 2])
    wrong = wrong_orders(found, pairs, label)
    each["order %"][lifted] = 100 * np.nanmean(wrong, axis=1)

    # Means by action
    rows = {}

    for action in sorted(set(recorded.action.tolist())):
        own = recorded.action == action
        row = dict.fromkeys(_METRICS, float("nan"))
        if (own & lifted).any():
            row = {name: float(np.nanmean(values[own])) for name, values in each.items()}
        row["lifted %"] = 100 * float(lifted[own].mean())
        rows[action] = row

    average = {}
    for name in (*_METRICS, "lifted %"):
        average[name] = float(np.nanmean([row[name] for row in rows.values()]))

    return rows | {"average": average}


def lift_recorded(
    lifter: PoseLifter,
    recorded: Recorded,
) -> np.ndarray:
    """Joints (N, 17, 3) in the optical frame, metres; NaN of those not lifted."""
    joints = np.full(recorded.joints_m.shape, np.nan)
    keypoint_count = recorded.keypoints_px.shape[1]
    confidence = np.ones((BATCH, keypoint_count))
    covariance = np.tile(MODEL_NOISE_PX**2 * np.eye(2), (BATCH, keypoint_count, 1, 1))

    for number, camera in enumerate(recorded.cameras):
        own = np.flatnonzero(recorded.camera == number)
        batches = np.array_split(own, max(1, -(-len(own) // BATCH)))
        for rows in batches:
            count = len(rows)
            poses = lifter.lift(
                recorded.keypoints_px[rows],
                confidence[:count],
                covariance[:count],
                camera,
                recorded.up[rows],
            )
            joints[rows] = poses.joints_m

    return joints


def crowd_row(
    lifter: PoseLifter,
    crowd: CrowdSet,
) -> dict[str, float]:
    """Share in % of the comparisons by a crowd that the lifter contradicts, on the train and the
    test side. No camera is known."""
    confidence = np.isfinite(crowd.keypoints_px).all(-1).astype(float)
    poses = lifter.lift(crowd.keypoints_px, confidence)
    keypoints = poses.joints_m[:, list(KEYPOINT_TO_JOINT)]

    compared = keypoints[crowd.photograph]
    wrong = wrong_orders(compared, crowd.pairs[:, None], crowd.label[:, None])[:, 0]
    known = np.isfinite(wrong)

    train = crowd.train[crowd.photograph]
    row = {}
    comparisons = 0

    for name, side in {"train": train, "test": ~train}.items():
        values = wrong[side & known]
        row[name] = 100 * float(values.mean()) if len(values) else float("nan")
        comparisons += len(values)

    row["comparisons"] = float(comparisons)
    return row
