# SPDX-License-Identifier: Apache-2.0
"""The paper's table 1: errors by action, of a single Gaussian and of the mixture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lifting_ros.errors import DataError
from lifting_ros.lifting.lifting import Lifter
from lifting_ros.lifting.request import PoseLifter
from lifting_ros.prior.ppca import MixturePPCA
from lifting_ros.research.datasets.mocap import Mocap
from lifting_ros.research.datasets.mocap_actions import actions
from lifting_ros.research.datasets.recorded import Recorded
from lifting_ros.research.datasets.virtual_cameras import make_views
from lifting_ros.research.evaluation.lifting import METRICS
from lifting_ros.research.evaluation.recorded import action_rows
from lifting_ros.research.evaluation.subjects import PriorSetting, fitted_prior

Rows = dict[str, dict[str, float]]

SINGLE = "single Gaussian"
MIXTURE = "mixture"
"""Names of the rows."""

ACTIONS_A_BLOCK = 8
"""Actions side by side, as in the paper."""

CAMERAS = 4
"""Views of each pose."""


def gaussian_and_mixture(
    mixture: MixturePPCA, single: MixturePPCA | None, mocap: Mocap, posed: float, work: Path
) -> dict[str, Lifter]:
    """The two rows of the table as lifters.

    single: a prior of one component; None: it is fitted to the training subjects of `mocap` with as
    many basis vectors as the mixture has, and kept in `work`. posed: share of generated poses.
    """
    if single is None:
        training = mocap.select(~mocap.validation_rows())
        setting = PriorSetting(1, mixture.basis, posed)
        single = fitted_prior(training, setting, 0, work)
    return {SINGLE: Lifter(single), MIXTURE: Lifter(mixture)}


def views_by_action(mocap: Mocap, views: int, seed: int = 0) -> Recorded:
    """About `views` views of the validation subjects, evenly spread over the poses of each action.

    Every action has the same number of poses, or all that it has. DataError if there is nobody.
    """
    held_out = np.flatnonzero(mocap.validation_rows())
    if not len(held_out):
        raise DataError("mocap: no validation subject; expected two subjects or more")
    action = actions(mocap)
    names = sorted(set(action[held_out].tolist()))
    most = max(1, views // (CAMERAS * len(names)))

    chosen = []
    for name in names:
        rows = held_out[action[held_out] == name]
        even = np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(int)
        chosen.append(rows[even])
    rows = np.concatenate(chosen)

    seen = make_views(mocap.positions_m[rows], CAMERAS, seed)
    return Recorded(
        joints_m=seen.joints_m,
        keypoints_px=seen.keypoints_px,
        up=seen.up,
        camera=np.zeros(len(seen.up), int),
        cameras=(seen.camera,),
        action=np.repeat(action[rows], CAMERAS),
    )


def action_tables(
    title: str, lifters: Mapping[str, PoseLifter], recorded: Recorded
) -> dict[str, Rows]:
    """Tables by title, of each metric in mm: a row for each lifter, a column for each action, eight
    actions a table, and the average of the actions at the end."""
    measured = {name: action_rows(lifter, recorded) for name, lifter in lifters.items()}
    *names, average = next(iter(measured.values()))
    starts = range(0, len(names), ACTIONS_A_BLOCK)
    blocks = [names[start : start + ACTIONS_A_BLOCK] for start in starts]
    blocks[-1].append(average)

    tables: dict[str, Rows] = {}
    for metric in METRICS:
        for number, block in enumerate(blocks):
            part = f" ({number + 1} of {len(blocks)})" if len(blocks) > 1 else ""
            rows = {}
            for name, by_action in measured.items():
                rows[name] = {action: by_action[action][metric] for action in block}
            tables[f"{title}, {metric}, mm{part}"] = rows

    return tables
