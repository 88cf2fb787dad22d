# SPDX-License-Identifier: Apache-2.0
"""From modes in units of the person's size to an answer in metres with second moments: noise,
coefficients, rotation, modes and size."""

from __future__ import annotations

import numpy as np

from lifting_ros.compiled import compiled
from lifting_ros.lifting.observation import FEW_SEEN
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT, KEYPOINT_TO_JOINT

DOUBT, DOUBT_OF_FEW = 2.0, 1.5
"""Surprise from which covariances grow with it, since the prior does not know such a person; and
their factor where little is seen."""

_JOINT = np.array(KEYPOINT_TO_JOINT)
_INVALID, _INFERRED, _OBSERVED = 0, 1, 2  # of poses.JointStatus, as plain numbers for the compiler


@compiled
def to_metres(
    rows, joints, weight, relative, root, surprise, evidence, seen, size, size_std, metric, out
):
    """Write persons `rows` of the arrays of `LiftedPoses`.

    joints (n, M, 17, 3), weight (n, M), relative (n, 17, 3, 3), root (n, 3, 3), evidence (n,) as
    `modes.lift_rows` leaves them; seen (n, 14); surprise (n,), see DOUBT. Covariances are second
    moments about the first mode; that of the size, known to size_std, is among them. Not `metric`:
    the root is the origin.
    """
    (
        joints_m,
        root_m,
        covariance_m2,
        root_covariance_m2,
        status,
        log_likelihood,
        hypotheses_m,
        hypothesis_weight,
    ) = out
    square = size * size + size_std * size_std
    for n in range(len(rows)):
        r, own = rows[n], joints[n]
        doubt = max(surprise[n] / DOUBT, DOUBT_OF_FEW if seen[n].sum() <= FEW_SEEN else 1.0)
        _second_moments(
            own,
            weight[n],
            relative[n],
            root[n],
            doubt,
            square,
            size_std**2,
            covariance_m2[r],
            root_covariance_m2[r],
        )
        if not metric:
            root_covariance_m2[r] = np.nan
        kept = hypotheses_m.shape[1]  # of a person hardly seen there are more modes than are given
        for m in range(kept):
            for joint in range(JOINT_COUNT):
                for axis in range(3):
                    hypotheses_m[r, m, joint, axis] = size * (
                        own[m, joint, axis] - (0.0 if metric else own[m, 0, axis])
                    )
        joints_m[r] = hypotheses_m[r, 0]
        root_m[r] = joints_m[r, 0]
        hypothesis_weight[r] = weight[n, :kept]
        hypothesis_weight[r] /= hypothesis_weight[r].sum()
        log_likelihood[r] = evidence[n]
        status[r] = _INFERRED
        for k in range(KEYPOINT_COUNT):
            if seen[n, k]:
                status[r, _JOINT[k]] = _OBSERVED


@compiled
def _second_moments(
    joints, weight, relative, root, doubt, square, size_variance, covariance_m2, root_covariance_m2
):
    own = square * doubt * 0.5
    for joint in range(JOINT_COUNT):
        for a in range(3):
            for b in range(3):
                spread = (
                    size_variance
                    * (joints[0, joint, a] - joints[0, 0, a])
                    * (joints[0, joint, b] - joints[0, 0, b])
                )
                spread += own * (relative[joint, a, b] + relative[joint, b, a])
                for m in range(1, len(joints)):
                    off_a = (
                        joints[m, joint, a]
                        - joints[m, 0, a]
                        - joints[0, joint, a]
                        + joints[0, 0, a]
                    )
                    off_b = (
                        joints[m, joint, b]
                        - joints[m, 0, b]
                        - joints[0, joint, b]
                        + joints[0, 0, b]
                    )
                    spread += square * weight[m] * off_a * off_b
                covariance_m2[joint, a, b] = spread
    for a in range(3):
        for b in range(3):
            spread = size_variance * joints[0, 0, a] * joints[0, 0, b] + own * (
                root[a, b] + root[b, a]
            )
            for m in range(1, len(joints)):
                spread += (
                    square
                    * weight[m]
                    * (joints[m, 0, a] - joints[0, 0, a])
                    * (joints[m, 0, b] - joints[0, 0, b])
                )
            root_covariance_m2[a, b] = spread
