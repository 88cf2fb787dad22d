# SPDX-License-Identifier: Apache-2.0
"""Equation (5) as a posterior: every component of the prior, in every sampled rotation, conditioned
on the keypoints in closed form.

The view frame looks at the person: z along the viewing direction, up in its y-z plane. There a
candidate (a component and a rotation about the vertical) is a Gaussian over 54 latents, in units of
the person's size: 51 joint coordinates, the position across the view (2), and the logarithm of
depth divided by its first estimate (1). Under weak perspective the keypoints are linear in the
latents, s Pi E R (mu + a e) of equation (5), so mean, covariance and evidence have closed forms.
`Plans` holds them for a set of candidates. Poses with the same mask and noise then require matrix
products only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.compiled import assign, compiled
from lifting_ros.geometry.rotations import rotation_about_vertical, up_to_camera
from lifting_ros.prior.ppca import MixturePPCA
from lifting_ros.skeleton import JOINT_COUNT, JOINT_PARENTS, KEYPOINT_COUNT, KEYPOINT_TO_JOINT

LIMB_JOINTS = (2, 3, 5, 6, 12, 13, 15, 16)
"""Joints at the end of the limbs whose lengths are measurements: thighs, shins, upper arms and
forearms. The prior already keeps the trunk rigid."""

PLACE_STD = 1.0
"""Standard deviation (std) of the position across the view about its first estimate, in sizes. Wide
compared with the information in the keypoints."""

DEPTH_STD = 0.3
"""Std of the logarithm of depth about its first estimate. Wide for the same reason."""

YAW_STD = 0.12
"""Std of the rotation about the vertical about its sample, radians. Wider than the sampling
requires, because candidates are linearised at their mean pose."""

POSE = 3 * JOINT_COUNT
"""Number of joint coordinates, the first of the latents."""

LATENTS = POSE + 3
"""Number of latents: joint coordinates, position across the view, log depth."""

OBSERVATIONS = 2 * KEYPOINT_COUNT
"""Number of observed coordinates: x and y of every keypoint."""

LATERAL = np.array([3 * joint + axis for joint in KEYPOINT_TO_JOINT for axis in (0, 1)])
"""(28,) latents that the keypoints observe: joint coordinates across the view."""

ROOT_LATENTS = np.array([0, 1, 2, POSE, POSE + 1, POSE + 2])
"""(6,) latents on which the position of the root depends."""

LIMB_END = np.array([3 * joint + axis for joint in LIMB_JOINTS for axis in range(3)])
"""(24,) latents at the far ends of the limbs."""

LIMB_START = np.array(
    [3 * JOINT_PARENTS[joint] + axis for joint in LIMB_JOINTS for axis in range(3)]
)
"""(24,) latents at the near ends of the limbs."""


class Candidates(NamedTuple):
    """Q Gaussians over poses, in the view frame and in the person's sizes."""

    mean: np.ndarray
    """(Q, 51) joint coordinates."""
    covariance: np.ndarray
    """(Q, 51, 51), including the uncertainty of the rotation."""
    log_prior: np.ndarray
    """(Q,) logarithm of the component's weight divided by the number of rotations."""
    component: np.ndarray
    """(Q,) component of the mixture; candidates of one component are adjacent."""
    yaw: np.ndarray
    """(Q,) index of the rotation."""


class Plans(NamedTuple):
    """P candidates, each conditioned on keypoints of one mask and noise.

    All arrays are float32 and contiguous. Observations come before latents.
    """

    mean: np.ndarray
    """(P, 54) prior mean of the latents."""
    offset: np.ndarray
    """(P, 28) predicted observations about their mean; 0 where not seen."""
    gain: np.ndarray
    """(P, 28, 54): posterior mean = mean + innovation @ gain."""
    cross: np.ndarray
    """(P, 24, 54) posterior covariance of the eight limb vectors with the latents."""
    relative: np.ndarray
    """(P, 17, 3, 3) posterior covariance of joint - root."""
    root: np.ndarray
    """(P, 6, 6) posterior covariance of ROOT_LATENTS."""
    posterior: np.ndarray
    """(P, 54, 54) posterior covariance of all latents; (0, 54, 54) unless requested."""


class Predictions(NamedTuple):
    """Distributions of the observations that P candidates predict."""

    inverse: np.ndarray
    """(P, 28, 28) inverse covariance; 0 where not seen."""
    log_det: np.ndarray
    """(P,) log-determinant of the covariance's Cholesky factor."""


def make_candidates(
    prior: MixturePPCA,
    pitch: float,
    yaws: int,
    prior_scale: float,
    tilt_std: float,
) -> Candidates:
    """Every component in `yaws` rotations about the vertical.

    pitch: angle by which up leans towards +z of the view frame, radians; prior_scale: factor on the
    prior's standard deviations; tilt_std: std of the vertical, radians.
    """
    angles = np.arange(yaws) * 2 * np.pi / yaws
    rotations = upright(pitch) @ rotation_about_vertical(angles)  # (Y, 3, 3)
    mean = np.einsum("yab,cjb->cyja", rotations, prior.means_).reshape(-1, JOINT_COUNT, 3)

    # Symmetric square root (3, 3) of the covariance of a small rotation: YAW_STD about the
    # vertical, tilt_std about the other axes.
    vertical = upright(pitch)[:, 1]
    spin = tilt_std * np.eye(3) + (YAW_STD - tilt_std) * np.outer(vertical, vertical)
    arms = _rotation_derivative(mean).reshape(-1, POSE, 3)
    covariance = _rotate_covariances(prior.covariances() * prior_scale**2, rotations, arms @ spin)

    components = len(prior.weights_)
    log_prior = np.log(prior.weights_ / yaws)
    return Candidates(
        mean=mean.reshape(-1, POSE),
        covariance=covariance,
        log_prior=np.repeat(log_prior, yaws),
        component=np.repeat(np.arange(components), yaws),
        yaw=np.tile(np.arange(yaws), components),
    )


@compiled
def _rotate_covariances(
    pose,
    rotations,
    moved,
):
    """Covariances (C Y, 51, 51) of poses in every rotation.

    pose (C, 51, 51): covariances in model axes; rotations (Y, 3, 3); moved (C Y, 51, 3): change of
    the coordinates per std of a small rotation.
    """
    count = len(pose) * len(rotations)
    out = np.empty((count, POSE, POSE))
    half = np.empty((3, POSE))

    for q in range(count):
        own = pose[q // len(rotations)]
        turn = rotations[q % len(rotations)]
        arm = moved[q]

        for i in range(0, POSE, 3):
            for a in range(3):
                for c in range(POSE):
                    half[a, c] = (
                        turn[a, 0] * own[i, c]
                        + turn[a, 1] * own[i + 1, c]
                        + turn[a, 2] * own[i + 2, c]
                    )

            for k in range(0, i + 3, 3):
                for a in range(3):
                    for b in range(3):
                        value = (
                            half[a, k] * turn[b, 0]
                            + half[a, k + 1] * turn[b, 1]
                            + half[a, k + 2] * turn[b, 2]
                        )
                        for spin in range(3):
                            value += arm[i + a, spin] * arm[k + b, spin]
                        out[q, i + a, k + b] = value
                        out[q, k + b, i + a] = value

    return out


def upright(pitch: float) -> np.ndarray:
    """Rotation (3, 3) from model axes (y up) into a view frame: the paper's E."""
    up = [0.0, -np.cos(pitch), np.sin(pitch)]
    return up_to_camera(np.array(up))


def _rotation_derivative(points: np.ndarray) -> np.ndarray:
    """Derivative (..., 3, 3) of points (..., 3) by a small rotation: w x p = -[p]x w."""
    x, y, z = np.moveaxis(points, -1, 0)
    zero = np.zeros_like(x)
    first = [zero, z, -y]
    second = [-z, zero, x]
    third = [y, -x, zero]
    entries = np.stack([*first, *second, *third], -1)

    return entries.reshape(*points.shape, 3)


def condition(
    candidates: Candidates,
    chosen: np.ndarray,
    seen: np.ndarray,
    noise: np.ndarray,
    whole: bool = False,
) -> tuple[Plans, Predictions]:
    """Posteriors of candidates `chosen` (P,), and the distributions of observations they predict.

    seen (P or 1, 14) bool: the mask of each; noise (P or 1, 14, 3): covariance xx, xy, yy divided
    by the mean square of the rays about their mean; whole: fill in `Plans.posterior`.
    """
    count = len(chosen)
    plans = Plans(
        mean=np.zeros((count, LATENTS), np.float32),
        offset=np.zeros((count, OBSERVATIONS), np.float32),
        gain=np.zeros((count, OBSERVATIONS, LATENTS), np.float32),
        cross=np.zeros((count, len(LIMB_END), LATENTS), np.float32),
        relative=np.zeros((count, JOINT_COUNT, 3, 3), np.float32),
        root=np.zeros((count, 6, 6), np.float32),
        posterior=np.zeros((count if whole else 0, LATENTS, LATENTS), np.float32),
    )
    predictions = Predictions(
        inverse=np.zeros((count, OBSERVATIONS, OBSERVATIONS)),
        log_det=np.zeros(count),
    )
    _condition(candidates, chosen, seen, noise.astype(np.float64), plans, predictions)

    return plans, predictions


@compiled
def _condition(
    candidates,
    chosen,
    seen,
    noise,
    plans,
    predictions,
):
    """Fill in `plans` and `predictions`; the arguments are those of `condition`."""
    for p in range(len(chosen)):
        visible = seen[p % len(seen)]
        rows = _observed_rows(visible)

        # The prior of the latents
        mean = candidates.mean[chosen[p]]
        posterior = np.zeros((LATENTS, LATENTS))
        for i in range(POSE):
            assign(posterior[i, :POSE], candidates.covariance[chosen[p], i])
        for axis in range(2):
            posterior[POSE + axis, POSE + axis] = PLACE_STD**2
        posterior[LATENTS - 1, LATENTS - 1] = DEPTH_STD**2

        # The observations it predicts
        offset = _predict_observations(mean, rows)
        cross, total = _observe(posterior, offset, rows, noise[p % len(noise)])
        factor = np.linalg.cholesky(total)
        inverse = np.linalg.inv(total)
        predictions.log_det[p] = np.log(np.diag(factor)).sum()

        # The posterior
        gain = inverse @ cross.T  # (n, 54)
        posterior -= cross @ gain

        assign(plans.mean[p, :POSE], mean)
        for i in range(len(rows)):
            plans.offset[p, rows[i]] = offset[i]
            for k in range(len(rows)):
                predictions.inverse[p, rows[i], rows[k]] = inverse[i, k]
            for c in range(LATENTS):
                plans.gain[p, rows[i], c] = gain[i, c]
        if len(plans.posterior):
            for i in range(LATENTS):
                assign(plans.posterior[p, i], posterior[i])
        _write_parts(posterior, plans, p)


@compiled
def _observed_rows(visible):
    """Numbers (n,) of the observations of the keypoints that are visible (14,), in their order."""
    rows = np.empty(OBSERVATIONS, np.int64)
    count = 0
    for k in range(KEYPOINT_COUNT):
        if visible[k]:
            rows[count] = 2 * k
            rows[count + 1] = 2 * k + 1
            count += 2

    return rows[:count]


@compiled
def _predict_observations(
    mean,
    rows,
):
    """Predicted observations (n,) about their mean, of the seen `rows` (n,)."""
    offset = np.empty(len(rows))
    middle = np.zeros(2)
    for i in range(len(rows)):
        offset[i] = mean[LATERAL[rows[i]]]
        middle[rows[i] % 2] += 2 * offset[i] / len(rows)

    for i in range(len(rows)):
        offset[i] -= middle[rows[i] % 2]

    return offset


@compiled
def _observe(
    prior,
    offset,
    rows,
    noise,
):
    """Covariance of latents and observations (54, n), and of the observations (n, n).

    An observation is a coordinate across the view, plus the position, minus its offset times the
    log depth: the same rays span more at a greater depth.
    """
    count = len(rows)
    cross = np.empty((LATENTS, count))
    for i in range(count):
        row = rows[i]
        for c in range(LATENTS):
            cross[c, i] = (
                prior[c, LATERAL[row]]
                + prior[c, POSE + row % 2]
                - offset[i] * prior[c, LATENTS - 1]
            )

    size = 2 * (offset**2).sum() / count  # mean square of the mean pose across the view
    total = np.empty((count, count))
    for i in range(count):
        for k in range(count):
            row = rows[i]
            column = rows[k]
            value = (
                cross[LATERAL[column], i]
                + cross[POSE + column % 2, i]
                - offset[k] * cross[LATENTS - 1, i]
            )
            if row // 2 == column // 2:
                value += size * noise[row // 2, row % 2 + column % 2]
            total[i, k] = value

    return cross, total


@compiled
def _write_parts(
    posterior,
    plans,
    p,
):
    """Write row `p` of `cross`, `relative` and `root` of `plans`, parts of the posterior covariance
    (54, 54)."""
    for a in range(len(LIMB_END)):
        end = LIMB_END[a]
        start = LIMB_START[a]
        for c in range(LATENTS):
            plans.cross[p, a, c] = posterior[end, c] - posterior[start, c]

    for joint in range(JOINT_COUNT):
        for a in range(3):
            for b in range(3):
                i = 3 * joint + a
                k = 3 * joint + b
                plans.relative[p, joint, a, b] = (
                    posterior[i, k] - posterior[i, b] - posterior[a, k] + posterior[a, b]
                )

    for a in range(len(ROOT_LATENTS)):
        for b in range(len(ROOT_LATENTS)):
            row = ROOT_LATENTS[a]
            column = ROOT_LATENTS[b]
            plans.root[p, a, b] = posterior[row, column]
