# SPDX-License-Identifier: Apache-2.0
"""From refined modes to lifted poses in metres, with covariances that include the noise, the
coefficients, the rotation, the ambiguity between modes and the size."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.compiled import assign, compiled
from lifting_ros.lifting.observation import FEW_SEEN
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT, KEYPOINT_TO_JOINT
from lifting_ros.types import JointStatus

TOLERATED_MISFIT = 2.0
"""Misfit above which covariances grow in proportion to it, because the prior does not know such a
person."""

INFLATION_OF_FEW = 1.5
"""Least factor on the covariances of persons with few keypoints."""

_JOINT = np.array(KEYPOINT_TO_JOINT)

# Plain numbers, because the compiler cannot assign members of the enumeration to array elements.
_INFERRED = int(JointStatus.INFERRED)
_OBSERVED = int(JointStatus.OBSERVED)


class Persons(NamedTuple):
    """The n persons that are written."""

    rows: np.ndarray
    """(n,) where they stand in `LiftedPoses`."""
    seen: np.ndarray
    """(n, 14) bool."""
    misfit: np.ndarray
    """(n,) squared Mahalanobis distance of the keypoints, per dimension."""


class Size(NamedTuple):
    """What turns the modes' unit into metres."""

    mean_m: float
    std_m: float


class PoseArrays(NamedTuple):
    """The arrays of `LiftedPoses`, for the compiler; same names and order."""

    joints_m: np.ndarray
    root_m: np.ndarray
    covariance_m2: np.ndarray
    root_covariance_m2: np.ndarray
    status: np.ndarray
    log_likelihood: np.ndarray
    hypotheses_m: np.ndarray
    hypothesis_weight: np.ndarray


class _Factors(NamedTuple):
    """Factors on the parts of a second moment."""

    inflation: float
    """On the covariances of the first mode."""
    square: float
    """On everything in the modes' unit: the mean square of the size."""
    size_variance: float
    """On products of coordinates."""


class _Covariances(NamedTuple):
    """Covariances of one person."""

    relative: np.ndarray
    """(17, 3, 3) of joint - root."""
    root: np.ndarray
    """(3, 3)."""


@compiled
def write_poses(
    persons,
    modes,
    size,
    metric,
    out,
):
    """Write the persons into `out` (`PoseArrays`).

    modes: `modes.Modes`; size: `Size`. Covariances are second moments about the first mode. Unless
    `metric`, the root is the origin and its covariance NaN.
    """
    square = size.mean_m * size.mean_m + size.std_m * size.std_m

    for n in range(len(persons.rows)):
        r = persons.rows[n]
        seen = persons.seen[n]

        # Covariances
        least = INFLATION_OF_FEW if seen.sum() <= FEW_SEEN else 1.0
        inflation = max(persons.misfit[n] / TOLERATED_MISFIT, least)
        factors = _Factors(inflation, square, size.std_m**2)
        joints = modes.joints[n]
        weight = modes.weight[n]
        first = _Covariances(modes.relative[n], modes.root[n])
        moments = _Covariances(out.covariance_m2[r], out.root_covariance_m2[r])
        _write_moments(joints, weight, first, factors, moments)
        if not metric:
            out.root_covariance_m2[r] = np.nan

        # Joints; with few keypoints there are more modes than hypotheses
        hypotheses = out.hypotheses_m[r]
        kept = len(hypotheses)
        for m in range(kept):
            for joint in range(JOINT_COUNT):
                for axis in range(3):
                    origin = 0.0 if metric else joints[m, 0, axis]
                    value = joints[m, joint, axis] - origin
                    hypotheses[m, joint, axis] = size.mean_m * value
        for joint in range(JOINT_COUNT):
            assign(out.joints_m[r, joint], hypotheses[0, joint])
        assign(out.root_m[r], hypotheses[0, 0])

        kept_weight = out.hypothesis_weight[r]
        assign(kept_weight, weight[:kept])
        kept_weight /= kept_weight.sum()
        out.log_likelihood[r] = modes.log_evidence[n]

        # Status
        out.status[r] = _INFERRED
        for k in range(KEYPOINT_COUNT):
            if seen[k]:
                out.status[r, _JOINT[k]] = _OBSERVED


@compiled
def _write_moments(
    joints,
    weight,
    first,
    factors,
    out,
):
    """Write the second moments of one person into `out` (`_Covariances`).

    joints (M, 17, 3) and weight (M,) of the modes; first: `_Covariances` of the first mode.
    """
    relative = first.relative
    root = first.root
    square = factors.square
    own = square * factors.inflation * 0.5

    for joint in range(JOINT_COUNT):
        for a in range(3):
            for b in range(3):
                spread = (
                    factors.size_variance
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
                out.relative[joint, a, b] = spread

    for a in range(3):
        for b in range(3):
            spread = factors.size_variance * joints[0, 0, a] * joints[0, 0, b] + own * (
                root[a, b] + root[b, a]
            )
            for m in range(1, len(joints)):
                spread += (
                    square
                    * weight[m]
                    * (joints[m, 0, a] - joints[0, 0, a])
                    * (joints[m, 0, b] - joints[0, 0, b])
                )
            out.root[a, b] = spread
